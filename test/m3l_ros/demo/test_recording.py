"""The recording of the demo: read whole, cut into phases, refused when broken."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.bags import Recorded, image, rgb, write_bag
from support.recordings import copy_without, write_sequence

from m3l_core.datasets.folder import read_image
from m3l_core.errors import DatasetError
from m3l_core.shipped import shipped_recording
from m3l_ros.demo.recording import (
    CAMERA_INFO_TOPIC,
    COLOR_TOPIC,
    DEPTH_TOPIC,
    PHASES,
    TRUTH_TOPIC,
    read_recording,
)

ROOT = Path(__file__).parents[3]
TOPICS = (COLOR_TOPIC, DEPTH_TOPIC, CAMERA_INFO_TOPIC, TRUTH_TOPIC)


@pytest.fixture(scope="module")
def write_recording() -> Callable[[Path, Path], None]:
    path = ROOT / "training" / "make_recording.py"
    script = runpy.run_path(str(path))

    def write(source: Path, bag: Path) -> None:
        script["write_recording"](script["read_frames"](source), bag)

    return write


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    return write_sequence(tmp_path / "sequence", 9)


@pytest.fixture
def bag(sequence: Path, tmp_path: Path, write_recording: Callable[[Path, Path], None]) -> Path:
    write_recording(sequence, tmp_path / "bag")
    return tmp_path / "bag"


def test_every_instant_holds_its_images(bag: Path, sequence: Path) -> None:
    instants = read_recording(bag)
    assert len(instants) == 9
    for number, instant in enumerate(instants):
        np.testing.assert_array_equal(instant.color, read_image(sequence / f"color/{number:04}.jpg", "color"))
        np.testing.assert_array_equal(instant.depth, read_image(sequence / f"depth/{number:04}.png", "depth"))
        np.testing.assert_array_equal(instant.truth, read_image(sequence / f"label/{number:04}.png", "label"))
        assert set(instant.messages) == set(TOPICS)
    stamps = [instant.stamp_ns for instant in instants]
    assert stamps == sorted(stamps)


def test_quarters_become_phases_in_which_sensors_are_silent(bag: Path) -> None:
    instants = read_recording(bag)
    numbers = [PHASES.index(instant.phase) for instant in instants]
    assert numbers == [0, 0, 0, 1, 1, 2, 2, 3, 3]
    sent = [set(instant.sensor_messages()) for instant in instants]
    always = {CAMERA_INFO_TOPIC}
    assert sent[0] == sent[8] == always | {COLOR_TOPIC, DEPTH_TOPIC}
    assert sent[3] == always | {COLOR_TOPIC}
    assert sent[5] == always | {DEPTH_TOPIC}


def test_the_truth_is_never_sent(bag: Path) -> None:
    assert not any(TRUTH_TOPIC in instant.sensor_messages() for instant in read_recording(bag))


def test_the_shipped_recording_has_four_phases_of_registered_images() -> None:
    instants = read_recording(shipped_recording())
    assert {instant.phase for instant in instants} == set(PHASES)
    for instant in instants[:: len(instants) // 4]:
        assert instant.color.shape[:2] == instant.depth.shape == instant.truth.shape
        assert set(np.unique(instant.truth)) <= {*range(14), 255}
    periods = np.diff([instant.stamp_ns for instant in instants])
    assert (abs(periods - 100_000_000) < 1_000_000).all()


def truncate(bag: Path) -> None:
    file = next(bag.glob("*.mcap"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(bag: Path) -> None:
    next(bag.glob("*.mcap")).write_bytes(b"")


def garble(bag: Path) -> None:
    file = next(bag.glob("*.mcap"))
    content = bytearray(file.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 2000] = bytes(2000)
    file.write_bytes(content)


BREAKAGES: dict[str, Callable[[Path], object]] = {
    "no folder": shutil.rmtree,
    "a description that is none": lambda bag: (bag / "metadata.yaml").write_text("[1, 2"),
    "an empty description": lambda bag: (bag / "metadata.yaml").write_text(""),
    "no data": lambda bag: next(bag.glob("*.mcap")).unlink(),
    "empty data": empty,
    "truncated data": truncate,
    "garbled data": garble,
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_recording_is_refused_by_name(bag: Path, breakage: str) -> None:
    BREAKAGES[breakage](bag)
    with pytest.raises(DatasetError, match=re.escape(str(bag))):
        read_recording(bag)


def test_an_instant_without_a_topic_is_told(tmp_path: Path, bag: Path) -> None:
    with pytest.raises(DatasetError, match=rf"has no {DEPTH_TOPIC} at \d+ ns"):
        read_recording(copy_without(bag, tmp_path / "hole", DEPTH_TOPIC, number=4))


def test_a_recording_of_other_topics_is_told(tmp_path: Path, bag: Path) -> None:
    with pytest.raises(DatasetError, match="has none of the topics /color/image_raw/compressed"):
        read_recording(copy_without(bag, tmp_path / "other", *TOPICS))


def test_images_of_several_sizes_are_told(
    tmp_path: Path, sequence: Path, write_recording: Callable[[Path, Path], None]
) -> None:
    label = sequence / "label" / "0003.png"
    assert cv2.imwrite(str(label), np.zeros((32, 48), np.uint8))
    write_recording(sequence, tmp_path / "sizes")
    with pytest.raises(DatasetError, match=r"images of \[\(32, 48\), \(64, 96\)\] at 1700000000300000000 ns"):
        read_recording(tmp_path / "sizes")


def test_something_else_on_a_topic_is_told(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag", [Recorded(CAMERA_INFO_TOPIC, 0, image(rgb(0), "rgb8", 0))])
    with pytest.raises(DatasetError, match=r"has sensor_msgs/msg/Image on /color/camera_info, expected .*/CameraInfo"):
        read_recording(tmp_path / "bag")


@pytest.mark.parametrize("count", [1, 3])
def test_too_few_instants_for_four_phases_are_told(
    tmp_path: Path, write_recording: Callable[[Path, Path], None], count: int
) -> None:
    write_recording(write_sequence(tmp_path / "short", count), tmp_path / "bag")
    with pytest.raises(DatasetError, match=rf"has {count} instants.* {len(PHASES)} or more"):
        read_recording(tmp_path / "bag")


def test_neither_recording_nor_report_needs_ros() -> None:
    script = (
        "import sys\n"
        "sys.modules['rclpy'] = sys.modules['sensor_msgs'] = None\n"
        "import m3l_ros.demo.recording, m3l_ros.demo.report\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
