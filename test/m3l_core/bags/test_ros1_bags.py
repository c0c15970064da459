"""A .bag of ROS 1 gives what the rosbag2 of the same messages gives."""

from __future__ import annotations

import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rosbags import rosbag1
from support.bags import (
    COLOR,
    DEPTH,
    LABEL,
    MS,
    NOETIC,
    START_NS,
    STORE,
    Recorded,
    compressed,
    compressed_depth,
    frames,
    image,
    jpeg,
    millimetres,
    rgb,
    serialize_ros1,
    stamps,
    write_bag,
    write_ros1_bag,
)
from support.replays import InstantSegmenter, describe, labelled_frames

from m3l_core.bags.frame_sets import BagFrames
from m3l_core.bags.reader import RecordedMessage, deserialize, open_bag
from m3l_core.bags.topics import choose_topics
from m3l_core.errors import DatasetError, ImageMessageError
from m3l_core.extraction.extraction import extract_bag
from m3l_core.extraction.label_topic import LabelSource
from m3l_core.extraction.task import ExtractionSettings, prepare_extraction
from m3l_core.frames import FrameSet
from m3l_core.replay.bags import BagTask, replay_bag
from m3l_core.replay.faults.scenario import load_scenarios
from m3l_core.replay.preparation import prepare_bag
from m3l_core.replay.replay import ReplaySettings
from m3l_core.replay.report.report import ReplayReport, to_dict

TOPICS = {"color": COLOR, "depth": DEPTH}
_BZ2 = b"BZh9"
COMPRESSIONS = pytest.mark.parametrize("compression", ["", "bz2", "lz4"])


def frame_sets(bag: Path) -> list[FrameSet]:
    with open_bag(bag) as opened:
        return list(BagFrames(opened, choose_topics(opened.topics, dict.fromkeys(TOPICS))))


def plain(frame_set: FrameSet) -> Any:
    frames = [(f.modality, f.stamp_ns, f.frame_id, f.encoding, f.data.tobytes()) for f in frame_set.frames.values()]
    return frame_set.reference, frames, frame_set.missing


def compressed_frames(count: int) -> list[Recorded]:
    return [
        recorded
        for number, stamp in enumerate(stamps(count))
        for recorded in (
            Recorded("/rgb/compressed", stamp, compressed(jpeg(number), "rgb8; jpeg compressed bgr8", stamp)),
            Recorded("/depth/compressedDepth", stamp + MS, compressed_depth(millimetres(number), stamp)),
        )
    ]


@COMPRESSIONS
def test_messages_come_as_they_were_recorded(tmp_path: Path, compression: str) -> None:
    recorded = frames(3)
    with open_bag(write_ros1_bag(tmp_path / "kitchen.bag", reversed(recorded), compression)) as bag:
        assert (bag.name, bag.start_ns) == ("kitchen", START_NS + 3 * MS)
        found = {topic: (info.msgtype, info.msgcount) for topic, info in bag.topics.items()}
        assert found == {COLOR: ("sensor_msgs/msg/Image", 3), DEPTH: ("sensor_msgs/msg/Image", 3)}
        messages = list(bag.messages((COLOR, DEPTH)))
        assert [(m.topic, m.time_ns, m.raw) for m in messages] == [
            (topic, time_ns, serialize_ros1(message)) for topic, time_ns, message, _ in recorded
        ]
        assert list(bag.messages(())) == list(bag.messages(("/nothing",))) == []
    for message, (_, _, original, _) in zip(messages, recorded, strict=True):
        assert str(deserialize(message)) == str(original)


@COMPRESSIONS
@pytest.mark.parametrize("recorded", [frames(8)[:-3], compressed_frames(8)], ids=["raw", "compressed"])
def test_the_frame_sets_are_those_of_the_rosbag2(tmp_path: Path, recorded: list[Recorded], compression: str) -> None:
    ros1 = frame_sets(write_ros1_bag(tmp_path / "kitchen.bag", recorded, compression))
    assert len(ros1) == 8 - (recorded[0].topic == COLOR)
    ros2 = frame_sets(write_bag(tmp_path / "kitchen", recorded))
    assert [plain(each) for each in ros1] == [plain(each) for each in ros2]


def test_a_camera_info_has_the_fields_of_ros_2(tmp_path: Path) -> None:
    types = STORE.types
    camera_info = types["sensor_msgs/msg/CameraInfo"](
        header=image(rgb(0), "rgb8", START_NS).header,
        height=24,
        width=32,
        distortion_model="plumb_bob",
        d=np.arange(5.0),
        k=np.arange(9.0),
        r=np.eye(3).ravel(),
        p=np.arange(12.0),
        binning_x=0,
        binning_y=2,
        roi=types["sensor_msgs/msg/RegionOfInterest"](1, 2, 3, 4, True),
    )
    path = write_ros1_bag(tmp_path / "kitchen.bag", [Recorded("/camera_info", START_NS, camera_info)])
    with open_bag(path) as bag:
        (message,) = bag.messages(("/camera_info",))
    assert str(deserialize(message)) == str(camera_info)


def report_of(bag: Path) -> dict[str, Any]:
    scenarios = load_scenarios(["none", "no_color", "degraded"])
    prepared = prepare_bag(bag, dict.fromkeys(TOPICS), describe(), LABEL)
    results = replay_bag(BagTask(prepared, tuple(scenarios), ReplaySettings(), InstantSegmenter()))
    report = to_dict(ReplayReport(describe(), "instant", "fp32", ReplaySettings(), scenarios, [prepared], [results]))
    report["bags"][0].pop("path")
    return report


