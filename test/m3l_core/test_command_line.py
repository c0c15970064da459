"""What the commands share: how they end, and what their arguments may be."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.python_path import python_path

from m3l_core.command_line import number_between, positive, whole_number

ROOT = Path(__file__).parents[2]
SCRIPT = """
import signal
import sys

from m3l_core.command_line import run
from m3l_core.errors import DatasetError

def main():
    try:
        if sys.argv[1] == "error":
            raise DatasetError("no bag")
        signal.raise_signal(signal.Signals[sys.argv[1]])
    finally:
        print("closed")

run(main)
"""


@pytest.mark.parametrize(
    ("what", "status", "told"),
    [
        ("error", 1, "work: no bag\n"),
        ("SIGINT", 128 + signal.SIGINT, "work: interrupted\n"),
        ("SIGTERM", 128 + signal.SIGTERM, ""),
    ],
)
def test_whatever_ends_a_command_it_closes_what_is_open(tmp_path: Path, what: str, status: int, told: str) -> None:
    (tmp_path / "work.py").write_text(SCRIPT)
    command, environment = [sys.executable, "work.py", what], {"PYTHONPATH": python_path()}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (status, "closed\n", told)


def test_numbers_are_taken_within_their_limits() -> None:
    share = number_between(0.1, 1)
    assert (whole_number("0"), positive("7"), share("0.5")) == (0, 7, 0.5)
    for kind, texts in ((whole_number, ("-1", "1.5", "")), (positive, ("0",)), (share, ("0", "1.1", "inf", "nan"))):
        for text in texts:
            with pytest.raises(argparse.ArgumentTypeError, match="expected a"):
                kind(text)


def test_a_package_that_is_run_is_called_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "__main__.py").write_text(SCRIPT)
    command, environment = [sys.executable, "-m", "work", "error"], {"PYTHONPATH": python_path()}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "work: no bag\n")
