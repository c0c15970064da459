"""A training as a page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.reporting.charts import Bars, Line, bar_chart, legend, line_chart
from m3l_core.reporting.page import (
    card,
    class_legend,
    folded,
    html_page,
    joined,
    named_rows,
    scrolling,
    table,
    tiles,
    yaml_text,
)
from m3l_core.trainer.provenance import Provenance
from m3l_core.trainer.reporting.progress import MEAN, duration

Image = NDArray[np.uint8]
Report = Mapping[str, Any]
"""What ``m3l_core.trainer.reporting.report.to_dict`` gives."""

_MUCH_WAITING = 0.2


def to_html(report: Report, examples: Sequence[Mapping[str, Image]]) -> str:
    """The page of a report, with sample pictures as ``m3l_core.trainer.reporting.examples`` gives them."""
    sections = [
        _heading(report),
        tiles(_headlines(report)),
        f'<div class="columns">{_miou(report)}{_losses(report)}</div>',
        f'<div class="columns">{_classes(report)}{_kept(report)}</div>',
        _sets(report),
        _pictures(report, examples),
        _origin(report),
        _evaluations(report),
        folded("Recipe", yaml_text(report["recipe"]), css="card wide"),
    ]
    return html_page(f"{report['name']}: training", sections)


def _heading(report: Report) -> str:
    provenance = report["provenance"]
    notice, method = provenance["start_weights"]["notice"], ", ".join(provenance["method"])
    written = datetime.fromisoformat(report["written"]).strftime("%Y-%m-%d %H:%M UTC")
    warning = f'<p class="card notice wide">{escape(notice)}</p>' if notice else ""
    return (
        f"<h1>{escape(report['name'])}</h1><p>{escape(report['description'])}</p>"
        f'<p class="quiet">{escape(method)}; written {written}</p>{warning}'
    )


def _headlines(report: Report) -> list[tuple[str, str, str]]:
    data, history = report["data"], report["history"]

    def best(name: str) -> str:
        value, iteration = max((_figure(entry, name) or 0.0, entry["iteration"]) for entry in history)
        now = _figure(history[-1], name)
        return f"best {value:.3f} at iteration {iteration}" if value > (now or 0.0) else "its best so far"

    figures = [
        ("MM-Robust: mean mIoU of all subsets", _text(_figure(history[-1], MEAN)), best(MEAN)),
        *((f"mIoU, {_words(name)}", _text(value), best(name)) for name, value in report["miou"].items()),
    ]
    waiting = report["waiting_for_data"] or 0.0
    hint = "; more --workers or --cache-gb would help" if waiting > _MUCH_WAITING else ""
    took = f"{duration(report['seconds'])}, {waiting:.0%} waiting for data{hint}" if report["seconds"] else ""
    others = f"{data['unlabelled']['frames']} unlabelled, {data['validation']['frames']} to validate"
    return [
        *figures,
        ("iterations", str(report["iterations"]), took),
        ("labelled frames", str(data["labelled"]["frames"]), others),
    ]


def _miou(report: Report) -> str:
    history = report["history"]
    curves = {
        name: [(entry["iteration"], value) for entry in history if (value := _figure(entry, name)) is not None]
        for name in (*report["miou"], MEAN)
    }
    lines = [Line(_words(name), points) for name, points in curves.items() if points]
    if not lines:
        return ""
    names = legend([line.name for line in lines], [f"{line.points[-1][1]:.3f}" for line in lines])
    return card("Validation mIoU by sensors present", names + _chart(line_chart(lines, "iteration", marks=True)))


def _losses(report: Report) -> str:
    losses = dict(report["losses"])
    iterations = losses.pop("iteration")
    if not iterations:
        return ""
    if len(losses) == 2:
        del losses["loss"]  # the same as its only term
    lines = [
        Line(name, [*zip(iterations, _smoothed(values), strict=True)], [*zip(iterations, values, strict=True)])
        for name, values in losses.items()
    ]
    ends, end = [], 0
    for phase in report["recipe"]["phases"][:-1]:
        end += phase["iterations"]
        ends.append(end)
    names = legend([line.name for line in lines], [f"{line.points[-1][1]:.3f}" for line in lines])
    note = "dashed: a phase of the recipe ends" if ends else ""
    return card("Losses, smoothed", names + _chart(line_chart(lines, "iteration", divisions=ends)), note)


def _classes(report: Report) -> str:
    subsets = [*report["iou"]]
    rows = [
        Bars(entry["name"], [report["iou"][subset][entry["name"]] for subset in subsets], tuple(entry["color"]))
        for entry in report["recipe"]["labels"]["classes"]
    ]
    rows.sort(key=lambda row: -(row.values[0] or 0.0))
    series = [_words(subset) for subset in subsets]
    return card("Validation IoU by class", legend(series) + _chart(bar_chart(rows, series)))


def _kept(report: Report) -> str:
    first, last = report["history"][0], report["history"][-1]
    if all(share is None for share in last["kept"]):
        return ""
    chosen = [first, last] if first is not last else [last]
    rows = [
        Bars(entry["name"], [each["kept"][index] for each in chosen], tuple(entry["color"]))
        for index, entry in enumerate(report["recipe"]["labels"]["classes"])
    ]
    series = [f"until iteration {each['iteration']}" for each in chosen]
    note = "Share of the pseudo labels of each class that counted, since the evaluation before"
    return card("Pseudo labels kept", legend(series) + _chart(bar_chart(rows, series)), note)


def _pictures(report: Report, examples: Sequence[Mapping[str, Image]]) -> str:
    rows = [
        joined(
            "example",
            [
                f'<figure><img alt="{escape(name)}" src="{_data_uri(picture)}">'
                f"<figcaption>{escape(name)}</figcaption></figure>"
                for name, picture in example.items()
            ],
        )
        for example in examples
    ]
    return card(
        "Validation frames",
        class_legend(report["recipe"]["labels"]["classes"]) + "".join(rows),
        "black: invalid or unlabelled",
        "wide",
    )


def _origin(report: Report) -> str:
    provenance = Provenance.model_validate(report["provenance"])
    data = {name: f"{entry['recordings']} recordings" for name, entry in report["data"].items() if entry["frames"]}
    machine = report["machine"]
    rows = {
        **provenance.rows(),
        "recordings": ", ".join(f"{name} {count}" for name, count in data.items()),
        "command": provenance.command,
        "machine": f"{machine['device']}, {machine['threads']} threads on {machine['cpus']} CPUs, "
        f"processes: {machine['processes']}; {machine['system']}",
        "versions": ", ".join(f"{name} {version}" for name, version in report["versions"].items() if version),
    }
    return card("How it was made", named_rows(rows), css="wide")


def _evaluations(report: Report) -> str:
    names = [*report["miou"], MEAN]
    rows = [[str(entry["iteration"]), *(_text(_figure(entry, name)) for name in names)] for entry in report["history"]]
    return folded("All evaluations", table(["iteration", *map(_words, names)], rows, num_names=0), css="card wide")


def _sets(report: Report) -> str:
    """The last evaluation by data set, where there are several."""
    of_sets = report["history"][-1].get("sets", {})
    if not of_sets:
        return ""
    names = [*report["miou"], MEAN]
    rows = [[name, *(_text(_figure(of_set, each)) for each in names)] for name, of_set in of_sets.items()]
    note = "A class that a set does not have is left out of its mean"
    return card("Validation mIoU by data set", table(["data set", *map(_words, names)], rows), note, "wide")


def _chart(drawn: str) -> str:
    return scrolling(drawn, "Chart")


def _figure(entry: Mapping[str, Any], name: str) -> float | None:
    """The mIoU of a subset, or the mean over all, which is None if one is."""
    miou: dict[str, float | None] = entry["miou"]
    if name != MEAN:
        return miou[name]
    values = [value for value in miou.values() if value is not None]
    return sum(values) / len(values) if len(values) == len(miou) else None


def _smoothed(values: Sequence[float]) -> list[float]:
    """Mean with the neighbours, a fortieth of all."""
    reach = max(1, len(values) // 80)
    sums = np.cumsum([0.0, *values])
    ends = np.arange(len(values))
    low, high = np.maximum(ends - reach, 0), np.minimum(ends + reach + 1, len(values))
    smoothed: list[float] = ((sums[high] - sums[low]) / (high - low)).tolist()
    return smoothed


def _data_uri(picture: Image) -> str:
    """PNG where few colors make that smaller, else JPEG."""
    image = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    candidates = {
        "png": cv2.imencode(".png", image, (cv2.IMWRITE_PNG_COMPRESSION, 9))[1].tobytes(),
        "jpeg": cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, 88))[1].tobytes(),
    }
    kind, data = min(candidates.items(), key=lambda candidate: len(candidate[1]))
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _words(subset: str) -> str:
    """``color, depth and thermal`` of ``color+depth+thermal``."""
    others, _, last = subset.rpartition("+")
    return f"{others.replace('+', ', ')} and {last}" if others else last


def _text(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
