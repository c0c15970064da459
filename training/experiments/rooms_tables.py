#!/usr/bin/env python3
"""Writes the tables and curves of docs/results.md from what training/experiments/rooms.py has left so far."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean

from m3l_core.command_line import run
from m3l_core.errors import M3LError
from m3l_core.files import replacing_file
from m3l_core.metrics import mm_robust
from m3l_core.reporting.charts import Line, line_chart
from m3l_core.reporting.comparison import COLUMNS, Result, comparison_table, fill_blocks, markdown_table, read_results
from m3l_core.reporting.style import STYLE

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "rooms" / "results"
PAGE = ROOT / "docs" / "results.md"
CURVES = ROOT / "docs" / "images" / "rooms_curves.svg"
METHODS = {
    "paper_supervised": "supervised",
    "paper_supervised_dropout": "supervised + modality dropout",
    "paper_mean_teacher": "mean teacher",
    "paper_mean_teacher_dropout": "mean teacher + modality dropout",
    "paper_m3l": "M3L `paper`",
    "m3l_plus": "`m3l_plus`",
    "m3l_plus-imagenet": "`m3l_plus`, EfficientNet-lite0 from ImageNet weights",
}
UNCHANGED = "unchanged"


def ablation_table(results: Iterable[Result]) -> str:
    """Validation mIoU of m3l_plus with one part changed, against m3l_plus as it is with the same seed."""
    last = {
        (result["run"]["fraction"], result["run"]["seed"], result["run"]["change"]): result["validation"][-1]["miou"]
        for result in results
        if result["run"]["change"] and "test" not in result
    }
    changes: dict[str, list[tuple[Mapping[str, float], Mapping[str, float]]]] = {}
    for (fraction, seed, change), miou in last.items():
        if change != UNCHANGED and (fraction, seed, UNCHANGED) in last:
            changes.setdefault(change, []).append((miou, last[fraction, seed, UNCHANGED]))
    rows = []
    for change, pairs in sorted(changes.items(), key=lambda item: item[0].startswith("with_")):
        cells = [f"{100 * mean(miou[column] - whole[column] for miou, whole in pairs):+.1f}" for column in COLUMNS]
        cells.append(f"{100 * mean(mm_robust(miou) - mm_robust(whole) for miou, whole in pairs):+.1f}")
        rows.append([change.replace("_", " "), str(len(pairs)), *cells])
    return markdown_table(["m3l_plus", "seeds", "both", "color", "depth", "MM-Robust"], rows)


def curves(results: Iterable[Result]) -> str:
    """MM-Robust on the validation rooms over the iterations, at the smallest label fraction, mean of the seeds.

    Raises:
        M3LError: no run of the comparison is among the results.
    """
    chosen = [result for result in results if not result["run"]["change"]]
    if not chosen:
        raise M3LError("there is no result of the comparison: expected those that training/experiments/rooms.py leaves")
    fraction = min(result["run"]["fraction"] for result in chosen)
    lines = []
    for method, name in METHODS.items():
        points: dict[int, list[float]] = {}
        for result in chosen:
            if (result["run"]["method"], result["run"]["fraction"]) == (method, fraction):
                for entry in result["validation"]:
                    points.setdefault(entry["iteration"], []).append(mm_robust(entry["miou"]))
        if points:
            lines.append(Line(name.replace("`", ""), [(x, mean(values)) for x, values in sorted(points.items())]))
    legend = "".join(
        f'<g class="c{number}"><rect class="bar" x="46" y="{316 + 18 * number}" width="11" height="11"/>'
        f'<text class="name" x="64" y="{326 + 18 * number}">{line.name}</text></g>'
        for number, line in enumerate(lines)
    )
    height = 320 + 18 * len(lines)
    chart = line_chart(lines, f"iteration; MM-Robust on the validation rooms, {fraction:.0%} of the labels", marks=True)
    inner = chart.replace("<svg ", '<svg width="640" height="300" ', 1)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {height}" font-family="sans-serif">'
        f'<style>{STYLE}</style><rect width="640" height="{height}" style="fill: var(--card)"/>{inner}{legend}</svg>\n'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder that rooms.py wrote")
    parser.add_argument("--page", type=Path, default=PAGE, help="Markdown page with the tables' places")
    parser.add_argument("--curves", type=Path, default=CURVES, help="picture to write")
    arguments = parser.parse_args()
    results = read_results(arguments.results)
    tables = {
        "comparison": comparison_table(results, METHODS, "change"),
        "ablation": ablation_table(results),
    }
    picture = curves(results)
    fill_blocks(arguments.page, tables)
    with replacing_file(arguments.curves) as temporary:
        temporary.write_text(picture, encoding="utf-8")
    print(*tables.values(), sep="\n\n")


if __name__ == "__main__":
    run(main)
