"""Markdown tables of methods beside each other, made of the small files that their runs left."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from m3l_core.errors import M3LError
from m3l_core.files import replacing_file
from m3l_core.metrics import mm_robust

Result = Mapping[str, Any]
COLUMNS = ("color+depth", "color", "depth")
MEASURES = ("both", "color", "depth", "MM-Robust", "worst", "retention")
"""Both sensors, each alone, their mean, their minimum, and the mean as a part of the first."""


def read_results(folder: Path) -> list[Result]:
    """In the order of the files' names; none where there is no such folder."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def with_spread(values: Sequence[float], digits: int = 1) -> str:
    """Mean and standard deviation."""
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{spread}"


def measures(tests: Sequence[Mapping[str, float]]) -> list[str]:
    """A cell for each of ``MEASURES``, in points of mIoU but for the last: mean and spread over the runs.

    Args:
        tests: mIoU by subset of each run, in [0, 1].
    """
    robust = [mm_robust(test) for test in tests]
    worst = [min(test.values()) for test in tests]
    columns = [*([test[column] for test in tests] for column in COLUMNS), robust, worst]
    kept = [of_run / test[COLUMNS[0]] for of_run, test in zip(robust, tests, strict=True)]
    return [*(with_spread([100 * value for value in column]) for column in columns), with_spread(kept, 2)]


def markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join([markdown_row(heads), "|" + "---|" * len(heads), *map(markdown_row, rows)])


def comparison_table(results: Iterable[Result], methods: Mapping[str, str], variant: str) -> str:
    """Test mIoU by share of the labels and method.

    Args:
        results: each with ``run`` (``method``, ``fraction``, ``variant``'s value) and, where its method has a row,
            ``test``, its mIoU by subset.
        methods: name -> title, in the order of the rows; ``METHOD-VARIANT`` is that method in a variant.
        variant: how a run calls that, which may be empty.
    """
    groups: dict[tuple[float, str], list[Result]] = {}
    for result in results:
        run = result["run"]
        name = f"{run['method']}-{run[variant]}" if run[variant] else run["method"]
        groups.setdefault((run["fraction"], name), []).append(result)
    return markdown_table(
        ["labels", "method", "seeds", *MEASURES],
        [
            [f"{fraction:.0%}", title, str(len(group)), *measures([result["test"] for result in group])]
            for fraction in sorted({fraction for fraction, _ in groups})
            for method, title in methods.items()
            if (group := groups.get((fraction, method)))
        ],
    )


def fill_blocks(page: Path, blocks: Mapping[str, str]) -> None:
    """Put each text into the place of its name in a Markdown page, ``<!-- NAME -->`` to ``<!-- end -->``.

    Raises:
        M3LError: the page has no such place; it is left as it is.
    """
    text = page.read_text(encoding="utf-8")
    for name, content in blocks.items():
        before, found, rest = text.partition(f"<!-- {name} -->\n")
        _, ended, after = rest.partition("<!-- end -->")
        if not (found and ended):
            raise M3LError(f"{page} has no place for the {name}: expected <!-- {name} --> and <!-- end -->")
        text = f"{before}{found}{content}\n{ended}{after}"
    with replacing_file(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
