"""The folder that a long work leaves its result in."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from m3l_core.errors import M3LError


def probe_folder(folder: Path) -> None:
    """Make ``folder`` and a file in it that is gone at once, before the work.

    Raises:
        M3LError: that cannot be done.
    """
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


@contextmanager
def writing_to(folder: Path, told: str = "") -> Iterator[None]:
    """Turn what the disk refuses in this block into a line for the user, which ``told`` ends.

    Raises:
        M3LError: the disk is full, or cannot be written to.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:  # the writer of weights has an error of its own
        raise M3LError(f"{folder} cannot be written ({error}){told}") from error
