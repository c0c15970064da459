"""Files and tables say what was counted, and how a missing modality was fed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console
from support.half_scenes import COLOR_AND_DEPTH, CONFIDENCE, IOU, SumEngine, describe, write_frames

from m3l_core.datasets.folder import Sample
from m3l_core.evaluation.conditions import MISSING, SCENARIOS, Missing, Scenario, Subset, standard_conditions
from m3l_core.evaluation.picture import MEAN, NM, RMM, SUBSET, write_picture
from m3l_core.evaluation.report import Subject, tables, to_dict, write_json
from m3l_core.evaluation.robustness import RobustnessEvaluator, RobustnessResult
from m3l_core.modalities import DepthModality, HeightModality, Modality

SUBJECT = Subject("halves", "0" * 64, "sum", "fp32", "val.json", frames=2, labelled=7, unlabelled=3)
CLASSES = describe().labels.names
WHOLE, DEPTH = sum(IOU["color+depth"]) / 2, sum(IOU["depth"]) / 2


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Two frames, for reading only."""
    return write_frames(tmp_path_factory.mktemp("halves"), 2)


def measure(
    samples: list[Sample], missing: Missing = "token", scenarios: tuple[Scenario, ...] = SCENARIOS
) -> RobustnessResult:
    conditions = standard_conditions(("color", "depth"), scenarios)
    return RobustnessEvaluator(SumEngine(), describe(), missing).measure(samples, conditions)


def console_text(result: RobustnessResult) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(*tables(SUBJECT, CLASSES, result), sep="\n")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def row(text: str, name: str) -> list[str]:
    """The cells of the first row that starts with ``name``."""
    cells = ([cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line)
    return next(found for found in cells if found[0] == name)


def colors_of(path: Path) -> Any:
    """(pixels, 3) RGB."""
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB).reshape(-1, 3)


def pixels(path: Path, color: tuple[int, int, int]) -> int:
    return int((colors_of(path) == color).all(axis=1).sum())


def test_the_figures_of_the_file(samples: list[Sample], tmp_path: Path) -> None:
    path = tmp_path / "new" / "evaluation.json"
    write_json(path, to_dict(SUBJECT, CLASSES, measure(samples)))
    found = json.loads(path.read_text())
    assert found["subject"]["labelled"] == 7
    assert found["modalities"] == ["color", "depth"]
    assert list(found["subsets"]) == list(IOU)
    assert found["subsets"]["depth"]["iou"] == {
        "left": pytest.approx(2 / 3, abs=1e-6),
        "right": 0.5,
        "nowhere": None,
    }
    assert found["subsets"]["color"]["ece"] == pytest.approx(1 - CONFIDENCE / 255)
    assert sum(found["subsets"]["color"]["reliability"]["pixels"]) == 2 * 64 * 96
    assert found["mm_robust"] == found["emm"]["mean"] == pytest.approx((2 * WHOLE + DEPTH) / 3, abs=1e-6)
    assert found["worst"] == {"subset": "depth", "miou": pytest.approx(DEPTH, abs=1e-6)}
    expected = (0.8**2 * WHOLE + 0.2 * 0.8 * WHOLE + 0.2 * 0.8 * DEPTH) / (1 - 0.2**2)
    assert found["emm"]["expected"]["0.2"] == pytest.approx(expected, abs=1e-6)
    assert list(found["emm"]["expected"]) == ["0.05", "0.1", "0.2"]
    for figures in found["rmm"].values():
        intact = {key: entry["miou"] for key, entry in figures["intact"].items()}
        assert intact["color+depth"] == WHOLE
        assert figures["mean"] == pytest.approx(sum(intact.values()) / 3, abs=1e-6)
    assert list(found["rmm"]) == ["0.25", "0.5", "0.75"]
    assert 0 < found["nm"]["high"]["miou"] < found["nm"]["low"]["miou"] < 1


def test_the_console_shows_the_same_figures(samples: list[Sample]) -> None:
    result = measure(samples)
    found, text = to_dict(SUBJECT, CLASSES, result), console_text(result)
    assert "halves, sum fp32, 2 of 7 frames of val.json (3 more have no label)" in text
    assert row(text, "color+depth") == ["color+depth", "2", "1.000", "0.200"]
    assert row(text, "worst: depth") == ["worst: depth", "", f"{DEPTH:.3f}", ""]
    assert row(text, "MM-Robust (mean)")[2] == f"{found['mm_robust']:.3f}"
    assert row(text, "left") == ["left", "1.000", "1.000", "0.667"]
    assert row(text, "nowhere") == ["nowhere", "-", "-", "-"]
    rows = {"EMM: all of it is missing": found["emm"], "RMM: 50% of its values are 0": found["rmm"]["0.5"]}
    for name, averages in rows.items():
        values = [averages["mean"], *averages["expected"].values()]
        assert row(text, name) == [name, *(f"{value:.3f}" for value in values)]
    assert row(text, "high")[:4] == ["high", "20%", "0.5", f"{found['nm']['high']['miou']:.3f}"]


