"""Work for other processes, which cannot import a test."""

from __future__ import annotations

import os
import time
from pathlib import Path


def wait_for_ever(folder: Path, number: int) -> None:
    """Leaves the number of its process."""
    (folder / f"{number}.process").write_text(str(os.getpid()))
    time.sleep(300)


def wait(folder: Path, number: int) -> int:
    """Of number 0 done at once; others take five minutes, and leave files when they begin and when they are stopped."""
    if number:
        try:
            (folder / f"{number}.begun").touch()
            time.sleep(300)
        finally:
            (folder / f"{number}.stopped").touch()
    return number
