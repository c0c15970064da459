"""Figures of scenarios, or of the runs of one bag, as tables of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from m3l_core.reporting.page import scrolling, table


class FiguresRow(NamedTuple):
    """A scenario, or a run under it."""

    scenario: str
    description: str
    found: Mapping[str, Any]
    """As in report.json: ``figures`` and ``measures``."""


_OPTIONAL = {"complete": "complete", "miou": "mIoU", "agreement": "agreement", "consistency": "consistency"}
"""Figures that not every replay has."""
_DURATIONS = {"wait": "sync wait", "latency": "latency"}
"""What is measured of a replay offline, and of a live one, where nobody sees the sets wait."""


def number(value: float | None, scale: float = 1, digits: int = 3) -> str:
    """As the console shows it."""
    return "-" if value is None else f"{value * scale:.{digits}f}"


def figures_table(rows: Sequence[FiguresRow]) -> str:
    """A row for each scenario, with what a stock synchronizer would have passed on; the better of two is bold."""
    shown = [name for name in _OPTIONAL if _any_has(rows, name)]
    duration = "latency" if _any_has(rows, "latency_p50") else "wait"
    wide = "".join(f'<th class="number" rowspan="2">{_OPTIONAL[name]}</th>' for name in shown)
    head = (
        '<tr><th rowspan="2">scenario</th><th class="number" rowspan="2">labels</th>'
        '<th class="number" colspan="2">labels a second</th><th class="number" colspan="2">longest gap [s]</th>'
        f'<th class="number" colspan="3">{_DURATIONS[duration]} [ms]</th>{wide}</tr><tr>'
        + "".join(f'<th class="number">{name}</th>' for name in ("ours", "stock", "ours", "stock", "p50", "p95", "p99"))
        + "</tr>"
    )
    body = "".join(_row(row, shown, duration) for row in rows)
    content = f'<table class="figures"><thead>{head}</thead><tbody>{body}</tbody></table>'
    return scrolling(content, "Figures by scenario")


def _any_has(rows: Sequence[FiguresRow], name: str) -> bool:
    return any(row.found["figures"][name] is not None for row in rows)


def _row(row: FiguresRow, shown: Sequence[str], duration: str) -> str:
    figures, measures = row.found["figures"], row.found["measures"]
    ours, stock = measures["delivery"], measures["stock_synchronizer"] or {"rate_hz": None, "longest_gap_s": None}
    gaps = (ours["longest_gap_s"], stock["longest_gap_s"])
    cells = [
        str(ours["number"]),
        *_pair((ours["rate_hz"], stock["rate_hz"]), 1, max),
        *_pair(gaps, 3, min),
        *(number(figures[f"{duration}_p{percent}"], 1e3, 0) for percent in (50, 95, 99)),
        *(number(figures[name]) for name in shown),
    ]
    described = f'<br><span class="quiet">{escape(row.description)}</span>' if row.description else ""
    return (
        f"<tr><td>{escape(row.scenario)}{described}</td>"
        + "".join(f'<td class="number">{cell}</td>' for cell in cells)
        + "</tr>"
    )


def _pair(values: tuple[float | None, float | None], digits: int, best: Any) -> list[str]:
    """Ours and the stock synchronizer's."""
    texts = [number(value, digits=digits) for value in values]
    known = [value for value in values if value is not None]
    if len(known) < 2 or texts[0] == texts[1]:
        return texts
    return [f"<b>{text}</b>" if value == best(known) else text for value, text in zip(values, texts, strict=True)]


def messages_table(rows: Sequence[FiguresRow]) -> str:
    """What became of the messages of each modality."""
    heads = ["scenario", "modality", "recorded", "arrived", "in complete sets", "in partial sets", "in no set"]
    body = []
    for row in rows:
        for modality, counts in row.found["measures"]["modalities"].items():
            dropped = counts["dropped"]
            reasons = ", ".join(f"{count} {why}" for why, count in sorted(dropped.items(), key=lambda pair: -pair[1]))
            kept = (counts[key] for key in ("recorded", "arrived", "in_complete_sets", "in_partial_sets"))
            body.append([row.scenario, modality, *map(str, kept), reasons or "0"])
    return table(heads, body, num_names=2)
