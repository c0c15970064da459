"""The faults on real bags, through the robot's decoding, checks and synchronizer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.bags import COLOR, DEPTH, SIZE, compressed, frames, jpeg, stamps, write_bag

from m3l_core.bags.frame_sets import BagFrames, RecordedFrame
from m3l_core.bags.reader import open_bag
from m3l_core.bags.topics import choose_topics
from m3l_core.frames import FrameSet
from m3l_core.replay.faults.scenario import Scenario, load_scenario, shipped_scenarios
from m3l_core.shipped import shipped_recording

TOPICS = {"color": COLOR, "depth": DEPTH}
COUNT = 60


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Color and depth at 10 Hz, 6 s."""
    return write_bag(tmp_path_factory.mktemp("bags") / "bag", frames(COUNT))


def replay(bag: Path, *faults: dict[str, Any]) -> tuple[list[FrameSet], BagFrames]:
    scenario = Scenario.model_validate({"name": "test", "faults": faults})
    with open_bag(bag) as opened:
        found = BagFrames(opened, TOPICS, faults=scenario.faults_for(opened.name))
        return list(found), found


def reasons(found: Sequence[FrameSet], modality: str) -> list[str | None]:
    return [frame_set.missing.get(modality) for frame_set in found]


def set_stamps(found: Sequence[FrameSet]) -> list[int]:
    return [frame_set.reference_frame.stamp_ns for frame_set in found]


def test_no_fault_leaves_the_sets_as_they_were(bag: Path) -> None:
    found, read = replay(bag)
    assert set_stamps(found) == stamps(COUNT)
    assert (read.synchronizer.complete_sets, read.dropped) == (COUNT, {})


@pytest.mark.parametrize(("gone", "left"), [("color", "depth"), ("depth", "color")])
def test_a_sensor_that_is_gone_gives_partial_sets_with_the_reason(bag: Path, gone: str, left: str) -> None:
    found, _ = replay(bag, {"kind": "gone", "modality": gone, "from_s": 1.0, "until_s": 3.0})
    assert set_stamps(found) == stamps(COUNT)
    # When depth comes back, color of that instant has gone: nobody waits for a lost sensor.
    num_partial = 20 + (gone == "depth")
    complete = [True] * 10 + [False] * num_partial + [True] * (COUNT - 10 - num_partial)
    assert [frame_set.complete for frame_set in found] == complete
    why = [str(reason) for reason in reasons(found, gone)[10:30]]
    # Color leads: while it is not given up, depth waits, and leaves when color is lost.
    assert why[0] == "no frame within 0.020 s" or gone == "color"
    assert why[-1].startswith("no healthy frame for ")
    assert {frame_set.reference for frame_set in found[10:30]} == {left}


def test_a_frozen_sensor_is_unhealthy_once_it_is_noticed(bag: Path) -> None:
    found, read = replay(bag, {"kind": "frozen", "modality": "color", "from_s": 1.0, "until_s": 5.0})
    first = found[12].frames["color"].data
    np.testing.assert_array_equal(first, found[11].frames["color"].data)
    # Message 9 is repeated by messages 10 to 49, of which the 38th and later stand 30 or more times in a row.
    unhealthy = read.dropped["color", "same image 30 or more times in a row"]
    assert unhealthy == 50 - 38
    assert found[-1].complete


@pytest.mark.parametrize(("kind", "reason"), [("black", "black image"), ("saturated", "saturated image")])
def test_a_blinded_camera_is_unhealthy(bag: Path, kind: str, reason: str) -> None:
    found, read = replay(bag, {"kind": kind, "from_s": 1.0, "until_s": 2.0})
    assert read.dropped["color", reason] == 10
    why = [str(reason_) for reason_ in reasons(found, "color") if reason_]
    assert why
    assert all(reason in text for text in why)


def test_depth_full_of_holes_is_unhealthy(bag: Path) -> None:
    found, read = replay(bag, {"kind": "depth_holes", "share": 1.0, "from_s": 1.0, "until_s": 2.0})
    reason = "0% of the depth is valid, 5% needed"
    assert read.dropped["depth", reason] == 10
    assert all(reason in str(text) for text in reasons(found[10:20], "depth"))


def test_a_bag_loop_resets_and_is_not_fatal(bag: Path) -> None:
    found, read = replay(bag, {"kind": "bag_loop", "length_s": 3.0})
    assert read.synchronizer.resets == 1
    assert set_stamps(found) == [*stamps(30), *stamps(COUNT)]
    assert all(frame_set.complete for frame_set in found)
    np.testing.assert_array_equal(found[30].frames["color"].data, found[0].frames["color"].data)


def test_a_whole_bag_is_looped(bag: Path) -> None:
    found, read = replay(bag, {"kind": "bag_loop", "length_s": 10.0, "times": 3})
    assert read.synchronizer.resets == 2
    assert set_stamps(found) == stamps(COUNT) * 3


