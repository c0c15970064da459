"""JSON from strangers is read, or refused in a line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from m3l_core.json_files import parse_json, read_json


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[" * 100_000, "nested without end"),
        (b"\xff", "utf-8"),
        (b"{} {}", "Extra data"),
        (b'{"name": "\\ud800"}', "surrogates not allowed"),
        (b'["\\uDFFF\\uD800"]', "surrogates not allowed"),
    ],
)
def test_what_is_no_json_is_told(content: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_json(content)


def test_a_character_of_two_halves_is_one() -> None:
    assert parse_json(b'"\\ud83d\\ude00"') == "\U0001f600"


def test_what_may_go_on_for_ever_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    for name in ("pipe", "zeros"):
        with pytest.raises(OSError, match="no regular file"):
            read_json(tmp_path / name)