@pytest.mark.parametrize("missing", MISSING)
def test_every_output_names_how_missing_was_fed(samples: list[Sample], missing: Missing) -> None:
    result = measure(samples, missing)
    for table in tables(SUBJECT, CLASSES, result):
        assert MISSING[missing] in str(table.caption)
    assert to_dict(SUBJECT, CLASSES, result)["missing"] == {"fed_as": missing, "meaning": MISSING[missing]}


def test_a_stream_that_is_left_out_is_said_to_be(samples: list[Sample]) -> None:
    network = describe().network.model_copy(update={"missing": "no_stream"})
    described = describe().model_copy(update={"network": network})
    whole = [Subset(("color", "depth"))]
    found = {each: RobustnessEvaluator(SumEngine(), described, each).measure(samples, whole).fed_as for each in MISSING}
    assert found == MISSING | {"token": "left out of the network"}


def test_pictures_differ_in_how_missing_was_fed(samples: list[Sample], tmp_path: Path) -> None:
    described = describe()
    seen = set()
    for missing in MISSING:
        result = RobustnessResult(("color", "depth"), missing, measure(samples).scores)
        write_picture(tmp_path / "picture.png", SUBJECT, described.labels, COLOR_AND_DEPTH, result, [])
        seen.add((tmp_path / "picture.png").read_bytes())
    assert len(seen) == len(MISSING)


def test_what_was_not_measured_is_not_shown(samples: list[Sample], tmp_path: Path) -> None:
    result = measure(samples, scenarios=("subsets",))
    found, text = to_dict(SUBJECT, CLASSES, result), console_text(result)
    assert (found["rmm"], found["nm"]) == ({}, {})
    assert "RMM" not in text
    assert "Noise" not in text
    path = tmp_path / "picture.png"
    write_picture(path, SUBJECT, describe().labels, COLOR_AND_DEPTH, result, [])
    assert pixels(path, SUBSET) > 1000
    assert pixels(path, RMM) == pixels(path, NM) == 0


def test_bars_are_as_long_as_the_miou(samples: list[Sample], tmp_path: Path) -> None:
    path, result = tmp_path / "picture.png", measure(samples, "black")
    write_picture(path, SUBJECT, describe().labels, COLOR_AND_DEPTH, result, [])
    subsets, mean = pixels(path, SUBSET), pixels(path, MEAN)
    assert subsets / mean == pytest.approx(3.0, abs=0.15)  # the figures stand in the longest bars
    assert pixels(path, RMM) > 0
    assert pixels(path, NM) > 0


def test_examples_show_truth_and_labels_in_the_colors_of_the_classes(samples: list[Sample], tmp_path: Path) -> None:
    described, path = describe(), tmp_path / "picture.png"
    evaluator = RobustnessEvaluator(SumEngine(), described)
    shares = []
    for count in (0, 1, 2):
        examples = [evaluator.example(sample) for sample in samples[:count]]
        write_picture(path, SUBJECT, described.labels, COLOR_AND_DEPTH, measure(samples), examples)
        shares.append([pixels(path, entry.color) for entry in described.labels.classes])
    left, right, nowhere = (np.diff(column) for column in zip(*shares, strict=True))
    # Truth and three predictions, half of each; with depth alone three quarters are left.
    assert left / right == pytest.approx([2.25 / 1.75] * 2, rel=0.02)
    assert nowhere.tolist() == [0, 0]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_pictures_and_tables_of_one_to_four_modalities(tmp_path: Path, count: int) -> None:
    modalities: tuple[Modality, ...] = (
        *COLOR_AND_DEPTH,
        DepthModality(name="lidar", normalization="min_max"),
        HeightModality(name="surface model"),
    )[:count]
    described = describe(modalities)
    frame = write_frames(tmp_path, 1, modalities=described.modality_names)[0]
    blind = Sample({name: path for name, path in frame.images.items() if name != "depth"}, frame.label, "halves")
    evaluator = RobustnessEvaluator(SumEngine(), described)
    result = evaluator.measure([frame, blind], standard_conditions(described.modality_names))
    examples = [evaluator.example(sample) for sample in (frame, blind)]
    write_picture(tmp_path / "picture.png", SUBJECT, described.labels, modalities, result, examples)
    height, width = cv2.imread(str(tmp_path / "picture.png")).shape[:2]
    assert 700 <= width <= 2400
    assert height <= 2400
    found = to_dict(SUBJECT, CLASSES, result)
    assert len(found["subsets"]) == 2**count - 1
    json.dumps(found, allow_nan=False)
    assert "MM-Robust" in console_text(result)


def test_nothing_measured_is_told_by_nulls_and_dashes(tmp_path: Path) -> None:
    result = measure([])
    found = to_dict(SUBJECT, CLASSES, result)
    assert found["mm_robust"] is None
    assert found["subsets"]["color"]["miou"] is None
    assert row(console_text(result), "color") == ["color", "0", "-", "-"]
    write_picture(tmp_path / "picture.png", SUBJECT, describe().labels, COLOR_AND_DEPTH, result, [])
    assert pixels(tmp_path / "picture.png", SUBSET) == 0
