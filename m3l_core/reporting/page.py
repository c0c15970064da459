"""The frame of a report: one HTML file that needs nothing else, readable by day and by night."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import yaml

from m3l_core.reporting.style import STYLE


def html_page(title: str, sections: Sequence[str], style: str = "") -> str:
    """A page of sections, with rules of its own beside the common style sheet."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head>\n"
        "<body><main>\n" + "\n".join(filter(None, sections)) + "\n</main></body></html>\n"
    )


def card(title: str, content: str, note: str = "", css: str = "") -> str:
    """A section; ``content`` is HTML, ``css`` its classes."""
    told = f'<p class="quiet">{escape(note)}</p>' if note else ""
    return f'<section class="card {css}"><h2>{escape(title)}</h2>{told}{content}</section>'


def folded(title: str, content: str, note: str = "", css: str = "", *, unfolded: bool = False) -> str:
    """What is shown on demand; ``content`` is HTML."""
    told = f' <span class="quiet">{escape(note)}</span>' if note else ""
    start = "<details open" if unfolded else "<details"
    return f'{start} class="{css}"><summary>{escape(title)}{told}</summary>{content}</details>'


def joined(css: str, parts: Sequence[str]) -> str:
    return f'<div class="{css}">{"".join(parts)}</div>'


def scrolling(content: str, name: str, css: str = "") -> str:
    """What may be wider than its card: it is scrolled there, by keyboard, too; ``content`` is HTML."""
    return f'<div class="scroll {css}" tabindex="0" role="group" aria-label="{escape(name)}">{content}</div>'


def tiles(entries: Sequence[tuple[str, str, str]]) -> str:
    """Headline figures: what each is, its value, a note; the first stands out."""
    return joined(
        "tiles",
        [
            f'<div class="card tile{" first" if not number else ""}"><b>{escape(value)}</b>{escape(name)}'
            f'<p class="quiet">{escape(note)}</p></div>'
            for number, (name, value, note) in enumerate(entries)
        ],
    )


def named_rows(rows: Mapping[str, str]) -> str:
    """A table of names and texts."""
    body = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows.items())
    return f"<table>{body}</table>"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], num_names: int = 1) -> str:
    """A table of texts: first ``num_names`` columns of names, then numbers."""

    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{'' if place < num_names else ' class=number'}>{escape(text)}</{tag}>"
            for place, text in enumerate(texts)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return scrolling(f"<table><tr>{cells('th', heads)}</tr>{body}</table>", f"Table of {', '.join(heads)}")


def class_legend(classes: Sequence[Mapping[str, Any]]) -> str:
    """Names of classes in their colors, from ``name`` and ``color`` (RGB) of each."""
    entries = "".join(f"<li>{swatch(entry['color'])}{escape(entry['name'])}</li>" for entry in classes)
    return f'<ul class="classes">{entries}</ul>'


def swatch(color: Sequence[int]) -> str:
    return f'<i class="swatch" style="background:rgb{tuple(color)}"></i>'


def yaml_text(content: Any) -> str:
    """Settings as they would stand in a file."""
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=110)
    return scrolling(f"<pre>{escape(text)}</pre>", "Settings")
