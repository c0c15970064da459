"""What a browser finds in a page, without one."""

from __future__ import annotations

import re
from html.parser import HTMLParser

EMPTY = {"meta", "img", "br", "line", "rect", "circle", "polyline"}
"""Elements without an end tag: of HTML, or closed in themselves."""


class Page(HTMLParser):
    """A page taken apart; fails where it is not well-formed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.counts: dict[str, int] = {}
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "xlink:href", "data")]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"


def assert_needs_nothing_else(text: str) -> None:
    """A page is well-formed, and neither it nor a browser that shows it reads anything but the page."""
    page = Page(text)
    assert page.open == []
    assert all(address.startswith("data:image/") for address in page.addresses)
    without_pictures = re.sub(r"data:image/\w+;base64,[\w+/=]+", "", text)
    assert not re.search(r"https?:|//\w|@import|url\(|<script|<link", without_pictures)
