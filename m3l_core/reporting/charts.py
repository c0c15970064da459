"""Charts as inline SVG, which take their colors from the style sheet of the page around them.

Series number n has the class ``c{n % 8}``; text, grid and axes have classes of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 24, 10, 40
_BAR, _BAR_GAP, _ROW_GAP = 11, 1, 9
_CHARACTER = 7.4
"""Width of a letter, roughly."""
_LONGEST = 32
"""Letters of a name beside its bars."""


@dataclass(frozen=True, slots=True)
class Line:
    """A series over x, and what stands for it in the legend."""

    name: str
    points: Sequence[tuple[float, float]]
    unsmoothed: Sequence[tuple[float, float]] = ()
    """Drawn faintly behind it."""


@dataclass(frozen=True, slots=True)
class Bars:
    """One bar for each series."""

    name: str
    values: Sequence[float | None]
    """In [0, 1]; None where there is no such figure."""
    swatch: tuple[int, int, int] | None = None
    """RGB of a mark beside the name."""


def legend(names: Sequence[str], values: Sequence[str] = ()) -> str:
    """HTML that names the series, with a figure of each if ``values`` has them."""
    shown = values or [""] * len(names)
    entries = [
        f'<li class="c{number % 8}">{escape(name)} <b>{escape(value)}</b></li>'
        for number, (name, value) in enumerate(zip(names, shown, strict=True))
    ]
    return f'<ul class="legend">{"".join(entries)}</ul>'


def line_chart(lines: Sequence[Line], x_label: str, *, marks: bool = False, divisions: Sequence[float] = ()) -> str:
    """Lines from y = 0 upwards.

    Args:
        lines: each with at least one point.
        x_label: what x counts.
        marks: a dot for each point, which tells its figures.
        divisions: of x, such as the ends of phases.
    """
    xs = [x for line in lines for x, _ in line.points]
    low, high = min(xs), max(xs)
    span = (high - low) or 1.0
    highest = max(y for line in lines for _, y in line.points)
    y_ticks = ticks(highest if highest > 1e-6 else 1.0)
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - low) / span if high > low else 0.5
        return round(across * width, 1), round(height * (1 - y / y_ticks[-1]), 1)

    parts = []
    for tick in y_ticks:
        y = at(low, tick)[1] + _TOP
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
    for tick in [each for each in ticks(high, 6) if low <= each <= high] or [high]:
        parts.append(f'<text x="{at(tick, 0)[0] + _LEFT}" y="{_HEIGHT - 22}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text x="{_LEFT + width / 2}" y="{_HEIGHT - 5}" text-anchor="middle">{escape(x_label)}</text>')
    # An SVG within clips: single losses may lie far above their mean.
    parts.append(f'<svg x="{_LEFT}" y="{_TOP}" width="{width}" height="{height}">')
    for division in divisions:
        x = at(division, 0)[0]
        parts.append(f'<line class="division" x1="{x}" x2="{x}" y1="0" y2="{height}"/>')
    for number, line in enumerate(lines):
        for points, style in ((line.unsmoothed, "faint"), (line.points, "line")):
            path = " ".join(f"{x},{y}" for x, y in (at(*point) for point in points))
            parts.append(f'<polyline class="{style} c{number % 8}" points="{path}"/>' if path else "")
    parts.append("</svg>")
    if marks:
        for number, line in enumerate(lines):
            for point in line.points:
                x, y = at(*point)
                told = f"{escape(line.name)}, {escape(x_label)} {point[0]:g}: {point[1]:.3f}"
                parts.append(
                    f'<circle class="c{number % 8}" cx="{x + _LEFT}" cy="{y + _TOP}" r="3">'
                    f"<title>{told}</title></circle>"
                )
    return svg(_HEIGHT, parts, f"{', '.join(line.name for line in lines)} over {x_label}")


def bar_chart(rows: Sequence[Bars], series: Sequence[str], *, divisions: Sequence[float] = ()) -> str:
    """Horizontal bars from 0 to 1, a group for each row; ``divisions``: values to compare them with."""
    names = [row.name if len(row.name) <= _LONGEST else f"{row.name[: _LONGEST - 1]}…" for row in rows]
    left = 24 + _CHARACTER * max(map(len, names))
    width = _WIDTH - left - 44
    row_height = max(16, len(series) * (_BAR + _BAR_GAP)) + _ROW_GAP
    bottom = len(rows) * row_height
    parts = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x = round(left + tick * width, 1)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="{bottom}"/>')
        parts.append(f'<text x="{x}" y="{bottom + 15}" text-anchor="middle">{tick:g}</text>')
    for number, row in enumerate(rows):
        middle = number * row_height + (row_height - _ROW_GAP) / 2 + 2
        if row.swatch:
            parts.append(f'<rect x="0" y="{middle - 6}" width="12" height="12" fill="rgb{row.swatch}"/>')
        parts.append(f'<text class="name" x="18" y="{middle + 4}">{escape(names[number])}</text>')
        top = middle - len(row.values) * (_BAR + _BAR_GAP) / 2
        for index, (name, value) in enumerate(zip(series, row.values, strict=True)):
            y = top + index * (_BAR + _BAR_GAP)
            length = round((value or 0) * width, 1)
            text = "none" if value is None else f"{value:.2f}"
            parts.append(
                f'<rect class="bar c{index % 8}" x="{left:.1f}" y="{y}" width="{length}" height="{_BAR}">'
                f"<title>{escape(row.name)}, {escape(name)}: {text}</title></rect>"
                f'<text class="value" x="{left + length + 4:.1f}" y="{y + _BAR - 1}">{text}</text>'
            )
    for division in divisions:
        x = round(left + division * width, 1)
        parts.append(f'<line class="division" x1="{x}" x2="{x}" y1="0" y2="{bottom}"/>')
    return svg(bottom + 20, parts, f"{', '.join(series)} of {', '.join(row.name for row in rows)}")


def svg(height: float, parts: Sequence[str], name: str, width: float = _WIDTH, css: str = "") -> str:
    """A chart that is as wide as the page lets it, in units of its own; ``name`` is read to whoever does not see it."""
    drawn = f'viewBox="0 0 {width:g} {height:g}" class="{css}"'
    return f'<svg {drawn} role="img" aria-label="{escape(name)}">{"".join(parts)}</svg>'


def ticks(high: float, count: int = 5) -> list[float]:
    """Round numbers from 0 to ``high`` or just above, at most ``count`` steps."""
    magnitude = 10.0 ** math.floor(math.log10(high / count))
    step = next(magnitude * factor for factor in (1, 2, 5, 10, 20) if high / (magnitude * factor) <= count)
    return [round(number * step, 10) for number in range(math.ceil(high / step - 1e-9) + 1)]
