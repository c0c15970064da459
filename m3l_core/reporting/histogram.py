"""How long things took, as inline SVG in the style of ``m3l_core.reporting.charts``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape

from m3l_core.reporting.charts import svg, ticks

_WIDTH, _HEIGHT = 380, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 12, 8, 40
_BARS_PER_TICK = 10
_LEAST = 2.0
"""Height of the lowest bar: one duration of a million is seen, too."""


def histogram(
    counts: Sequence[Sequence[float]], x_label: str, *, until_s: float | None = None, divisions_s: Sequence[float] = ()
) -> str:
    """Shares of durations, from 0 on, in milliseconds.

    Args:
        counts: [seconds, how many], in any order, of at least one duration.
        x_label: what the durations are, without the unit.
        until_s: what the axis reaches at least, to compare several; None: the longest. What is longer is in the
            last bar.
        divisions_s: durations to be marked, such as percentiles.
    """
    longest_s = max(seconds for seconds, _ in counts) if until_s is None else until_s
    x_ticks = ticks(max(1e3 * longest_s, 1.0), 6)
    bar_ms = x_ticks[1] / _BARS_PER_TICK
    num_bars = (len(x_ticks) - 1) * _BARS_PER_TICK
    bars: Counter[int] = Counter()
    for seconds, count in counts:
        # Durations are of finite steps: one that lies on the border of two bars is in the upper one.
        bars[min(int(1e3 * seconds / bar_ms + 1e-6), num_bars - 1)] += int(count)
    total = bars.total()
    y_ticks = ticks(100 * max(bars.values()) / total, 4)
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    bar_width = width / num_bars
    parts = []
    for tick in y_ticks:
        y = round(_TOP + height * (1 - tick / y_ticks[-1]), 1)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{tick:g}%</text>')
    for tick in x_ticks:
        x = round(_LEFT + width * tick / x_ticks[-1], 1)
        parts.append(f'<text x="{x}" y="{_HEIGHT - 22}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text x="{_LEFT + width / 2}" y="{_HEIGHT - 5}" text-anchor="middle">{escape(x_label)} [ms]</text>')
    for division_s in divisions_s:
        x = round(_LEFT + width * min(1e3 * division_s / x_ticks[-1], 1.0), 1)
        parts.append(f'<line class="division" x1="{x}" x2="{x}" y1="{_TOP}" y2="{_TOP + height}"/>')
    for bar, count in sorted(bars.items()):
        share = 100 * count / total
        tall = round(max(_LEAST, height * share / y_ticks[-1]), 1)
        low, high = bar * bar_ms, (bar + 1) * bar_ms
        told = f"{low:g} to {high:g} ms" if bar < num_bars - 1 else f"{low:g} ms or more"
        told += f": {count} of {total}, {share:.2g}%"
        parts.append(
            f'<rect class="bar c0" x="{_LEFT + bar * bar_width:.1f}" y="{_TOP + height - tall:.1f}" '
            f'width="{bar_width - 0.5:.1f}" height="{tall}"><title>{told}</title></rect>'
        )
    return svg(_HEIGHT, parts, f"{x_label} of {total} frame sets, in milliseconds", _WIDTH)