def test_duplicates_are_counted_and_change_no_set(bag: Path) -> None:
    found, read = replay(bag, {"kind": "duplicate", "probability": 1.0})
    assert set_stamps(found) == stamps(COUNT)
    assert sum(read.dropped.values()) == 2 * COUNT
    assert {reason for _, reason in read.dropped} <= {"duplicate", "late", "superseded"}


def test_what_comes_too_late_is_counted_as_late(bag: Path) -> None:
    found, read = replay(bag, {"kind": "reorder", "modality": "depth", "probability": 0.2})
    missing = sum(not frame_set.complete for frame_set in found)
    assert len(found) == COUNT
    assert 0 < missing == read.dropped["depth", "late"] < COUNT / 2


def test_a_delay_within_the_wait_costs_no_set_and_one_above_it_does(bag: Path) -> None:
    within, _ = replay(bag, {"kind": "delay", "modality": "depth", "delay_s": 0.04})
    assert all(frame_set.complete for frame_set in within)
    above, read = replay(bag, {"kind": "delay", "modality": "depth", "delay_s": 0.08})
    assert not any(frame_set.complete for frame_set in above)
    assert read.dropped["depth", "superseded"] > COUNT / 2


def test_jitter_and_offset_of_the_stamps_reach_the_synchronizer(bag: Path) -> None:
    jittered, _ = replay(bag, {"kind": "jitter", "stamp_s": 0.005})
    assert all(frame_set.complete for frame_set in jittered)
    off = np.abs(np.subtract(set_stamps(jittered), stamps(COUNT)))
    assert 4e6 < off.max() <= 5e6
    apart, _ = replay(bag, {"kind": "clock_offset", "modality": "depth", "offset_s": 0.53})
    assert "color and depth differ by 0.53 s" in reasons(apart, "depth")


def test_a_lower_rate_gives_fewer_whole_sets(bag: Path) -> None:
    found, _ = replay(bag, {"kind": "rate", "rate_hz": 5.0})
    assert set_stamps(found) == stamps(COUNT)[::2]
    assert all(frame_set.complete for frame_set in found)


def test_a_changed_resolution_is_refused_until_it_stays(bag: Path) -> None:
    found, read = replay(bag, {"kind": "resolution", "modality": "color", "scale": 0.5, "from_s": 1.0})
    height, width = SIZE
    assert read.dropped["color", f"size {width}x{height} became {width // 2}x{height // 2}"] == 9
    assert found[-1].frames["color"].data.shape == (height // 2, width // 2, 3)


def test_a_compressed_image_that_is_damaged_is_no_longer_its_file(tmp_path: Path) -> None:
    recorded = frames(20)
    for number, stamp in enumerate(stamps(20)):
        message = compressed(jpeg(number), "rgb8; jpeg compressed bgr8", stamp)
        recorded[2 * number] = recorded[2 * number]._replace(message=message)
    damage = {"kind": "random_missing", "modality": "color", "zero_rate": 0.5, "from_s": 1.0}
    found, _ = replay(write_bag(tmp_path / "bag", recorded), damage, {"kind": "frozen", "from_s": 0.5, "until_s": 0.9})
    files = [frame.compressed for each in found if isinstance(frame := each.frames["color"], RecordedFrame)]
    kept = [None if file is None else file.tobytes() for file in files]
    assert kept == [jpeg(n) for n in (0, 1, 2, 3, 4, 4, 4, 4, 4, 9)] + [None] * 10


def test_the_sets_are_the_same_however_many_threads_decode(bag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [
        {"kind": "noisy", "salt_pepper": 0.1, "sigma": 0.3},
        {"kind": "depth_holes", "share": 0.3, "probability": 0.5},
        {"kind": "jitter", "arrival_s": 0.03},
        {"kind": "duplicate", "probability": 0.3},
        {"kind": "loss", "probability": 0.1},
    ]
    outcomes = []
    for threads in (1, 4):
        monkeypatch.setattr(os, "cpu_count", lambda threads=threads: threads)
        found, read = replay(bag, *faults)
        pixels = [(name, frame.data.tobytes()) for each in found for name, frame in each.frames.items()]
        outcomes.append((set_stamps(found), [dict(each.missing) for each in found], pixels, dict(read.dropped)))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("name", sorted(shipped_scenarios()))
def test_every_shipped_scenario_runs_on_the_sample_recording(name: str) -> None:
    with open_bag(shipped_recording()) as opened:
        topics = choose_topics(opened.topics, {"color": None, "depth": None})
        found = list(islice(BagFrames(opened, topics, faults=load_scenario(name).faults_for(opened.name)), 25))
    assert len(found) == 25
    complete = sum(frame_set.complete for frame_set in found)
    expected = {"no_color": {0}, "no_depth": {0}, "intermittent": range(10, 20), "degraded": range(15, 26)}
    assert complete in expected.get(name, {25})
