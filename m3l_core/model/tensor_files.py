"""Reads checkpoint files as tensors by name; nothing in such a file is run."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from m3l_core.errors import BundleError

# What authors put their tensors under, beside the state of the optimiser and the like.
_WRAPPERS = ("model_state_dict", "state_dict", "model")
_SHOWN = 16
"""Bytes of a file that is none."""


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


def load_saved(path: Path) -> Any:
    """What ``torch.save`` wrote (``weights_only``), on the CPU.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds something else. Torch's own text is left out: it has many lines, and advises to run that.
    """
    with path.open("rb") as file:
        first = file.read(_SHOWN)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, by the way in which the file is broken
        raise ValueError(
            f"torch cannot read its {path.stat().st_size} bytes, which begin with {first!r}, as tensors and plain "
            "values alone"
        ) from error


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file, or of a torch checkpoint (``weights_only``), on the CPU.

    Raises:
        BundleError: the file is not readable, or holds something else.
    """
    try:
        if Path(path).suffix == ".safetensors":
            return load_file(path)
        check_not_packed(Path(path))
        content = load_saved(Path(path))
    except Exception as error:  # of many kinds, by the way in which the file is broken
        raise BundleError(
            f"{path} cannot be read as a checkpoint of tensors ({error}): expected a .safetensors file, or tensors by "
            "name and nothing else, as torch.save(model.state_dict(), FILE) writes them. Copy it again, or give another"
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise BundleError(f"{path}: expected a dict of tensors, alone or under one of {', '.join(_WRAPPERS)}")
    # DistributedDataParallel adds its own prefix to every name.
    return {name.removeprefix("module."): value for name, value in content.items()}
