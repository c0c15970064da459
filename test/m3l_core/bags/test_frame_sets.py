"""A bag gives the frame sets that the robot would have made: by the stamps, with its waits and its checks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.bags import (
    COLOR,
    DEPTH,
    MS,
    PERIOD_NS,
    START_NS,
    Recorded,
    compressed,
    compressed_depth,
    frames,
    image,
    jpeg,
    millimetres,
    rgb,
    serialize,
    stamps,
)

from m3l_core.bags.frame_sets import BagFrames, RecordedFrame
from m3l_core.bags.reader import RecordedMessage
from m3l_core.errors import DatasetError
from m3l_core.frames import FrameSet
from m3l_core.streaming.sync_config import SyncConfig

TOPICS = {"color": COLOR, "depth": DEPTH}


class ListedBag:
    """In place of a bag: messages from memory, in the order of the list."""

    def __init__(self, recorded: Iterable[Recorded]) -> None:
        self.recorded = recorded
        self.num_read = 0

    def messages(self, topics: Iterable[str]) -> Iterator[RecordedMessage]:
        for topic, time_ns, message, message_type in self.recorded:
            self.num_read += 1
            raw = message if isinstance(message, bytes) else serialize(message)
            if topic in topics:
                yield RecordedMessage(topic, message_type or message.__msgtype__, time_ns, raw)


def read(recorded: Iterable[Recorded], topics: dict[str, str] = TOPICS, **options: Any) -> tuple[list[FrameSet], dict]:
    found = BagFrames(ListedBag(recorded), topics, **options)  # type: ignore[arg-type]
    return list(found), dict(found.dropped)


def late(recorded: Recorded, milliseconds: int) -> Recorded:
    return recorded._replace(time_ns=recorded.time_ns + milliseconds * MS)


def test_frames_of_one_stamp_become_one_set_ready_for_the_segmenter() -> None:
    advanced = []
    found, dropped = read(frames(4), advance=lambda: advanced.append(1))
    assert [frame_set.reference_frame.stamp_ns for frame_set in found] == stamps(4)
    assert not dropped
    assert len(advanced) == 8
    for number, frame_set in enumerate(found):
        assert frame_set.complete
        assert frame_set.frames["color"].frame_id == "camera"
        np.testing.assert_array_equal(frame_set.frames["color"].data, rgb(number))
        np.testing.assert_array_equal(frame_set.frames["depth"].data, millimetres(number))


def test_a_compressed_frame_keeps_what_was_recorded() -> None:
    stamp = START_NS
    recorded = [
        Recorded(COLOR, stamp, compressed(jpeg(0), "rgb8; jpeg compressed bgr8", stamp)),
        Recorded(DEPTH, stamp, compressed_depth(millimetres(0), stamp)),
    ]
    (frame_set,), _ = read(recorded)
    color, depth = frame_set.frames["color"], frame_set.frames["depth"]
    assert isinstance(color, RecordedFrame)
    assert color.compressed is not None
    assert color.compressed.tobytes() == jpeg(0)
    assert isinstance(depth, RecordedFrame)
    assert depth.compressed is not None
    np.testing.assert_array_equal(depth.compressed, recorded[1].message.data)
    np.testing.assert_array_equal(depth.data, millimetres(0))


def test_a_hole_gives_partial_sets_with_the_reason() -> None:
    recorded = [each for number, each in enumerate(frames(4)) if number != 3]
    found, dropped = read(recorded)
    assert [list(frame_set.missing) for frame_set in found] == [[], ["depth"], [], []]
    assert not dropped


def test_sets_go_on_without_color_and_of_one_topic_alone() -> None:
    lost = [each for each in frames(30) if each.topic == DEPTH or each.time_ns < START_NS + 10 * PERIOD_NS]
    found, _ = read(lost)
    assert [frame_set.reference for frame_set in found] == ["color"] * 10 + ["depth"] * 20
    alone, _ = read((each for each in frames(30) if each.topic == DEPTH), {"depth": DEPTH})
    assert [frame_set.reference_frame.stamp_ns for frame_set in alone] == stamps(30)


def test_the_stamps_decide_and_the_bag_s_time_tells_how_long_the_robot_would_have_waited() -> None:
    color, depth = (next(each for each in frames(1) if each.topic == topic) for topic in (COLOR, DEPTH))
    other = Recorded(DEPTH, depth.time_ns, image(millimetres(0), "16UC1", START_NS + 25 * MS))
    assert read([color, late(depth, 40)])[0][0].complete
    assert not read([color, late(depth, 60)])[0][0].complete
    assert not read([color, other])[0][0].complete
    assert read([color, other], config=SyncConfig(approx_sync_max_interval_ns=30 * MS))[0][0].complete


def test_useless_messages_are_missing_and_counted_with_their_reason() -> None:
    recorded = frames(8)
    stamp = stamps(8)
    recorded[0] = Recorded(COLOR, recorded[0].time_ns, b"\0\1\0\0broken", "sensor_msgs/msg/Image")
    recorded[2] = recorded[2]._replace(message=image(np.zeros_like(rgb(0)), "rgb8", stamp[1]))
    recorded[4] = recorded[4]._replace(message=image(rgb(2), "16UC1", stamp[2]))
    recorded[7] = recorded[7]._replace(message=image(np.zeros_like(millimetres(0)), "16UC1", stamp[3]))
    recorded[8] = recorded[8]._replace(message=image(rgb(4), "rgb8", 0))
    found, dropped = read(recorded)
    # As on the robot: a color image that tells no instant leads nothing, and color is not given up yet.
    assert dropped.pop(("depth", "superseded")) == 2
    assert set(dropped.values()) == {1}
    reasons = {modality: [reason for name, reason in dropped if name == modality] for modality in TOPICS}
    broken, black, encoding, stampless = reasons["color"]
    assert broken.startswith("no sensor_msgs/msg/Image: ")
    assert (black, stampless) == ("black image", "its stamp is zero")
    assert "'16UC1' is not a color image" in encoding
    assert reasons["depth"] == ["0% of the depth is valid, 5% needed"]
    assert [frame_set.reference_frame.stamp_ns for frame_set in found] == [*stamp[1:4], *stamp[5:]]
    assert [dict(frame_set.missing) for frame_set in found] == [
        {"color": black},
        {"color": encoding},
        {"depth": reasons["depth"][0]},
        *({}, {}, {}),
    ]


def test_what_the_synchronizer_drops_is_counted_too() -> None:
    recorded = frames(3)
    _, dropped = read([*recorded[:4], recorded[2], recorded[3], *recorded[4:]])
    assert dropped == {("color", "duplicate"): 1, ("depth", "duplicate"): 1}


def test_a_thousand_reasons_do_not_fill_the_memory() -> None:
    stamp = START_NS
    recorded = [Recorded(COLOR, stamp, image(rgb(0), f"odd{number}", stamp)) for number in range(200)]
    found, dropped = read(recorded)
    assert found == []
    assert sum(dropped.values()) == 200
    assert len(dropped) < 30
    assert dropped["color", "other reasons"] > 100


def test_little_more_of_the_bag_is_read_than_the_next_set_needs() -> None:
    bag = ListedBag(frames(50))
    found = iter(BagFrames(bag, TOPICS))  # type: ignore[arg-type]
    for number in range(10):
        next(found)
        assert bag.num_read <= 2 * number + 4 + 16


def test_a_bag_played_twice_over_is_two_timelines() -> None:
    once = frames(20)
    again = [late(each, 20 * PERIOD_NS // MS) for each in once]
    found, _ = read([*once, *again])
    assert [frame_set.reference_frame.stamp_ns for frame_set in found] == stamps(20) * 2


def test_files_that_overlap_do_not_turn_the_clock_back() -> None:
    recorded = frames(20)
    recorded[20:30] = [late(each, -2000) for each in recorded[20:30]]
    found, dropped = read(recorded)
    assert [frame_set.reference_frame.stamp_ns for frame_set in found] == stamps(20)
    assert sum(dropped.values()) <= 1


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([COLOR, DEPTH]), st.integers(0, 3000), st.integers(-200, 200)),
        min_size=1,
        max_size=40,
    )
)
def test_whatever_was_recorded_the_sets_end_and_no_frame_is_in_two(arrivals: list[tuple[str, int, int]]) -> None:
    recorded = []
    for topic, at, shift in sorted(arrivals, key=lambda arrival: arrival[1]):
        stamp = START_NS + (at + shift) * MS
        message = image(rgb(at), "rgb8", stamp) if topic == COLOR else image(millimetres(at), "16UC1", stamp)
        recorded.append(Recorded(topic, START_NS + at * MS, message))
    found, dropped = read(recorded)
    used = [(name, frame.stamp_ns) for frame_set in found for name, frame in frame_set.frames.items()]
    assert len(used) + sum(dropped.values()) == len(recorded)
    assert len(set(used)) == len(used)
    order = [frame_set.reference_frame.stamp_ns for frame_set in found]
    assert order == sorted(order)


@pytest.mark.parametrize("topic", [COLOR, DEPTH])
def test_an_empty_bag_gives_nothing(topic: str) -> None:
    assert read([], {"color": topic}) == ([], {})


def test_what_comes_before_a_damage_comes_out_before_it_is_told() -> None:
    def damaged() -> Iterator[Recorded]:
        yield from frames(5)
        raise DatasetError("the bag is damaged")

    found = []
    with pytest.raises(DatasetError, match="the bag is damaged"):
        for frame_set in BagFrames(ListedBag(damaged()), TOPICS):  # type: ignore[arg-type]
            found.append(frame_set)
    assert len(found) == 5
    assert all(frame_set.complete for frame_set in found)
