"""When each modality was OK, STALE or LOST, and when there were no labels, as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

from m3l_core.replay.report.page_figures import number
from m3l_core.reporting.charts import svg, ticks
from m3l_core.reporting.page import scrolling
from m3l_core.streaming.modality_report import ModalityState

_LEFT, _PLOT, _RIGHT = 62, 838, 212
_LANE, _HEAD, _GAP = 16, 24, 12
_SEVERITY = tuple(state.value for state in (ModalityState.OK, ModalityState.STALE, ModalityState.LOST))
_TEXT_WIDTH = 40
"""Of the length of a gap."""


class TimelineRow(NamedTuple):
    """One run of a bag."""

    scenario: str
    description: str
    run: Mapping[str, Any]
    """As in report.json."""


def timeline_legend() -> str:
    entries = (
        *((state, state.lower()) for state in _SEVERITY),
        ("labels", "labels"),
        ("no labels, for more than twice the usual time", "gap"),
    )
    return f'<ul class="legend states">{"".join(f"""<li class="{css}">{name}</li>""" for name, css in entries)}</ul>'


def timeline(rows: Sequence[TimelineRow]) -> str:
    """The runs of one bag below each other, over the seconds since its first message."""
    longest_s = max(row.run["length_s"] for row in rows) or 1.0
    y = 0
    names: list[str] = []
    parts: list[str] = []
    for row in rows:
        lanes = [*row.run["states"], "labels"]
        parts.append(
            f'<text class="scenario" x="0" y="{y + 14}">{escape(row.scenario)}'
            f'<tspan dx="8" style="font-weight:400">{escape(row.description)}</tspan></text>'
        )
        y += _HEAD
        for lane in lanes:
            spans, told = _labels(row.run, longest_s) if lane == "labels" else _states(row.run, lane, longest_s)
            names.append(f'<text x="{_LEFT - 8}" y="{y + 10}" text-anchor="end">{escape(lane)}</text>')
            parts.append(f'<g transform="translate(0 {y + 6})">{spans}</g>')
            parts.append(f'<text x="{_PLOT + 10}" y="{y + 10}">{escape(told)}</text>')
            y += _LANE
        y += _GAP
    axis = []
    for tick in ticks(longest_s, 10):
        if tick <= longest_s:
            x = round(tick / longest_s * _PLOT, 1)
            axis.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{_HEAD}" y2="{y}"/>')
            anchor = "middle" if tick else "start"  # what lies left of 0 is not seen
            axis.append(f'<text x="{x}" y="{y + 14}" text-anchor="{anchor}">{tick:g}</text>')
    axis.append(f'<text x="{_PLOT + 10}" y="{y + 14}">s since the first message</text>')
    told = f"States of {', '.join(rows[0].run['states'])}, and labels, in {', '.join(row.scenario for row in rows)}"
    # The names of the lanes stay where they are while the rest is scrolled.
    names_left = svg(y + 20, names, "Names of the lanes", _LEFT, css="lanes")
    drawn = svg(y + 20, [*axis, *parts], told, _PLOT + _RIGHT, css="spans")
    return f'<p class="quiet more">scroll sideways for more →</p>{scrolling(names_left + drawn, told, "timeline")}'


def _states(run: Mapping[str, Any], modality: str, longest_s: float) -> tuple[str, str]:
    """Spans of each state, and its share of the time; what is shorter than a pixel is drawn as one."""
    states = run["states"][modality]
    changes = states["changes"]
    ends = [since_s for since_s, _ in changes[1:]]
    # How long the last state lasted is not known if changes after it were not kept.
    ends.append(changes[-1][0] if states["further_changes"] else run["length_s"])
    pixels = np.full(_PLOT, -1)
    for (start_s, state), end_s in zip(changes, ends, strict=True):
        first = min(int(start_s / longest_s * _PLOT), _PLOT - 1)
        last = max(first + 1, round(end_s / longest_s * _PLOT))
        np.maximum(pixels[first:last], _SEVERITY.index(state), out=pixels[first:last])
    paths = []
    lengths_s = run["measures"]["modalities"][modality]["states_s"]
    whole_s = sum(lengths_s.values()) or 1.0
    shares = {state: f"{state} {100 * lengths_s[state] / whole_s:.0f}%" for state in _SEVERITY if state in lengths_s}
    for severity, state in enumerate(_SEVERITY):
        borders = np.flatnonzero(np.diff(pixels == severity, prepend=False, append=False))
        spans = [(int(first), int(last)) for first, last in borders.reshape(-1, 2)]
        paths.append(_path(state.lower(), spans, shares.get(state, state)))
    return "".join(paths), ", ".join(shares.values())


def _labels(run: Mapping[str, Any], longest_s: float) -> tuple[str, str]:
    """Spans with labels, gaps with their lengths, and what they come to."""
    scale = _PLOT / longest_s
    gaps = [(start_s, end_s) for start_s, end_s in run["gaps"]]
    edges = [0.0, *(edge for gap in gaps for edge in gap), run["length_s"]]
    labelled = [(start_s * scale, end_s * scale) for start_s, end_s in zip(edges[::2], edges[1::2], strict=True)]
    parts = [_path("labels", labelled, "labels")]
    for start_s, end_s in gaps:
        told = f"no labels from {start_s:.3f} to {end_s:.3f} s, {end_s - start_s:.3f} s"
        parts.append(_path("gap", [(start_s * scale, end_s * scale)], told))
        if (end_s - start_s) * scale > _TEXT_WIDTH:
            x = round((start_s + end_s) / 2 * scale, 1)
            parts.append(f'<text class="over" x="{x}" y="4" text-anchor="middle">{end_s - start_s:.2f} s</text>')
    delivery = run["measures"]["delivery"]
    rate, gap = number(delivery["rate_hz"], digits=1), number(delivery["longest_gap_s"])
    return "".join(parts), f"{rate} Hz, longest gap {gap} s"


def _path(css: str, spans: Sequence[tuple[float, float]], told: str) -> str:
    drawn = "".join(f"M{start:.5g} 0h{end - start:.4g}" for start, end in spans if end > start)
    return f'<path class="span {css}" d="{drawn}"><title>{escape(told)}</title></path>' if drawn else ""
