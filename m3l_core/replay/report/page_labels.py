"""How good labels were, as parts of a page: bars, IoU by class, confusion matrices, the worst frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from m3l_core.replay.report.page_figures import number
from m3l_core.reporting.charts import Bars, bar_chart
from m3l_core.reporting.page import card, class_legend, folded, joined, scrolling, swatch

Report = Mapping[str, Any]
_SCORES = {
    "miou": ("mIoU by scenario", ""),
    "agreement": ("Agreement with the run without faults", "Share of pixels labelled alike at the same stamps"),
}
"""The first that there is is shown."""
_LEAST_SHOWN = 0.005
"""Share of a row of a confusion matrix."""


def score_bars(report: Report) -> str:
    """The mIoU of each scenario, or without ground truth the agreement with the run without faults."""
    scenarios, robust = report["scenarios"], report["mm_robust"]
    name = next((name for name in _SCORES if any(each["figures"][name] is not None for each in scenarios)), None)
    if name is None:
        return ""
    title, note = _SCORES[name]
    values = {scenario["name"]: scenario["figures"][name] for scenario in scenarios}
    chart = bar_chart(
        [Bars(scenario, [value]) for scenario, value in values.items()],
        [title],
        divisions=[] if robust is None else [robust["value"]],
    )
    if robust is not None:
        subsets = ", ".join(f"{subset.replace('+', ' and ')} {value:.3f}" for subset, value in robust["miou"].items())
        note = f"Dashed: MM-Robust {robust['value']:.3f}, the mean over what sensors are left: {subsets}"
    return card(title, scrolling(chart, title), note)


def class_iou(report: Report) -> str:
    """IoU of each class under each scenario."""
    scenarios = [scenario for scenario in report["scenarios"] if scenario["measures"]["iou"] is not None]
    if not scenarios:
        return ""
    rows = [
        _heat_row(
            swatch(entry["color"]) + escape(entry["name"]),
            [scenario["measures"]["iou"][entry["name"]] for scenario in scenarios],
        )
        for entry in report["bundle"]["classes"]
    ]
    mean = _heat_row("mean", [scenario["figures"]["miou"] for scenario in scenarios], "mean")
    head = _heat_head([scenario["name"] for scenario in scenarios])
    content = scrolling(f'<table class="heat">{head}{"".join(rows)}{mean}</table>', "IoU by class")
    return card("IoU by class", content, "-: neither in the ground truth nor in the labels")


def confusion_matrices(report: Report) -> str:
    """What each class is taken for."""
    names = [entry["name"] for entry in report["bundle"]["classes"]]
    known = [scenario for scenario in report["scenarios"] if scenario["measures"]["confusion_matrix"] is not None]
    if not known:
        return ""
    matrices = [
        folded(scenario["name"], _matrix(names, scenario["measures"]["confusion_matrix"]), unfolded=place == 0)
        for place, scenario in enumerate(known)
    ]
    note = "Rows: ground truth, columns: labels; percent of the pixels of each row"
    return card("Confusion of classes", "".join(matrices), note)


def worst_frames(report: Report) -> str:
    """Pictures of the frames with the worst labels, by scenario."""
    parts: list[str] = []
    for scenario in report["scenarios"]:
        worst = scenario["worst_frames"]
        if not worst["frames"]:
            continue
        frames = [_frame(frame, worst["tiles"]) for frame in worst["frames"]]
        score = f"worst: {100 * worst['frames'][0]['score']:.1f}% of the pixels as in {worst['tiles'][-1]}"
        parts.append(folded(scenario["name"], joined("frames", frames), score, unfolded=not parts))
    if not parts:
        return ""
    classes = class_legend(report["bundle"]["classes"])
    note = "At least a second apart in each bag; a sensor without an image is dark, unlabelled pixels are black"
    return card("Worst frames", classes + "".join(parts), note, "wide")


def _frame(frame: Mapping[str, Any], tiles: Sequence[str]) -> str:
    names = "".join(f"<span>{escape(tile)}</span>" for tile in tiles)
    seconds, nanoseconds = divmod(frame["stamp_ns"], 10**9)
    missing = f", without {' and '.join(frame['missing'])}" if frame["missing"] else ""
    told = (
        f"{100 * frame['score']:.1f}% alike{missing}; "
        f"{frame['bag']} {frame['since_start_s']:.2f} s, stamp {seconds}.{nanoseconds:09d}"
    )
    return (
        f'<figure><div class="tops">{names}</div><img alt="{escape(", ".join(tiles))}" '
        f'src="data:image/jpeg;base64,{escape(frame["jpeg"])}"><figcaption>{escape(told)}</figcaption></figure>'
    )


def _matrix(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    rows = []
    for place, (name, row) in enumerate(zip(names, counts, strict=True)):
        total = sum(row)
        cells = []
        for column, count in enumerate(row):
            share = count / total if total else 0.0
            css = "" if column == place else ' class="wrong"'
            shown = f'{css} style="--v:{share:.2f}">{100 * share:.0f}' if share >= _LEAST_SHOWN else ">"
            cells.append(f"<td{shown}</td>")
        rows.append(f"<tr><th>{escape(name)}</th>{''.join(cells)}</tr>")
    content = f'<table class="heat">{_heat_head(names)}{"".join(rows)}</table>'
    return scrolling(content, "Confusion of classes")


def _heat_head(names: Sequence[str]) -> str:
    return "<tr><td></td>" + "".join(f'<th class="across">{escape(name)}</th>' for name in names) + "</tr>"


def _heat_row(head: str, values: Sequence[float | None], css: str = "") -> str:
    cells = "".join(f'<td style="--v:{value or 0:.2f}">{number(value, digits=2)}</td>' for value in values)
    return f'<tr class="{css}"><th>{head}</th>{cells}</tr>'
