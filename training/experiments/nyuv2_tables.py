#!/usr/bin/env python3
"""Writes the tables of docs/results.md on NYU Depth v2 from what training/experiments/nyuv2.py has left so far."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from m3l_core.command_line import run
from m3l_core.reporting.comparison import (
    COLUMNS,
    MEASURES,
    Result,
    comparison_table,
    fill_blocks,
    markdown_table,
    measures,
    read_results,
)

RESULTS = Path(__file__).parent / "nyuv2" / "results"
PAGE = Path(__file__).parents[2] / "docs" / "results.md"
EACH = "m3l_subsets-each"
"""With 20% of the labels alone."""
METHODS = {
    "paper_supervised": "supervised",
    "paper_supervised_dropout": "supervised + modality dropout",
    "paper_mean_teacher_dropout": "mean teacher + modality dropout",
    "paper_m3l": "M3L `paper`",
    "m3l_plus": "`m3l_plus`",
    "m3l_subsets": "`m3l_subsets`",
    EACH: "`m3l_subsets`, 800 iterations for each network",
}
SEEDS = {0.05: 3, 0.2: 3, 1.0: 1}
LARGE = {
    "240x320": ("NYU Depth v2, 13 classes", "EfficientNet-lite0, `m3l_subsets`, 240x320"),
    "240x320_40_classes": ("NYU Depth v2, 40 classes", "EfficientNet-lite0, `m3l_subsets`, 240x320"),
}
"""Variant of a run -> data set and title."""
NYUV2, SUN, STANFORD = "NYU Depth v2, 40 classes", "SUN RGB-D", "Stanford Indoor, 13 classes"
PUBLISHED: tuple[tuple[str, str, Sequence[float | None]], ...] = (
    (NYUV2, "ESANet-R34 (arXiv 2011.06961)", (50.3, None, None)),
    (NYUV2, "EMSAFormer (arXiv 2306.05242)", (51.1, None, None)),
    (NYUV2, "DFormer-T (arXiv 2309.09668)", (51.8, None, None)),
    (NYUV2, "MultiMAE, a network fine-tuned for each case (arXiv 2204.01678)", (56.0, 52.0, 41.4)),
    (NYUV2, "ConD + DFormer-B (arXiv 2607.20326)", (55.7, 48.3, 43.5)),
    (NYUV2, "ConD, its best", (57.2, 52.9, 43.5)),
    (SUN, "ConD + Sigma-S", (52.9, 50.1, 37.8)),
    (SUN, "M3L, 25% of the labels (arXiv 2304.10756)", (42.69, 41.31, None)),
    (STANFORD, "M3L, 1% of the labels", (55.48, 49.28, None)),
)
"""Data set, work, and its mIoU [points] with both sensors, color alone and depth alone; None: not published."""
UNKNOWN = "–"


def expected() -> list[str]:
    """The names of all runs, as training/experiments/nyuv2.py has them."""
    small = [
        f"{method}-{fraction:.2f}-{seed}"
        for fraction in SEEDS
        for method in METHODS
        for seed in range(SEEDS[fraction])
        if fraction == 0.2 or method != EACH
    ]
    return [*small, *(f"m3l_subsets-{variant}-1.00-0" for variant in LARGE)]


def name_of(result: Result) -> str:
    of_run = result["run"]
    parts = (of_run["method"], of_run["variant"], f"{of_run['fraction']:.2f}", str(of_run["seed"]))
    return "-".join(part for part in parts if part)


def large_table(results: Iterable[Result]) -> str:
    """All labels at 240x320, those that are there, and what others have published."""
    rows = [
        [*LARGE[each["run"]["variant"]], *measures([each["test"]])]
        for each in results
        if each["run"]["variant"] in LARGE
    ]
    rows += [[data_set, work, *published(figures)] for data_set, work, figures in PUBLISHED]
    return markdown_table(["data set", "network", *MEASURES], rows)


def published(figures: Sequence[float | None]) -> list[str]:
    """A cell for each of the measures; those that need figures which were not published are left open."""
    known = {column: value / 100 for column, value in zip(COLUMNS, figures, strict=True) if value is not None}
    if len(known) == len(COLUMNS):
        return measures([known])
    return [UNKNOWN if value is None else f"{value:.1f}" for value in figures] + [UNKNOWN] * (
        len(MEASURES) - len(COLUMNS)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder that nyuv2.py wrote")
    parser.add_argument("--page", type=Path, default=PAGE, help="Markdown page with the tables' places")
    arguments = parser.parse_args()
    results = read_results(arguments.results)
    there = {name_of(result) for result in results}
    missing = [name for name in expected() if name not in there]
    note = f"{len(expected()) - len(missing)} of {len(expected())} runs are done.\n\n" if missing else ""
    tables = {"nyuv2": note + comparison_table(results, METHODS, "variant"), "nyuv2_large": large_table(results)}
    fill_blocks(arguments.page, tables)
    print(*tables.values(), sep="\n\n")
    if missing:
        print(f"\nmissing: {', '.join(missing)}")


if __name__ == "__main__":
    run(main)
