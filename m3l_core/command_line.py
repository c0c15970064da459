"""What the commands share."""

from __future__ import annotations

import argparse
import io
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from m3l_core.errors import M3LError

_LONGEST_LINE = 2000


def run(main: Callable[[], None]) -> None:
    """Run a script; an error meant for the user becomes one line on stderr, and the exit status that it carries.

    Ctrl-C and SIGTERM end it as errors do, so that what is open is closed and what is half-written removed.
    """
    signal.signal(signal.SIGTERM, _stop)
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be text
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        main()
    except M3LError as error:
        print(f"{_program()}: {readable(str(error))}", file=sys.stderr)
        sys.exit(error.exit_status)
    except OSError as error:  # a disk that is full, gone or not to be written to; a name that is too long
        print(f"{_program()}: {readable(str(error))}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"{_program()}: interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def _program() -> str:
    """What it is called, also where ``python -m`` runs a package."""
    path = Path(sys.argv[0])
    return path.parent.name if path.name == "__main__.py" else path.stem


def readable(text: str) -> str:
    """The lines of a text that a stranger may have written: what a terminal obeys is written out, the endless cut."""
    return text if text.isprintable() and len(text) <= _LONGEST_LINE else "\n".join(map(_line, text.split("\n")))


def _line(text: str) -> str:
    shown = text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE - 3]}..."
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in shown)


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
