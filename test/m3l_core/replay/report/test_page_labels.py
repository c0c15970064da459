"""Bars, tables and matrices of a page show the figures they are given."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from support.pages import Page

from m3l_core.replay.report.page_labels import class_iou, confusion_matrices, score_bars, worst_frames
from m3l_core.replay.report.page_style import STYLE as PAGE_STYLE
from m3l_core.reporting.style import STYLE

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
    assert '<td class="wrong" style="--v:0.30">' in text
    assert '<td style="--v:0.60">' in text
    assert "<chair>" in Page(text).text


def test_iou_stands_by_class_and_scenario() -> None:
    text = class_iou(report(scenario("none", 0.772), scenario("no_color", 0.5), scenario("unlabelled", None)))
    assert rows(text) == [["0.97", "0.97"], ["0.58", "0.58"], ["-", "-"], ["0.77", "0.50"]]
    assert "unlabelled" not in text


@pytest.mark.parametrize(("scheme", "place"), [("light", 0), ("dark", 1)])
def test_figures_can_be_read_on_every_heat(scheme: str, place: int) -> None:
    """A contrast of 4.5 (WCAG 2, level AA), which axe-core cannot measure where cells overlap."""

    def setting(name: str) -> str:
        return re.findall(rf"--{name}: ([^;]+);", STYLE + PAGE_STYLE)[place]

    def color(name: str) -> np.ndarray:
        digits = setting(name).removeprefix("#")
        return np.array([int(digit, 16) for digit in digits] if len(digits) == 3 else [*bytes.fromhex(digits)]) / (
            15 if len(digits) == 3 else 255
        )

    def luminance(rgb: np.ndarray) -> float:
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    for ink, most in (("0", "most"), ("1", "wrong")):
        for value in np.linspace(0, 1, 11):
            share = value * float(setting(most).removesuffix("%")) / 100
            ground = luminance(share * color(ink) + (1 - share) * color("card"))
            low, high = sorted((ground, luminance(color("text"))))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, value)


def test_bars_show_miou_beside_mm_robust() -> None:
    robust = {"value": 0.5, "miou": {"color+depth": 0.75, "depth": 0.25}}
    text = score_bars(report(scenario("none", 0.75, None), scenario("no_color", 0.25, 0.9), robust=robust))
    assert "MM-Robust 0.500" in text
    assert "color and depth 0.750, depth 0.250" in text
    chart = ElementTree.fromstring(text[text.index("<svg") : text.index("</svg>") + len("</svg>")])
    lengths = [float(bar.attrib["width"]) for bar in chart.findall("rect")]
    assert lengths[0] == pytest.approx(3 * lengths[1], abs=0.2)
    assert text.count('class="division"') == 1


def test_without_ground_truth_bars_show_agreement_and_else_nothing() -> None:
    text = score_bars(report(scenario("none", None), scenario("no_color", None, 0.9)))
    assert "Agreement" in text
    assert "0.90" in text
    without = report(scenario("none", None))
    assert [part(without) for part in (score_bars, class_iou, confusion_matrices, worst_frames)] == [""] * 4
