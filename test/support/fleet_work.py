"""Work for the workers of a cluster, which cannot import a test."""

from __future__ import annotations

import os
import time
from pathlib import Path

from m3l_core.errors import EngineError


def wait_in_turn(folder: Path, number: int) -> int:
    """Number 0 ends only when number 3 has ended."""
    deadline_s = time.monotonic() + 60
    while number == 0 and not (folder / "3.ended").is_file() and time.monotonic() < deadline_s:
        time.sleep(0.02)
    (folder / f"{number}.ended").touch()
    return number


def work_on(folder: Path, number: int) -> int:
    """Of number 0 done at once; others take five minutes, and leave files when they begin and when they are stopped."""
    if number:
        try:
            (folder / f"{number}.begun").touch()
            for _ in range(30_000):
                time.sleep(0.01)
        finally:
            (folder / f"{number}.stopped").touch()
    return number


def mishap(folder: Path, kind: str) -> str:
    """What befalls a worker by ``kind``; each call leaves a line in the file of that name."""
    calls = folder / kind
    with calls.open("a") as file:
        file.write("called\n")
    if kind == "dies" or (kind == "dies once" and len(calls.read_text().splitlines()) == 1):
        os._exit(1)
    if kind == "raises":
        raise EngineError("no such engine here")
    if kind == "is wrong":
        raise ZeroDivisionError("of no use")
    return kind
