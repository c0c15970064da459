"""Bars, tables and matrices of a page show the figures they are given."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest
from support.pages import Page

from m3l_core.replay.report.page_labels import class_iou, confusion_matrices, score_bars, worst_frames

MATRIX = [[996, 4, 0], [30, 60, 10], [0, 0, 0]]
CLASSES = ("wall", "<chair>", "lamp")


def scenario(name: str, miou: float | None, agreement: float | None = None) -> dict[str, Any]:
    known = miou is not None
    return {
        "name": name,
        "figures": {"miou": miou, "agreement": agreement},
        "measures": {
            "iou": {"wall": 0.967, "<chair>": 0.577, "lamp": None} if known else None,
            "confusion_matrix": MATRIX if known else None,
        },
        "worst_frames": {"by": "accuracy", "tiles": ["color", "labels", "ground truth"], "frames": []},
    }


def report(*scenarios: dict[str, Any], robust: dict[str, Any] | None = None) -> dict[str, Any]:
    classes = [{"name": name, "color": [number, 2, 3]} for number, name in enumerate(CLASSES)]
    return {"scenarios": list(scenarios), "mm_robust": robust, "bundle": {"classes": classes}}


def rows(text: str) -> list[list[str]]:
    """The cells of each row of a table."""
    return [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in text.split("<tr")[2:]]


def test_a_row_of_a_confusion_matrix_is_in_percent() -> None:
    text = confusion_matrices(report(scenario("none", 0.77), scenario("no_color", 0.5)))
    assert rows(text)[:3] == [["100", "", ""], ["30", "60", "10"], ["", "", ""]]
    assert text.count("<details") == 2
    assert text.count("<details open") == 1
    assert '<td class="wrong" style="--v:30%">' in text
    assert '<td style="--v:60%">' in text
    assert "<chair>" in Page(text).text


def test_iou_stands_by_class_and_scenario() -> None:
    text = class_iou(report(scenario("none", 0.772), scenario("no_color", 0.5), scenario("unlabelled", None)))
    assert rows(text) == [["0.97", "0.97"], ["0.58", "0.58"], ["-", "-"], ["0.77", "0.50"]]
    assert "unlabelled" not in text


def test_bars_show_miou_beside_mm_robust() -> None:
    robust = {"value": 0.5, "miou": {"color+depth": 0.75, "depth": 0.25}}
    text = score_bars(report(scenario("none", 0.75, None), scenario("no_color", 0.25, 0.9), robust=robust))
    assert "MM-Robust 0.500" in text
    assert "color and depth 0.750, depth 0.250" in text
    chart = ElementTree.fromstring(text[text.index("<svg") : text.index("</section>")])
    lengths = [float(bar.attrib["width"]) for bar in chart.findall("rect")]
    assert lengths[0] == pytest.approx(3 * lengths[1], abs=0.2)
    assert text.count('class="division"') == 1


def test_without_ground_truth_bars_show_agreement_and_else_nothing() -> None:
    text = score_bars(report(scenario("none", None), scenario("no_color", None, 0.9)))
    assert "Agreement" in text
    assert "0.90" in text
    without = report(scenario("none", None))
    assert [part(without) for part in (score_bars, class_iou, confusion_matrices, worst_frames)] == [""] * 4
