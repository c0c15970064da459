"""report.json is the same every time, and holds all that a page about the replay needs."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console
from support.bags import CompressionMode, break_chunk, frames, write_bag
from support.replays import BrightnessEngine

from m3l_core.bundle import ModelBundle
from m3l_core.errors import DatasetError
from m3l_core.replay.bags import BagTask, replay_bags
from m3l_core.replay.faults.scenario import load_scenarios, shipped_scenarios
from m3l_core.replay.preparation import prepare_bag
from m3l_core.replay.replay import ReplaySettings
from m3l_core.replay.report.console import tables
from m3l_core.replay.report.figures import FIGURES, Limit
from m3l_core.replay.report.report import ReplayReport, to_dict, write_json
from m3l_core.segmenter import Segmenter
from m3l_core.shipped import shipped_bundle, shipped_recording

SHIPPED = ModelBundle.load(shipped_bundle()).description.model_copy(update={"input_height": 64, "input_width": 96})
SEGMENTER = Segmenter(SHIPPED, BrightnessEngine())
GUESSED = {"color": None, "depth": None}
LABEL_TOPIC = "/ground_truth/labels"


def replayed(path: Path, names: list[str], label_topic: str | None = None, limits: tuple[Limit, ...] = ()) -> Any:
    scenarios = load_scenarios(names)
    bag = prepare_bag(path, GUESSED, SHIPPED, label_topic)
    outcomes = list(replay_bags([BagTask(bag, tuple(scenarios), ReplaySettings(), lambda: SEGMENTER)]))
    return ReplayReport(SHIPPED, "brightness", "fp32", ReplaySettings(), scenarios, [bag], outcomes, limits)


@pytest.fixture(scope="module")
def sample() -> ReplayReport:
    """The sample recording under every scenario that is shipped."""
    return replayed(shipped_recording(), list(shipped_scenarios()), LABEL_TOPIC, (Limit("", "miou", 0.9),))


def test_every_shipped_scenario_runs_on_the_sample_recording(sample: ReplayReport) -> None:
    assert len(sample.totals) >= 5
    assert sample.damages == []
    assert len(sample.failures) == len(sample.totals)
    for name, measures in sample.totals.items():
        assert measures.delivery.number >= 80, name
        assert measures.delivery.longest_gap_ns <= 0.6e9, name
        assert measures.scores.accuracy.frames == measures.delivery.number, name
        for counts in measures.modalities.values():
            assert counts.recorded == 100
            assert counts.in_complete_sets + counts.in_partial_sets + sum(counts.dropped.values()) == counts.arrived


def test_the_report_holds_what_a_page_about_it_needs(sample: ReplayReport) -> None:
    content = json.loads(json.dumps(to_dict(sample), allow_nan=False))
    assert content["bundle"]["classes"][0] == {"name": "wall", "color": list(SHIPPED.labels.classes[0].color)}
    assert content["bags"][0]["topics"]["depth"] == "/depth/image_rect/compressedDepth"
    assert content["bags"][0]["ground_truth"] == LABEL_TOPIC
    assert content["mm_robust"]["miou"].keys() == {"color+depth", "color", "depth"}
    assert content["limits"]["asked"] == ["miou=0.9"]
    assert content["settings"]["synchronizer"]["sync_timeout"] == 0.05
    by_name = {scenario["name"]: scenario for scenario in content["scenarios"]}
    assert by_name["no_color"]["faults"] == [load_scenarios(["no_color"])[0].faults[0].model_dump(mode="json")]
    for scenario in by_name.values():
        assert scenario["figures"].keys() == content["figures"].keys() == FIGURES.keys()
        matrix = np.array(scenario["measures"]["confusion_matrix"])
        assert matrix.shape == (14, 14)
        assert matrix.sum() > 0
        assert len(scenario["measures"]["iou"]) == 14
        assert sum(count for _, count in scenario["measures"]["wait_histogram"]) >= 80
        assert scenario["worst_frames"]["tiles"] == ["color", "depth", "labels", "ground truth"]
        assert scenario["worst_frames"]["frames"]
        for frame in scenario["worst_frames"]["frames"]:
            picture = cv2.imdecode(np.frombuffer(base64.b64decode(frame["jpeg"]), np.uint8), cv2.IMREAD_COLOR)
            assert picture is not None
            assert picture.shape == (150, 800, 3)
        (run,) = scenario["runs"]
        assert run["states"].keys() == {"color", "depth"}
        for states in run["states"].values():
            assert states["changes"][0][0] == 0
            assert states["changes"] == sorted(states["changes"], key=lambda change: change[0])
        for start, end in run["gaps"]:
            assert 0 <= start < end <= run["length_s"]
    intermittent = by_name["intermittent"]["runs"][0]
    assert {state for _, state in intermittent["states"]["color"]["changes"]} == {"OK", "STALE", "LOST"}
    assert intermittent["gaps"]
    assert by_name["none"]["runs"][0]["gaps"] == []


def test_two_reports_are_equal_to_the_byte(tmp_path: Path, sample: ReplayReport) -> None:
    bag = write_bag(tmp_path / "kitchen", frames(30))
    for number in "12":
        write_json(tmp_path / number / "report.json", to_dict(replayed(bag, ["none", "degraded", "nm_mid"])))
    first, second = ((tmp_path / number / "report.json").read_bytes() for number in "12")
    assert first == second
    again = to_dict(replayed(shipped_recording(), ["none", "degraded"], LABEL_TOPIC))["scenarios"]
    before = {scenario["name"]: scenario for scenario in to_dict(sample)["scenarios"]}
    assert again == [before["none"], before["degraded"]]


def test_without_ground_truth_there_is_no_miou(tmp_path: Path) -> None:
    report = replayed(write_bag(tmp_path / "kitchen", frames(20)), ["none", "no_color"])
    content = to_dict(report)
    assert content["mm_robust"] is None
    for scenario in content["scenarios"]:
        assert scenario["figures"]["miou"] is scenario["measures"]["iou"] is None
        assert scenario["measures"]["confusion_matrix"] is None
    assert content["scenarios"][1]["figures"]["agreement"] is not None
    assert "mIoU" not in printed(report)


def test_a_damaged_bag_is_reported_with_what_came_of_it(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "kitchen", frames(600), compression=CompressionMode.STORAGE)
    break_chunk(path, 1)
    report = replayed(path, ["none"])
    (damage,) = report.damages
    assert "kitchen cannot be read" in damage
    content = to_dict(report)
    assert content["bags"][0]["damage"] == content["scenarios"][0]["runs"][0]["damage"] == damage
    assert content["scenarios"][0]["measures"]["delivery"]["number"] > 100


def test_a_report_of_failures_alone_can_be_written(tmp_path: Path) -> None:
    bag = prepare_bag(write_bag(tmp_path / "kitchen", frames(2)), GUESSED, SHIPPED)
    report = ReplayReport(
        SHIPPED, "brightness", "fp32", ReplaySettings(), load_scenarios(["none"]), [bag], [DatasetError("no")]
    )
    write_json(tmp_path / "report.json", to_dict(report))
    assert json.loads((tmp_path / "report.json").read_text())["scenarios"][0]["runs"] == []
    assert "none" in printed(report)


def printed(report: ReplayReport) -> str:
    output = io.StringIO()
    Console(file=output, width=200).print(*tables(report))
    return output.getvalue()


def test_the_console_shows_a_row_for_each_scenario_and_what_was_dropped(sample: ReplayReport) -> None:
    text = printed(sample)
    for name in sample.totals:
        assert f"│ {name} " in text
    for head in ("labels", "(Hz)", "gap (s)", "(ms)", "complete", "mIoU", "agreement", "consistency", "stock"):
        assert head in text
    assert "MM-Robust 0." in text
    assert "black image" in text
