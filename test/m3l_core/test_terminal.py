"""What strangers wrote is shown as it is, whatever it would do to a terminal."""

from __future__ import annotations

import io

import pytest
from rich.table import Table

from m3l_core.command_line import readable
from m3l_core.terminal import PlainConsole


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("[/red]", "[/red]"),
        ("[link=file:///x]y[/link]", "[link=file:///x]y[/link]"),
        (":bed:", ":bed:"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\u202eroolf", "\\u202eroolf"),
        ("\ud800", "\\ud800"),
        ("größe", "größe"),
    ],
)
def test_a_name_is_shown_as_it_is(name: str, shown: str) -> None:
    file = io.StringIO()
    table = Table("name", title=name)
    table.add_row(name)
    PlainConsole(file=file, width=80).print(name, table)
    assert file.getvalue().count(shown) == 3
    file.getvalue().encode("utf-8")


def test_lines_stay_lines_and_end() -> None:
    assert readable("expected\n  this\tor") == "expected\n  this\\tor"
    assert [len(line) for line in readable("a" * 5000 + "\n" + "b" * 2001).split("\n")] == [2000, 2000]
    assert readable("a" * 2000) == "a" * 2000
