"""Figures and picture of the demo, from masks that are known."""

from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from m3l_core.labels import LabelSet, SemanticClass
from m3l_ros.demo.recording import PHASES, Instant
from m3l_ros.demo.report import PhaseResult, results_table, score, write_picture, write_report

SIZE = (60, 200)
PERIOD_NS = 100_000_000
PER_PHASE = 5
LABELS = LabelSet(
    classes=tuple(
        SemanticClass(name=name, color=color)
        for name, color in (("floor", (250, 0, 0)), ("wall", (0, 250, 0)), ("chair", (0, 0, 250)))
    )
)
Masks = dict[int, NDArray[np.uint8]]


@pytest.fixture
def instants() -> list[Instant]:
    truth = np.zeros(SIZE, np.uint8)
    truth[:, 100:] = 1
    truth[:5] = 255
    return [
        Instant(
            stamp_ns=number * PERIOD_NS,
            phase=PHASES[number // PER_PHASE],
            messages={},
            color=np.full((*SIZE, 3), (10, 20, 200), np.uint8),
            depth=np.full(SIZE, 1000 + number, np.uint16),
            truth=truth,
        )
        for number in range(PER_PHASE * len(PHASES))
    ]


@pytest.fixture
def masks(instants: list[Instant]) -> Masks:
    """Perfect with both sensors, all floor without depth, none at all without color, every other one at the end."""
    perfect = np.where(instants[0].truth == 255, 0, instants[0].truth).astype(np.uint8)
    per_phase = [perfect, np.zeros(SIZE, np.uint8), None, perfect]
    return {
        instant.stamp_ns: mask
        for number, instant in enumerate(instants)
        if (mask := per_phase[number // PER_PHASE]) is not None and (number < 15 or number % 2)
    }


def test_score_counts_phase_by_phase(instants: list[Instant], masks: Masks) -> None:
    both, no_depth, no_color, again = score(instants, masks, len(LABELS))
    assert [result.phase for result in (both, no_depth, no_color, again)] == [phase.name for phase in PHASES]
    assert {result.frames for result in (both, no_depth, no_color, again)} == {PER_PHASE}
    assert (both.labelled, both.label_rate_hz, both.mean_iou, both.stock_sets) == (5, 10.0, 1.0, 5)
    # Half of the floor is right, no wall is found, no chair occurs.
    assert (no_depth.labelled, no_depth.mean_iou, no_depth.stock_sets) == (5, 0.25, 0)
    assert (no_color.labelled, no_color.label_rate_hz, no_color.stock_sets) == (0, 0.0, 0)
    assert (again.labelled, again.label_rate_hz, again.mean_iou, again.stock_sets) == (3, 6.0, 1.0, 5)


def test_a_phase_without_labels_has_no_mean_iou(instants: list[Instant]) -> None:
    assert all(np.isnan(result.mean_iou) for result in score(instants, {}, len(LABELS)))


def test_masks_of_other_stamps_do_not_count(instants: list[Instant], masks: Masks) -> None:
    moved = {stamp_ns + 1: mask for stamp_ns, mask in masks.items()}
    assert {result.labelled for result in score(instants, moved, len(LABELS))} == {0}


def test_a_single_instant_has_no_rate(instants: list[Instant], masks: Masks) -> None:
    first, *_ = score(instants[:1], masks, len(LABELS))
    assert (first.frames, first.labelled, first.label_rate_hz, first.mean_iou) == (1, 1, 0.0, 1.0)


def test_the_report_is_json_that_any_reader_takes(tmp_path: Path, instants: list[Instant], masks: Masks) -> None:
    path = tmp_path / "out" / "report.json"
    write_report(path, score(instants, masks, len(LABELS)), {"engine": "torch"})

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    content = json.loads(path.read_text(), parse_constant=refuse)
    assert content["node"] == {"engine": "torch"}
    assert [phase["phase"] for phase in content["phases"]] == [phase.name for phase in PHASES]
    assert content["phases"][0] == {
        "phase": "both sensors",
        "frames": 5,
        "labelled": 5,
        "label_rate_hz": 10.0,
        "mean_iou": 1.0,
        "stock_sets": 5,
    }
    assert content["phases"][2]["mean_iou"] is None


def test_the_table_has_a_row_per_phase() -> None:
    console = Console(file=io.StringIO(), width=120)
    results = [PhaseResult(phase.name, 25, 20, 8.0, 0.4321, 17) for phase in PHASES]
    console.print(results_table(results))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for phase in PHASES:
        assert phase.name in text
    assert text.count("8.0 Hz") == text.count("0.432") == text.count(" 17 ") == 4


def test_the_picture_shows_each_phase_in_the_colors_of_the_classes(
    tmp_path: Path, instants: list[Instant], masks: Masks
) -> None:
    path = tmp_path / "out" / "demo.png"
    write_picture(path, instants, masks, LABELS)
    assert list(path.parent.iterdir()) == [path]
    picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    height, width = SIZE
    assert picture.shape == (28 + 4 * height + 26, 4 * width, 3)

    def pixel(phase: int, column: int, x: int) -> list[int]:
        return [int(value) for value in picture[28 + phase * height + height - 3, column * width + x]]

    floor, wall, blank = [250, 0, 0], [0, 250, 0], [32, 32, 32]
    assert pixel(0, 0, 190) == [10, 20, 200]
    assert [pixel(0, 2, x) for x in (3, 190)] == [floor, wall]
    assert [pixel(1, 2, x) for x in (3, 190)] == [floor, floor]
    assert pixel(1, 1, 190) == blank
    assert pixel(2, 0, 190) == blank
    assert pixel(2, 2, 190) == blank
    assert [pixel(3, 2, x) for x in (3, 190)] == [floor, wall]
    for phase in range(4):
        assert [pixel(phase, 3, x) for x in (3, 190)] == [floor, wall]
    assert floor in picture[-26:, :60].reshape(-1, 3).tolist()


def test_drawing_leaves_the_images_alone(tmp_path: Path, instants: list[Instant], masks: Masks) -> None:
    former = [instant.color.copy() for instant in instants]
    write_picture(tmp_path / "demo.png", instants, masks, LABELS)
    assert all((instant.color == color).all() for instant, color in zip(instants, former, strict=True))