def test_a_replay_is_that_of_the_rosbag2(tmp_path: Path) -> None:
    recorded = labelled_frames(12)
    ros1 = report_of(write_ros1_bag(tmp_path / "kitchen.bag", recorded))
    assert ros1["scenarios"][0]["figures"]["miou"] is not None
    assert ros1 == report_of(write_bag(tmp_path / "kitchen", recorded))


def test_an_extraction_is_that_of_the_rosbag2(tmp_path: Path) -> None:
    def extracted(bag: Path, output: Path) -> dict[str, bytes]:
        extract_bag(prepare_extraction(bag, output, TOPICS, ExtractionSettings(labels=LabelSource(LABEL))))
        return {str(file.relative_to(output)): file.read_bytes() for file in output.rglob("*.png")}

    recorded = labelled_frames(3)
    ros1 = extracted(write_ros1_bag(tmp_path / "kitchen.bag", recorded), tmp_path / "ros1")
    assert len(ros1) == 3 * 3
    assert ros1 == extracted(write_bag(tmp_path / "kitchen", recorded), tmp_path / "ros2")


def reading(path: Path) -> list[bytes]:
    """What comes until the bag turns out to be bad."""
    came = []
    why = rf"bag {path} cannot be read: .*rosbag reindex {path}"
    with pytest.raises(DatasetError, match=why), open_bag(path) as bag:
        for message in bag.messages((COLOR, DEPTH)):
            came.append(message.raw)
    return came


@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.3, 0.9, 0.9999])
def test_a_truncated_bag_is_told(tmp_path: Path, share: float) -> None:
    path = write_ros1_bag(tmp_path / "kitchen.bag", frames(40))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert reading(path) == []


def test_a_bag_that_is_still_being_written_is_told(tmp_path: Path) -> None:
    active = tmp_path / "kitchen.bag.active"
    with rosbag1.Writer(tmp_path / "kitchen.bag") as writer:
        connection = writer.add_connection(COLOR, "sensor_msgs/msg/Image", typestore=NOETIC)
        for number, stamp in enumerate(stamps(600)):
            writer.write(connection, stamp, serialize_ros1(image(rgb(number), "rgb8", stamp)))
        assert writer.bio is not None
        writer.bio.flush()
        shutil.copy(writer.path, active)
    assert active.stat().st_size > 1 << 20
    with pytest.raises(DatasetError, match=r"kitchen.bag.active cannot be read: Bag is not indexed.*rosbag reindex"):
        open_bag(active).__enter__()


def test_damage_inside_ends_the_reading_where_it_is(tmp_path: Path) -> None:
    big = np.zeros((600, 1000, 3), np.uint8)  # more than a chunk holds
    recorded = [Recorded(COLOR, stamp, image(big, "rgb8", stamp)) for stamp in stamps(4)]
    path = write_ros1_bag(tmp_path / "kitchen.bag", recorded, "bz2")
    head, *chunks = path.read_bytes().split(_BZ2)
    assert len(chunks) == 4
    path.write_bytes(_BZ2.join([head, *chunks[:2]]) + b"NOPE" + _BZ2.join(chunks[2:]))
    assert reading(path) == [serialize_ros1(message) for _, _, message, _ in recorded[:2]]


@pytest.mark.parametrize("content", [b"hello", b"#ROSBAG V1.2\nhello", b"\x89MCAP0\r\n"])
def test_what_is_no_bag_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kitchen.bag"
    path.write_bytes(content)
    assert reading(path) == []


def test_a_bag_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"), open_bag(tmp_path / "kitchen.bag"):
        pass


def test_a_bag_without_messages_has_no_topic_to_guess(tmp_path: Path) -> None:
    with (
        open_bag(write_ros1_bag(tmp_path / "kitchen.bag", [])) as bag,
        pytest.raises(DatasetError, match="image topic"),
    ):
        choose_topics(bag.topics, dict.fromkeys(TOPICS))


def test_a_folder_is_of_ros_2_whatever_its_name(tmp_path: Path) -> None:
    assert len(frame_sets(write_bag(tmp_path / "kitchen.bag", frames(2)))) == 2


def test_memory_does_not_grow_with_the_bag(tmp_path: Path) -> None:
    pixels, count = np.zeros((600, 600, 3), np.uint8), 30
    recorded = (Recorded(COLOR, stamp, image(pixels, "rgb8", stamp)) for stamp in stamps(count))
    with open_bag(write_ros1_bag(tmp_path / "long.bag", recorded)) as bag:
        tracemalloc.start()
        try:
            assert sum(deserialize(message).height == 600 for message in bag.messages((COLOR,))) == count
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < count * pixels.nbytes / 3


@given(st.binary(max_size=200), st.integers(0, 500), st.booleans())
@example(b"", 0, True)
def test_damaged_bytes_are_no_message_or_some_message(damage: bytes, place: int, cut: bool) -> None:
    raw = serialize_ros1(image(rgb(0)[:4, :4], "rgb8", START_NS))
    place %= len(raw)
    broken = raw[:place] + damage + (b"" if cut else raw[place + len(damage) :])
    try:
        message = deserialize(RecordedMessage(COLOR, "sensor_msgs/msg/Image", START_NS, broken, "ros1"))
    except ImageMessageError as error:
        assert "sensor_msgs/msg/Image" in str(error)
    else:
        assert message.header.frame_id is not None
