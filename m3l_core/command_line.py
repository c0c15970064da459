"""What the commands share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from m3l_core.errors import M3LError


def run(main: Callable[[], None]) -> None:
    """Run a script; an error meant for the user becomes one line on stderr, and the exit status that it carries."""
    try:
        main()
    except M3LError as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        sys.exit(error.exit_status)


def positive_number(text: str) -> float:
    """The type of an argument that measures something."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
    return number


def positive(text: str) -> int:
    """The type of an argument that counts something."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text}")
    return int(text)
