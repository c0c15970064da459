"""The tensors of a safetensors file, told from its header before one of them is read.

https://github.com/huggingface/safetensors#format: eight bytes with the length of a JSON header, which gives each tensor
its type, its shape and its place among the bytes that follow.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

_LONGEST_HEADER = 16 << 20
_BYTES = {"F16": 2, "F32": 4}
_MOST_SIDES = 8


def check_weights(path: Path) -> Mapping[str, tuple[int, ...]]:
    """Name -> shape of every tensor.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no safetensors file, or has a tensor that is not of float16 or float32, or has nothing in it,
            or whose bytes are not there.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_LONGEST_HEADER, size - 8):
            raise ValueError(f"it is no safetensors file, its header would have {length} bytes")
        try:
            header = json.loads(file.read(length))
        except RecursionError as error:
            raise ValueError("its header is nested without end") from error
    if not isinstance(header, dict):
        raise ValueError("its header is no mapping")
    header.pop("__metadata__", None)
    return {name: _shape(name, entry, size - 8 - length) for name, entry in header.items()}


def _shape(name: str, entry: object, num_bytes: int) -> tuple[int, ...]:
    known = entry if isinstance(entry, dict) else {}
    kind, shape, place = known.get("dtype"), known.get("shape"), known.get("data_offsets")
    if not isinstance(kind, str) or kind not in _BYTES:
        raise ValueError(f"{name[:80]} is of type {str(kind)[:20]}, expected {' or '.join(_BYTES)}")
    if not _are_counts(shape) or not _are_counts(place) or len(shape) > _MOST_SIDES or len(place) != 2:
        raise ValueError(f"{name[:80]} has no shape or no place")
    expected = math.prod(shape) * _BYTES[kind]
    if not expected or not 0 <= place[0] <= place[1] <= num_bytes or place[1] - place[0] != expected:
        raise ValueError(f"{name[:80]} of shape {shape} does not fit its bytes, {place} of {num_bytes}")
    return tuple(shape)


def _are_counts(values: object) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(isinstance(value, int) and value >= 0 for value in values)
