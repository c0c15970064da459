"""What is published is what the robot would have got."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from support.bags import (
    COLOR,
    DEPTH,
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
    write_bag,
)

from m3l_core.bags.arrivals import Arrival
from m3l_core.bags.reader import open_bag
from m3l_core.streaming.frame_decoding import decode_frame
from m3l_ros.live_replay.outgoing import as_published, pack, readable_messages

MESSAGES: dict[str, tuple[str, Callable[[], Any]]] = {
    "raw color": ("color", lambda: image(rgb(1), "rgb8", START_NS)),
    "jpeg": ("color", lambda: compressed(jpeg(1), "rgb8; jpeg compressed bgr8", START_NS)),
    "raw depth": ("depth", lambda: image(millimetres(1), "16UC1", START_NS)),
    "compressed depth": ("depth", lambda: compressed_depth(millimetres(1), START_NS)),
}


def brighter(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels + pixels.dtype.type(1)


def smaller(pixels: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(cv2.resize(pixels, (7, 5), interpolation=cv2.INTER_NEAREST))


@pytest.mark.parametrize("kind", MESSAGES)
def test_stamp_and_edits_are_in_the_bytes(kind: str) -> None:
    modality, make = MESSAGES[kind]
    message = make()
    arrival = Arrival(START_NS + 5, modality, message, START_NS - 3, (brighter, smaller))
    plain, edited = pack([replace(arrival, edits=()), arrival])
    assert (plain.edited, edited.edited) == (False, True)
    as_recorded = decode_frame(modality, message)[0].data
    for sent, expected in ((plain, as_recorded), (edited, smaller(brighter(as_recorded)))):
        received = STORE.deserialize_cdr(sent.raw, message.__msgtype__)
        frame, unreadable = decode_frame(modality, received)
        assert unreadable is None
        assert (frame.stamp_ns, frame.frame_id) == (START_NS - 3, "camera")
        assert np.array_equal(frame.data, expected)
        assert (sent.arrival.time_ns, sent.arrival.stamp_ns, sent.arrival.edits) == (START_NS + 5, START_NS - 3, ())
        assert np.array_equal(decode_frame(modality, sent.arrival.message)[0].data, expected)


def test_a_stamp_that_no_message_can_have_is_that_of_the_message() -> None:
    arrival = Arrival(START_NS, "color", image(rgb(1), "rgb8", START_NS), 2**33 * 10**9)
    assert as_published(arrival).stamp_ns == 2**31 * 10**9 - 1


def test_messages_are_packed_in_their_order() -> None:
    arrivals = [Arrival(number, "color", image(rgb(number), "rgb8", number), number) for number in range(100)]
    assert [sent.arrival.stamp_ns for sent in pack(arrivals)] == list(range(100))
    assert list(pack([])) == []


def test_messages_of_another_type_are_named_by_their_modality(tmp_path: Path) -> None:
    broken = Recorded(DEPTH, START_NS + 1, b"\x00\x01\x00\x00\xff", "sensor_msgs/msg/Image")
    path = write_bag(tmp_path / "kitchen", [*frames(2), broken])
    with open_bag(path) as bag:
        found = list(readable_messages(bag, {"color": COLOR, "depth": DEPTH}))
    assert [each if isinstance(each, str) else each.modality for each in found] == [
        "depth",
        *("color", "depth", "color", "depth"),
    ]
    assert found[0] == "depth"
