"""The same numbers each time, also on a GPU, where the fastest operators add up in whatever order they come."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def repeatable(device: torch.device, wanted: bool = True) -> Iterator[None]:
    """Take only operators whose results are the same each time, if that is wanted; a CPU has no others.

    Raises:
        RuntimeError: inside, by an operator that has no such form; torch names it.
    """
    if device.type != "cuda" or not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # torch refuses matrix products without it
    settings: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    settings.fill_uninitialized_memory = False  # which is for programs that read what nobody wrote
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        settings.fill_uninitialized_memory = before[1]
