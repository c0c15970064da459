"""Messages made without ROS: read back by the node's decoding, and typed as ROS types them."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bags import START_NS, compressed, compressed_depth, jpeg, millimetres, png, rgb
from support.bags import image as recorded_image
from support.replays import describe

from m3l_core.bags.arrivals import Arrival, Edit
from m3l_core.bags.message_types import message_types
from m3l_core.replay.recordings import ros_messages
from m3l_core.replay.recordings.ros_messages import (
    as_arrived,
    diagnostics,
    header,
    image,
    label_info,
    status,
)
from m3l_core.streaming.frame_decoding import decode_frame
from m3l_core.streaming.image_messages import decode_color, decode_depth, stamp_to_ns


def passed_on(message: Any) -> Any:
    """As it comes out of a bag."""
    kind = message.__msgtype__
    return message_types().deserialize_cdr(message_types().serialize_cdr(message, kind), kind)


@given(st.integers(-(2**62), 2**62))
def test_a_header_can_be_written_whatever_the_stamp(stamp_ns: int) -> None:
    stamp = stamp_to_ns(passed_on(header(stamp_ns, "camera")).stamp)
    assert stamp == stamp_ns or abs(stamp_ns) >= 2**31 * 10**9


def test_images_are_read_as_they_were_made() -> None:
    head = header(START_NS, "camera")
    color = passed_on(image(rgb(0), "rgb8", head))
    np.testing.assert_array_equal(decode_color(color), rgb(0))
    np.testing.assert_array_equal(decode_depth(passed_on(image(millimetres(0), "16UC1", head))), millimetres(0))
    np.testing.assert_array_equal(decode_color(image(rgb(0)[::2, ::2], "rgb8", head)), rgb(0)[::2, ::2])
    assert (color.header.frame_id, stamp_to_ns(color.header.stamp)) == ("camera", START_NS)


def test_red_stays_red_in_a_jpeg() -> None:
    red = np.full((16, 16, 3), (250, 10, 10), np.uint8)
    decoded = decode_color(passed_on(ros_messages.jpeg(red, header(START_NS))))
    assert np.abs(decoded.astype(int) - red).max() < 8


def test_label_info_is_the_type_of_vision_msgs() -> None:
    # The hash that vision_msgs 4 publishes of its own definition.
    published = "RIHS01_3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783"
    assert message_types().hash_rihs01("vision_msgs/msg/LabelInfo") == published
    labels = describe().labels
    classes = passed_on(label_info(labels)).class_map
    assert [(entry.class_id, entry.class_name) for entry in classes] == list(enumerate(labels.names))


def test_diagnostics_are_read_as_they_were_made() -> None:
    message = passed_on(diagnostics([status(2, "m3l_replay: color", "LOST", {"age [s]": "0.60"})], START_NS))
    (found,) = message.status
    assert (stamp_to_ns(message.header.stamp), found.level, found.name) == (START_NS, 2, "m3l_replay: color")
    assert [(pair.key, pair.value) for pair in found.values] == [("age [s]", "0.60")]


def darker(pixels: np.ndarray) -> np.ndarray:
    return (pixels / 2).astype(pixels.dtype)


def smaller(pixels: np.ndarray) -> np.ndarray:
    return pixels[::2, ::2]


METRES = millimetres(1).astype(np.float32) / 1000
METRES[0, :3] = np.nan, np.inf, 0
MESSAGES = {
    "raw color": ("color", recorded_image(rgb(0), "rgb8", START_NS)),
    "raw bgra": ("color", recorded_image(np.dstack((rgb(0), rgb(0)[..., 0])), "bgra8", START_NS)),
    "jpeg": ("color", compressed(jpeg(0), "rgb8; jpeg compressed bgr8", START_NS)),
    "raw depth": ("depth", recorded_image(millimetres(0), "16UC1", START_NS)),
    "metric depth": ("depth", recorded_image(METRES, "32FC1", START_NS)),
    "compressedDepth": ("depth", compressed_depth(millimetres(0), START_NS)),
    "metric compressedDepth": (
        "depth",
        compressed(struct.pack("<iff", 0, 1000.0, 0.5) + png(millimetres(1)), "32FC1; compressedDepth png", START_NS),
    ),
    "png depth": ("depth", compressed(png(millimetres(0)), "16UC1; png compressed ", START_NS)),
}
EACH = pytest.mark.parametrize("name", MESSAGES)


def arriving(name: str, *edits: Edit) -> Arrival:
    modality, message = MESSAGES[name]
    return Arrival(START_NS + 7, modality, message, START_NS + 5, edits)


@EACH
def test_an_image_without_faults_arrives_as_it_was_recorded_under_its_stamp(name: str) -> None:
    original = MESSAGES[name][1]
    before = str(original)
    message = as_arrived(arriving(name))
    assert stamp_to_ns(message.header.stamp) == START_NS + 5
    assert message.header.frame_id == original.header.frame_id
    assert message.data is original.data
    assert str(original) == before


@EACH
def test_a_changed_image_arrives_as_what_the_faults_have_left_of_it(name: str) -> None:
    arrival = arriving(name, darker, smaller)
    message = passed_on(as_arrived(arrival))
    assert message.__msgtype__ == arrival.message.__msgtype__
    assert hasattr(message, "format") == hasattr(arrival.message, "format")
    assert ("compressedDepth" in getattr(message, "format", "")) == ("compressedDepth" in name)
    frame, why = decode_frame(arrival.modality, message)
    assert why is None
    assert (frame.stamp_ns, frame.frame_id) == (START_NS + 5, "camera")
    expected = smaller(darker(decode_frame(arrival.modality, arrival.message)[0].data))
    if name == "metric compressedDepth":
        valid = np.isfinite(expected) & (expected > 0)
        np.testing.assert_array_equal(frame.data > 0, valid)
        np.testing.assert_allclose(frame.data[valid] / 1000, expected[valid], atol=0.0006)
    else:
        np.testing.assert_array_equal(frame.data, expected)


def test_an_image_that_cannot_be_decoded_arrives_as_it_is() -> None:
    broken = compressed(cv2.imencode(".jpg", rgb(0))[1].tobytes()[:100], "jpeg", START_NS)
    assert as_arrived(Arrival(START_NS, "color", broken, START_NS, (darker,))).data is broken.data
