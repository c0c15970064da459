"""A replay as a bag of its own: read back, it holds what arrived and what the node would have published."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.interfaces import QosDurability
from rosbags.rosbag2 import CompressionMode, Reader, Writer
from support.bags import (
    COLOR,
    DEPTH,
    MS,
    PERIOD_NS,
    SIZE,
    START_NS,
    Recorded,
    break_chunk,
    compressed_depth,
    frames,
    image,
    millimetres,
    rgb,
    stamps,
    write_bag,
)
from support.replays import InstantSegmenter, describe, replay_into

from m3l_core.bags.frame_sets import BagFrames
from m3l_core.bags.message_types import message_types
from m3l_core.bags.reader import open_bag
from m3l_core.errors import DatasetError
from m3l_core.frames import Frame, FrameSet, Segmentation
from m3l_core.modalities import ColorModality, IntensityModality
from m3l_core.overlay import overlay
from m3l_core.replay.faults.scenario import Scenario
from m3l_core.replay.recordings.annotated_bag import (
    COLORS,
    CONFIDENCE,
    DIAGNOSTICS,
    LABEL_INFO,
    LAYOUT_FILE,
    MASK,
    OVERLAY,
    annotated_bag,
)
from m3l_core.replay.recordings.ros_messages import header, jpeg
from m3l_core.replay.recordings.sinks import Labelled, RunInfo
from m3l_core.streaming.image_messages import decode_color, decode_depth, stamp_to_ns

COUNT = 10
IMAGE = "sensor_msgs/msg/Image"


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bag(tmp_path_factory.mktemp("bags") / "kitchen", frames(COUNT))


def annotated(bag: Path, folder: Path, scenario: str | Scenario = "none") -> Path:
    outcome = replay_into(partial(annotated_bag, folder), bag, scenario)
    assert not isinstance(outcome, DatasetError), outcome
    return folder / f"{bag.name}_{outcome[0].scenario}"


def read(path: Path, topic: str) -> list[tuple[int, Any]]:
    """(when, message) of a topic."""
    with open_bag(path) as bag:
        messages = bag.messages((topic,))
        return [(m.time_ns, message_types().deserialize_cdr(m.raw, m.message_type)) for m in messages]


def stamps_of(path: Path, topic: str) -> list[int]:
    return [stamp_to_ns(message.header.stamp) for _, message in read(path, topic)]


def test_it_holds_every_topic_with_its_type(kitchen: Path, tmp_path: Path) -> None:
    path = annotated(kitchen, tmp_path)
    assert sorted(file.name for file in path.iterdir()) == ["kitchen_none.mcap", "layout.json", "metadata.yaml"]
    with open_bag(path) as bag:
        found = {topic: (info.msgtype, info.msgcount) for topic, info in bag.topics.items()}
    assert found.pop(DIAGNOSTICS)[0] == "diagnostic_msgs/msg/DiagnosticArray"
    assert found == {
        COLOR: (IMAGE, COUNT),
        DEPTH: (IMAGE, COUNT),
        MASK: (IMAGE, COUNT),
        CONFIDENCE: (IMAGE, COUNT),
        OVERLAY: ("sensor_msgs/msg/CompressedImage", COUNT),
        COLORS: ("sensor_msgs/msg/CompressedImage", COUNT),
        LABEL_INFO: ("vision_msgs/msg/LabelInfo", 1),
    }


def test_what_was_recorded_is_in_it_byte_by_byte(kitchen: Path, tmp_path: Path) -> None:
    path = annotated(kitchen, tmp_path)
    with open_bag(kitchen) as before, open_bag(path) as after:
        expected = [(m.topic, m.time_ns, bytes(m.raw)) for m in before.messages((COLOR, DEPTH))]
        assert [(m.topic, m.time_ns, bytes(m.raw)) for m in after.messages((COLOR, DEPTH))] == expected


def test_the_labels_are_those_of_the_segmenter_under_the_stamps_of_their_frames(kitchen: Path, tmp_path: Path) -> None:
    path = annotated(kitchen, tmp_path)
    segmenter = InstantSegmenter()()
    masks, confidences, overlays, drawn_masks = (read(path, topic) for topic in (MASK, CONFIDENCE, OVERLAY, COLORS))
    with open_bag(kitchen) as bag:
        frame_sets = list(BagFrames(bag, {"color": COLOR, "depth": DEPTH}))
    assert len(masks) == len(frame_sets) == COUNT
    for number, frame_set in enumerate(frame_sets):
        expected, stamp = segmenter.segment(frame_set), stamps(COUNT)[number]
        for when, message in (masks[number], confidences[number], overlays[number], drawn_masks[number]):
            # Depth is the last to arrive, and completes the set.
            assert when == stamp + 5 * MS
            assert (stamp_to_ns(message.header.stamp), message.header.frame_id) == (stamp, "camera")
        mask = masks[number][1]
        assert (mask.encoding, mask.step) == ("mono8", mask.width)
        np.testing.assert_array_equal(decode_color(mask)[..., 0], expected.labels)
        np.testing.assert_array_equal(decode_color(confidences[number][1])[..., 0], expected.confidence)
        colors = describe().labels.colorize(expected.labels)
        np.testing.assert_array_equal(decode_color(drawn_masks[number][1]), colors)
        picture = overlay(frame_set.reference_frame.data, colors, 0.5)
        drawn = decode_color(jpeg(picture, header(0)))
        np.testing.assert_array_equal(decode_color(overlays[number][1]), drawn)


def with_depth(depth: Callable[[int, int], Any], topic: str, folder: Path) -> Path:
    """A bag of colors and of depth in another form than raw 16UC1."""
    recorded = [each for each in frames(4) if each.topic == COLOR]
    recorded += [Recorded(topic, stamp + 5 * MS, depth(number, stamp)) for number, stamp in enumerate(stamps(4))]
    return write_bag(folder / "hall", sorted(recorded, key=lambda each: each.time_ns))


@pytest.mark.parametrize(
    ("topic", "depth"),
    [
        ("/depth/image_rect/compressedDepth", lambda number, stamp: compressed_depth(millimetres(number), stamp)),
        ("/depth/image_rect", lambda number, stamp: image(millimetres(number).astype("f4") / 1000, "32FC1", stamp)),
    ],
)
def test_depth_that_viewers_cannot_decode_is_there_as_raw_millimetres_too(
    topic: str, depth: Callable[[int, int], Any], tmp_path: Path
) -> None:
    path = annotated(with_depth(depth, topic, tmp_path), tmp_path / "out")
    assert len(read(path, topic)) == 4
    plain = [message for _, message in read(path, "/segmentation/depth")]
    assert [message.encoding for message in plain] == ["16UC1"] * 4
    for number, message in enumerate(plain):
        np.testing.assert_array_equal(decode_depth(message), millimetres(number))
    assert shown(path)["depth"]["imageTopic"] == "/segmentation/depth"


@pytest.mark.parametrize(("dtype", "written"), [(np.uint8, set()), (np.uint16, {"/segmentation/thermal"})])
def test_images_of_8_bits_are_decoded_everywhere(dtype: type, written: set[str], tmp_path: Path) -> None:
    described = describe((ColorModality(), IntensityModality()))
    run = RunInfo("hall", "none", {"color": COLOR, "thermal": "/thermal/image_raw/compressed"}, described)
    frames = {"color": rgb(0), "thermal": millimetres(0).astype(dtype)}
    frame_set = FrameSet("color", {name: Frame(name, START_NS, pixels) for name, pixels in frames.items()})
    labels = np.zeros(SIZE, np.uint8)
    with annotated_bag(tmp_path, run) as sink:
        sink.labelled(Labelled(frame_set, Segmentation(labels, labels), START_NS, 0, 0, None))
    with open_bag(tmp_path / "hall_none") as bag:
        assert set(bag.topics) - {MASK, CONFIDENCE, OVERLAY, COLORS} == written
    thermal, color = (shown(tmp_path / "hall_none")[name] for name in ("thermal", "color"))
    assert thermal.keys() == color.keys() == {"imageTopic", "synchronize"}, "no range of depths"


def shown(path: Path) -> dict[str, Any]:
    """Title -> what an image panel of the layout shows."""
    panels = json.loads((path / LAYOUT_FILE).read_text())["configById"].values()
    return {each["foxglovePanelTitle"]: each["imageMode"] for each in panels if "imageMode" in each}


def placed(layout: Any) -> list[str]:
    return [layout] if isinstance(layout, str) else [*placed(layout["first"]), *placed(layout["second"])]


def test_the_layout_places_panels_of_what_is_in_the_bag(kitchen: Path, tmp_path: Path) -> None:
    path = annotated(kitchen, tmp_path)
    layout = json.loads((path / LAYOUT_FILE).read_text())
    assert sorted(placed(layout["layout"])) == sorted(layout["configById"])
    topics = {title: mode["imageTopic"] for title, mode in shown(path).items()}
    expected = {"color": COLOR, "depth": DEPTH, "labels": COLORS, "overlay": OVERLAY, "confidence": CONFIDENCE}
    assert topics == expected
    with open_bag(path) as bag:
        assert {*topics.values(), DIAGNOSTICS} <= set(bag.topics)
    told = {status.name for _, message in read(path, DIAGNOSTICS) for status in message.status}
    paths = [each["value"] for each in layout["configById"]["StateTransitions!states"]["paths"]]
    assert [re.fullmatch(r'/diagnostics\.status\[:\]\{name=="(.+)"\}\.message', each)[1] in told for each in paths] == [
        True
    ] * 2


def test_the_classes_are_told_before_all_else_to_whoever_comes_late(kitchen: Path, tmp_path: Path) -> None:
    path = annotated(kitchen, tmp_path)
    ((when, message),) = read(path, LABEL_INFO)
    assert when == START_NS + 3 * MS
    assert [entry.class_name for entry in message.class_map] == list(describe().labels.names)
    with Reader(path) as reader:
        (profile,) = next(c for c in reader.connections if c.topic == LABEL_INFO).ext.offered_qos_profiles
    assert profile.durability is QosDurability.TRANSIENT_LOCAL


def test_a_reader_of_another_make_finds_the_same(kitchen: Path, tmp_path: Path) -> None:
    chunk = pytest.importorskip("rerun.chunk", reason="needs rerun-sdk: pip install 'm3l_ros[rerun]'")
    path = annotated(kitchen, tmp_path) / "kitchen_none.mcap"
    info = chunk.McapReader(path).info()
    assert (info.profile, info.summary_source) == ("ros2", "embedded")
    with open_bag(path) as bag:
        assert info.message_count == sum(topic.msgcount for topic in bag.topics.values())
    rows = {part.entity_path: part.num_rows for part in chunk.McapReader(path).stream() if not part.is_static}
    assert {topic: rows[topic] for topic in (COLOR, DEPTH, MASK, CONFIDENCE, OVERLAY, LABEL_INFO)} == {
        **dict.fromkeys((COLOR, DEPTH, MASK, CONFIDENCE, OVERLAY), COUNT),
        LABEL_INFO: 1,
    }


def test_a_lost_sensor_is_not_in_it_and_is_told(kitchen: Path, tmp_path: Path) -> None:
    path = annotated(kitchen, tmp_path, "no_color")
    with open_bag(path) as bag:
        assert COLOR not in bag.topics
    assert stamps_of(path, DEPTH) == stamps_of(path, MASK) == stamps(COUNT)
    told = [
        (when, {status.name: (status.level, status.message) for status in message.status})
        for when, message in read(path, DIAGNOSTICS)
    ]
    assert told[0][1]["m3l_replay: color"] == (1, "STALE")
    lost_ns = next(when for when, statuses in told if statuses["m3l_replay: color"] == (2, "LOST"))
    # Depth arrives every 100 ms; color is LOST half a second after the start.
    assert lost_ns == START_NS + 6 * PERIOD_NS - 95 * MS
    assert {statuses["m3l_replay: depth"] for when, statuses in told if when > START_NS + 200 * MS} == {(0, "OK")}
    values = {pair.key: pair.value for pair in read(path, DIAGNOSTICS)[-1][1].status[-1].values}
    assert (values["bundle"], values["scenario"]) == ("instant", "no_color")
    assert 0 < int(values["sets labelled"]) <= COUNT


def test_diagnostics_come_every_second_and_count_drops(tmp_path: Path) -> None:
    recorded = frames(35)
    recorded.insert(6, recorded[4]._replace(time_ns=recorded[5].time_ns + 1))
    path = annotated(write_bag(tmp_path / "kitchen", recorded), tmp_path / "out")
    told = read(path, DIAGNOSTICS)
    times = [when for when, _ in told]
    assert max(later - earlier for earlier, later in pairwise(times)) <= 10**9 + PERIOD_NS
    assert len(told) < 10
    color = next(status for status in told[-1][1].status if status.name == "m3l_replay: color")
    assert {pair.key: pair.value for pair in color.values}["dropped: duplicate"] == "1"


def test_late_and_changed_messages_are_in_it_as_they_arrived(kitchen: Path, tmp_path: Path) -> None:
    scenario = Scenario.model_validate(
        {
            "name": "mine",
            "faults": [
                {"kind": "delay", "modality": "depth", "delay_s": 0.03},
                {"kind": "clock_offset", "modality": "color", "offset_s": 0.01},
                {"kind": "black", "modality": "color"},
            ],
        }
    )
    path = annotated(kitchen, tmp_path, scenario)
    assert [when for when, _ in read(path, DEPTH)] == [stamp + 35 * MS for stamp in stamps(COUNT)]
    assert stamps_of(path, COLOR) == [stamp + 10 * MS for stamp in stamps(COUNT)]
    assert not any(message.data.any() for _, message in read(path, COLOR))
    assert stamps_of(path, MASK) == stamps(COUNT)


def test_of_a_damaged_bag_what_came_until_then_is_in_it(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "kitchen", frames(600), compression=CompressionMode.STORAGE)
    break_chunk(bag, 1)
    outcome = replay_into(partial(annotated_bag, tmp_path / "out"), bag)
    assert not isinstance(outcome, DatasetError)
    assert outcome[0].damage is not None
    assert len(read(tmp_path / "out" / "kitchen_none", MASK)) == outcome[0].measures.delivery.number > 100


def test_where_nothing_arrives_the_bag_is_empty(kitchen: Path, tmp_path: Path) -> None:
    gone = [{"kind": "gone", "modality": modality} for modality in ("color", "depth")]
    path = annotated(kitchen, tmp_path, Scenario.model_validate({"name": "gone", "faults": gone}))
    with open_bag(path) as bag:
        assert not bag.topics


def test_a_replay_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    run = RunInfo("kitchen", "none", {"color": COLOR}, describe())
    with pytest.raises(ZeroDivisionError), annotated_bag(tmp_path / "out", run):
        raise ZeroDivisionError
    assert not list((tmp_path / "out").iterdir())


def test_a_full_disk_is_told_and_a_former_bag_stays(
    kitchen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = annotated(kitchen, tmp_path)

    def full(self: Writer, connection: object, timestamp: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Writer, "write", full)
        outcome = replay_into(partial(annotated_bag, tmp_path), kitchen)
    assert isinstance(outcome, DatasetError)
    assert "labels of kitchen cannot be kept on disk: [Errno 28] No space left" in str(outcome)
    assert list(tmp_path.iterdir()) == [path]
    assert len(read(path, MASK)) == COUNT


def test_a_former_bag_is_replaced(kitchen: Path, tmp_path: Path) -> None:
    annotated(kitchen, tmp_path)
    shorter = write_bag(tmp_path / "bags" / "kitchen", frames(3))
    path = annotated(shorter, tmp_path)
    assert len(read(path, MASK)) == 3
    assert len(list(path.iterdir())) == 3


def test_memory_does_not_grow_with_the_bag(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(20, 230, (360, 480, 3), np.uint8)
    peaks = []
    for count in (20, 60):
        recorded = [
            each._replace(message=image(noise, "rgb8", stamp_to_ns(each.message.header.stamp)))
            if each.topic == COLOR
            else each
            for each in frames(count)
        ]
        bag = write_bag(tmp_path / f"long_{count}", recorded)
        tracemalloc.start()
        try:
            outcome = replay_into(partial(annotated_bag, tmp_path / "out"), bag)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert not isinstance(outcome, DatasetError)
    assert peaks[1] < peaks[0] + 10 * noise.nbytes
