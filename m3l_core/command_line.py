"""What the commands share."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from m3l_core.errors import M3LError


def run(main: Callable[[], None]) -> None:
    """Run a script; an error meant for the user becomes one line on stderr, and the exit status that it carries.

    Ctrl-C and SIGTERM end it as errors do, so that what is open is closed and what is half-written removed.
    """
    signal.signal(signal.SIGTERM, _stop)
    try:
        main()
    except M3LError as error:
        print(f"{_program()}: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except OSError as error:  # a disk that is full, gone or not to be written to; a name that is too long
        print(f"{_program()}: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"{_program()}: interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def _program() -> str:
    """What it is called, also where ``python -m`` runs a package."""
    path = Path(sys.argv[0])
    return path.parent.name if path.name == "__main__.py" else path.stem


def _stop(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def add_files_anywhere(parser: argparse.ArgumentParser) -> None:
    """The option of commands that read an index file."""
    parser.add_argument(
        "--files-anywhere",
        action="store_true",
        help="the index may name files outside of its folder",
    )


def number_between(least: float, most: float) -> Callable[[str], float]:
    """The type of an argument that measures something."""

    def number(text: str) -> float:
        value = float(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"expected a number from {least:g} to {most:g}, got {text}")
        return value

    return number


def whole_number(text: str) -> int:
    """The type of an argument such as a seed."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 on, got {text}")
    return int(text)


def positive(text: str) -> int:
    """The type of an argument that counts something."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text}")
    return int(text)
