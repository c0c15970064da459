"""Shows texts that strangers wrote: names in their files and messages may hold anything."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from m3l_core.command_line import readable


class PlainConsole(Console):
    """Shows texts as they are: brackets are no markup, colons no emoji, and control characters are written out."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(readable(text), **options)
