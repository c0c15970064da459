"""Tables of methods: figures that are known by hand, and their place in a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from m3l_core.errors import M3LError
from m3l_core.reporting.comparison import MEASURES, comparison_table, fill_blocks, measures, read_results, with_spread


def test_a_spread_needs_two_runs() -> None:
    assert with_spread([30.0]) == "30.0"
    assert with_spread([30.0, 32.0]) == "31.0 ± 1.4"
    assert with_spread([0.5, 0.6], 2) == "0.55 ± 0.07"


def test_mean_worst_and_retention_are_those_of_each_run() -> None:
    runs = [
        {"color+depth": 0.5, "color": 0.4, "depth": 0.3},  # mean 0.4, retention 0.8
        {"color+depth": 0.3, "color": 0.12, "depth": 0.18},  # mean 0.2, retention 0.667
    ]
    cells = dict(zip(MEASURES, measures(runs), strict=True))
    assert cells == {
        "both": "40.0 ± 14.1",
        "color": "26.0 ± 19.8",
        "depth": "24.0 ± 8.5",
        "MM-Robust": "30.0 ± 14.1",
        "worst": "21.0 ± 12.7",
        "retention": "0.73 ± 0.09",
    }


def result(method: str, fraction: float, both: float, variant: str = "") -> dict[str, Any]:
    miou = {"color+depth": both, "color": 0.2, "depth": 0.2}
    return {"run": {"method": method, "fraction": fraction, "variant": variant}, "test": miou}


def test_rows_are_by_share_of_the_labels_then_in_the_order_of_the_methods() -> None:
    results = [result("b", 0.2, 0.5), result("a", 0.2, 0.4), result("b", 0.05, 0.3), result("a", 0.2, 0.6)]
    rows = comparison_table(results, {"a": "first", "b": "second"}, "variant").splitlines()
    assert rows[0] == "| labels | method | seeds | both | color | depth | MM-Robust | worst | retention |"
    starts = [" | ".join(row.split(" | ")[:4]) for row in rows[2:]]
    assert starts == ["| 5% | second | 1 | 30.0", "| 20% | first | 2 | 50.0 ± 14.1", "| 20% | second | 1 | 50.0"]


def test_a_variant_has_a_row_where_it_has_a_name() -> None:
    results = [result("a", 0.2, 0.4), result("a", 0.2, 0.6, "long"), result("a", 0.2, 0.9, "other")]
    rows = comparison_table(results, {"a": "first", "a-long": "first, longer"}, "variant").splitlines()
    starts = [" | ".join(row.split(" | ")[:4]) for row in rows[2:]]
    assert starts == ["| 20% | first | 1 | 40.0", "| 20% | first, longer | 1 | 60.0"]


def test_without_results_there_is_a_head_alone(tmp_path: Path) -> None:
    assert read_results(tmp_path / "nowhere") == []
    assert len(comparison_table([], {"a": "first"}, "variant").splitlines()) == 2


def test_blocks_are_replaced_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("top\n<!-- one -->\nold\n<!-- end -->\nbetween\n<!-- two -->\n<!-- end -->\nbottom\n")
    fill_blocks(page, {"two": "second", "one": r"first \1"})
    expected = "top\n<!-- one -->\nfirst \\1\n<!-- end -->\nbetween\n<!-- two -->\nsecond\n<!-- end -->\nbottom\n"
    assert page.read_text() == expected
    with pytest.raises(M3LError, match="no place for the three: expected <!-- three --> and <!-- end -->"):
        fill_blocks(page, {"one": "other", "three": "x"})
    assert page.read_text() == expected
