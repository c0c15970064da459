"""Reads checkpoint files as tensors by name; nothing in such a file is run."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from m3l_core.errors import BundleError

# What authors put their tensors under, beside the state of the optimiser and the like.
_WRAPPERS = ("model_state_dict", "state_dict", "model")


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file, or of a torch checkpoint (``weights_only``), on the CPU.

    Raises:
        BundleError: the file is not readable, or holds something else.
    """
    try:
        if Path(path).suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, by the way in which the file is broken
        raise BundleError(f"{path} cannot be read as a checkpoint of tensors: {error}") from error
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise BundleError(f"{path}: expected a dict of tensors, alone or under one of {', '.join(_WRAPPERS)}")
    # DistributedDataParallel adds its own prefix to every name.
    return {name.removeprefix("module."): value for name, value in content.items()}
