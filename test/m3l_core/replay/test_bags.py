"""Many bags: the same results in one process and in several, and one bad bag costs no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import replays
from support.bags import COLOR, LABEL, SIZE, START_NS, Recorded, frames, image, millimetres, rgb, write_bag
from support.engines import SeeingEngine
from support.replays import InstantSegmenter, describe, labelled_frames
from support.two_cameras import camera_info, pinhole

from m3l_core.errors import DatasetError
from m3l_core.frames import Frame, FrameSet
from m3l_core.modalities import ColorModality, DepthModality
from m3l_core.preprocessing import prepare
from m3l_core.replay import label_images
from m3l_core.replay.bags import BagTask, replay_bags
from m3l_core.replay.faults.scenario import Scenario, load_scenarios
from m3l_core.replay.preparation import prepare_bag
from m3l_core.replay.replay import ReplayResult, ReplaySettings
from m3l_core.replay.report.report import ReplayReport, to_dict
from m3l_core.segmenter import Segmenter

GUESSED = {"color": None, "depth": None}


def tasks_of(paths: list[Path], scenarios: list[Scenario], label_topic: str | None = LABEL) -> list[BagTask]:
    bags = [prepare_bag(path, GUESSED, describe(), label_topic) for path in paths]
    return [BagTask(bag, tuple(scenarios), ReplaySettings(), InstantSegmenter()) for bag in bags]


def report_of(tasks: list[BagTask], jobs: int) -> ReplayReport:
    outcomes = list(replay_bags(tasks, jobs))
    bags, scenarios = [task.bag for task in tasks], tasks[0].scenarios
    return ReplayReport(describe(), "instant", "fp32", ReplaySettings(), scenarios, bags, outcomes)


def test_one_process_and_two_give_the_same_report(tmp_path: Path) -> None:
    paths = [write_bag(tmp_path / name, labelled_frames(12)) for name in ("kitchen", "hall", "attic")]
    scenarios = load_scenarios(["none", "no_color", "degraded"])
    tasks = tasks_of(paths, scenarios)
    assert to_dict(report_of(tasks, 1)) == to_dict(report_of(tasks, 2))


def results(task: BagTask) -> list[ReplayResult]:
    (outcome,) = replay_bags([task])
    assert not isinstance(outcome, DatasetError), outcome
    return outcome


def test_every_scenario_is_compared_with_the_one_without_faults_whatever_the_order(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "kitchen", frames(12))
    advanced: list[int] = []
    (task,) = tasks_of([path], load_scenarios(["no_color", "none", "no_depth"]), label_topic=None)
    (outcome,) = replay_bags([task], advance=advanced.append)
    assert not isinstance(outcome, DatasetError)
    assert [result.scenario for result in outcome] == ["no_color", "none", "no_depth"]
    assert [result.measures.scores.agreement.frames for result in outcome] == [12, 0, 12]
    assert [result.worst_by for result in outcome] == ["agreement", "consistency", "agreement"]
    assert sum(advanced) == 3 * 24


def test_without_a_run_without_faults_nothing_is_agreed_with(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "kitchen", frames(12))
    (task,) = tasks_of([path], load_scenarios(["no_color"]), label_topic=None)
    assert results(task)[0].measures.scores.agreement.frames == 0


def test_a_bag_with_bad_ground_truth_costs_no_other(tmp_path: Path) -> None:
    bad = labelled_frames(5, lambda number: np.full(SIZE, 40 if number == 3 else 0, np.uint8))
    paths = [write_bag(tmp_path / "bad", bad), write_bag(tmp_path / "kitchen", labelled_frames(5))]
    report = report_of(tasks_of(paths, load_scenarios(["none"])), 1)
    first, second = report.outcomes
    assert isinstance(first, DatasetError)
    assert not isinstance(second, DatasetError)
    (damage,) = report.damages
    assert "topic /labels, stamp 1700000000300000000: class id 40, but the bundle has 4 classes" in damage
    content = to_dict(report)
    assert [bag["damage"] for bag in content["bags"]] == [damage, None]
    assert [run["bag"] for run in content["scenarios"][0]["runs"]] == ["kitchen"]


def test_labels_that_belong_to_no_frame_are_told(tmp_path: Path) -> None:
    shifted = [
        each._replace(message=image(np.ones(SIZE, np.uint8), "mono8", START_NS - number * 10**9))
        if each.topic == LABEL
        else each
        for number, each in enumerate(labelled_frames(5))
    ]
    (task,) = tasks_of([write_bag(tmp_path / "kitchen", shifted)], load_scenarios(["no_color", "none"]))
    (outcome,) = replay_bags([task])
    assert isinstance(outcome, DatasetError)
    assert "none of the 5 label images of the ground truth of kitchen belongs to a frame" in str(outcome)


def test_labels_in_another_size_at_one_frame_are_told_at_that_frame(tmp_path: Path) -> None:
    odd = labelled_frames(5, lambda number: np.zeros((5, 5) if number == 3 else SIZE, np.uint8))
    (task,) = tasks_of([write_bag(tmp_path / "kitchen", odd)], load_scenarios(["none"]))
    (outcome,) = replay_bags([task])
    assert isinstance(outcome, DatasetError)
    assert "stamp 1700000000300000000: the ground truth is 5 x 5 pixels" in str(outcome)


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: label_images.LabelStore, stamp_ns: int, ids: np.ndarray) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(label_images.LabelStore, "add", full)
    (task,) = tasks_of([write_bag(tmp_path / "kitchen", frames(5))], load_scenarios(["none", "no_color"]), None)
    (outcome,) = replay_bags([task])
    assert isinstance(outcome, DatasetError)
    assert "labels of kitchen cannot be kept on disk: [Errno 28] No space left" in str(outcome)


def test_equal_choices_share_a_segmenter_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[int] = []
    original = replays.describe
    monkeypatch.setattr(replays, "describe", lambda modalities: loaded.append(1) or original(modalities))
    paths = [write_bag(tmp_path / name, frames(3)) for name in ("kitchen", "hall")]
    tasks = tasks_of(paths, load_scenarios(["none"]), None)
    assert len(list(replay_bags(tasks))) == 2
    assert len(loaded) <= 1


def test_a_replay_sees_depth_as_wide_as_the_recording_says(tmp_path: Path) -> None:
    modalities = (ColorModality(), DepthModality(normalization="geometry"))
    engine = SeeingEngine()
    segmenter = Segmenter(describe(modalities), engine)
    info = camera_info(pinhole(SIZE, SIZE[1] / 2), "camera")
    beside = f"{COLOR.rpartition('/')[0]}/camera_info"
    bags = {
        90.0: write_bag(tmp_path / "wide", [*frames(1), Recorded(beside, START_NS, info)]),
        None: write_bag(tmp_path / "unknown", frames(1)),
    }
    images = {"color": Frame("color", 0, rgb(0)), "depth": Frame("depth", 0, millimetres(0))}
    for fov_deg, path in bags.items():
        bag = prepare_bag(path, GUESSED, segmenter.description)
        results(BagTask(bag, tuple(load_scenarios(["none"])), ReplaySettings(), lambda: segmenter))
        expected = prepare(FrameSet("color", images), modalities, (64, 96), None, fov_deg)
        np.testing.assert_array_equal(engine.seen, expected.images)
