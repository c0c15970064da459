"""Reads checkpoint files as tensors by name; nothing in such a file is run."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from m3l_core.errors import BundleError

# What authors put their tensors under, beside the state of the optimiser and the like.
_WRAPPERS = ("model_state_dict", "state_dict", "model")


def check_not_packed(path: Path) -> None:
    """See that a checkpoint holds no more than its bytes, as all that torch writes: a packed one may hold any number.

    Raises:
        OSError: it cannot be read.
        ValueError: a part of it is packed.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if packed := [each for each in archive.infolist() if each.file_size != each.compress_size]:
                raise ValueError(f"{packed[0].filename[:80]} in it is packed, which torch does not do")


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file, or of a torch checkpoint (``weights_only``), on the CPU.

    Raises:
        BundleError: the file is not readable, or holds something else.
    """
    try:
        if Path(path).suffix == ".safetensors":
            return load_file(path)
        check_not_packed(Path(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, by the way in which the file is broken
        raise BundleError(f"{path} cannot be read as a checkpoint of tensors: {error}") from error
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise BundleError(f"{path}: expected a dict of tensors, alone or under one of {', '.join(_WRAPPERS)}")
    # DistributedDataParallel adds its own prefix to every name.
    return {name.removeprefix("module."): value for name, value in content.items()}
