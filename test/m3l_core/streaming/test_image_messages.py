"""Image messages of rclpy and of rosbags against arrays written by hand."""

from __future__ import annotations

import array
import os
import struct
import subprocess
import sys
import types
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_typestore

from m3l_core.errors import ImageMessageError
from m3l_core.streaming import color_conversion, image_messages
from m3l_core.streaming.image_messages import decode_color, decode_depth, fill_image, set_stamp, stamp_to_ns

STORE = get_typestore(Stores.ROS2_JAZZY)
Header, Time, RosbagsImage, RosbagsCompressed = (
    STORE.types[name]
    for name in (
        "std_msgs/msg/Header",
        "builtin_interfaces/msg/Time",
        "sensor_msgs/msg/Image",
        "sensor_msgs/msg/CompressedImage",
    )
)


def _rclpy(name: str) -> Any:
    return getattr(pytest.importorskip("sensor_msgs.msg", reason="rclpy's messages are not installed"), name)()


def rclpy_image(data: bytes, **fields: Any) -> Any:
    message = _rclpy("Image")
    for name, value in fields.items():
        setattr(message, name, value)
    message.data = array.array("B", data)
    return message


def rclpy_compressed(data: bytes, format: str) -> Any:
    message = _rclpy("CompressedImage")
    message.format = format
    message.data = array.array("B", data)
    return message


def rosbags_image(data: bytes, **fields: Any) -> Any:
    return RosbagsImage(header=Header(Time(0, 0), ""), data=np.frombuffer(data, np.uint8), **fields)


def rosbags_compressed(data: bytes, format: str) -> Any:
    return RosbagsCompressed(header=Header(Time(0, 0), ""), data=np.frombuffer(data, np.uint8), format=format)


FLAVOURS = {"rclpy": (rclpy_image, rclpy_compressed), "rosbags": (rosbags_image, rosbags_compressed)}


@pytest.fixture(params=FLAVOURS)
def raw(request: pytest.FixtureRequest) -> Any:
    """Builds an Image; step is the tightest one unless given."""
    make = FLAVOURS[request.param][0]

    def build(data: bytes, *, height: int, width: int, encoding: str, step: int | None = None, big: int = 0) -> Any:
        step = len(data) // max(height, 1) if step is None else step
        return make(data, height=height, width=width, encoding=encoding, step=step, is_bigendian=big)

    return build


@pytest.fixture(params=FLAVOURS)
def compressed(request: pytest.FixtureRequest) -> Any:
    return FLAVOURS[request.param][1]


RED, GREEN, BLUE, WHITE = [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]
# BT.601 studio swing, rounded: Y, U, V of the pure colors (ITU-R BT.601-7, table 3).
YUV_RED, YUV_GREEN, YUV_BLUE, YUV_GREY = (81, 90, 240), (145, 54, 34), (41, 240, 110), (126, 128, 128)


def uyvy(*colors: tuple[int, int, int]) -> bytes:
    return bytes(value for y, u, v in colors for value in (u, y, v, y))


def yuyv(*colors: tuple[int, int, int]) -> bytes:
    return bytes(value for y, u, v in colors for value in (y, u, y, v))


def mosaic(order: str) -> bytes:
    """8 x 8 sensor behind the filter ``order`` that sees (200, 100, 50) everywhere."""
    seen = {"r": 200, "g": 100, "b": 50}
    rows = [bytes(seen[order[2 * (y % 2) + x % 2]] for x in range(8)) for y in range(8)]
    return b"".join(rows)


def semiplanar(encoding: str, *colors: tuple[int, int, int]) -> bytes:
    """Blocks of 2 x 2 pixels, two blocks a row."""
    luma, chroma = b"", b""
    swapped = encoding == "nv21"
    for left, right in zip(colors[::2], colors[1::2], strict=True):
        luma += bytes(value for _ in range(2) for y, _, _ in (left, right) for value in (y, y))
        pairs = [(v, u) if swapped else (u, v) for _, u, v in (left, right)]
        row = bytes(value for pair in pairs for value in pair * (2 if encoding == "nv24" else 1))
        chroma += row * (2 if encoding == "nv24" else 1)
    return luma + chroma


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}H", *values)


YUV_EXPECTED = [[RED, RED, GREEN, GREEN], [BLUE, BLUE, [128] * 3, [128] * 3]]
YUV_COLORS = (YUV_RED, YUV_GREEN, YUV_BLUE, YUV_GREY)
BAYER_EXPECTED = np.full((8, 8, 3), (200, 100, 50)).tolist()

# encoding, message bytes, (H, W, 3) RGB, tolerance
COLOR_CASES = [
    ("rgb8", bytes([*RED, *GREEN, 1, 2, 3, *WHITE]), [[RED, GREEN], [[1, 2, 3], WHITE]], 0),
    ("bgr8", bytes([0, 0, 255, 0, 255, 0, 3, 2, 1, *WHITE]), [[RED, GREEN], [[1, 2, 3], WHITE]], 0),
    ("8UC3", bytes([3, 2, 1, 6, 5, 4]), [[[1, 2, 3], [4, 5, 6]]], 0),
    ("rgba8", bytes([1, 2, 3, 0, 4, 5, 6, 255]), [[[1, 2, 3], [4, 5, 6]]], 0),
    ("bgra8", bytes([3, 2, 1, 0, 6, 5, 4, 255]), [[[1, 2, 3], [4, 5, 6]]], 0),
    ("mono8", bytes([0, 7, 255]), [[[0] * 3, [7] * 3, [255] * 3]], 0),
    ("8UC1", bytes([0, 7, 255]), [[[0] * 3, [7] * 3, [255] * 3]], 0),
    ("yuv422", uyvy(*YUV_COLORS), YUV_EXPECTED, 3),
    ("uyvy", uyvy(*YUV_COLORS), YUV_EXPECTED, 3),
    ("yuv422_yuy2", yuyv(*YUV_COLORS), YUV_EXPECTED, 3),
    ("yuyv", yuyv(*YUV_COLORS), YUV_EXPECTED, 3),
    *((f"bayer_{order}8", mosaic(order), BAYER_EXPECTED, 0) for order in ("rggb", "bggr", "gbrg", "grbg")),
]
BLOCKS_EXPECTED = np.repeat(YUV_EXPECTED, 2, axis=0).tolist()
# The same with 16 bits a value, little endian: 65535 becomes 255, and what lies between is rounded.
WIDE_CASES = [
    ("rgb16", words(65535, 0, 0, 257, 514, 771 + 128), [[RED, [1, 2, 3]]], 0),
    ("bgr16", words(0, 0, 65535, 771, 514, 257), [[RED, [1, 2, 3]]], 0),
    ("rgba16", words(257, 514, 771, 9), [[[1, 2, 3]]], 0),
    ("bgra16", words(771, 514, 257, 9), [[[1, 2, 3]]], 0),
    *(
        (f"bayer_{order}16", words(*(257 * value for value in mosaic(order))), BAYER_EXPECTED, 0)
        for order in ("rggb", "bggr", "gbrg", "grbg")
    ),
]
SEMIPLANAR_CASES = [(name, semiplanar(name, *YUV_COLORS)) for name in ("nv12", "nv21", "nv24")]
# encoding, little endian message bytes, (H, W), dtype
DEPTH_CASES = [
    ("16UC1", struct.pack("<4H", 0, 1, 1000, 65535), [[0, 1], [1000, 65535]], np.uint16),
    ("mono16", struct.pack("<3H", 256, 1, 515), [[256, 1, 515]], np.uint16),
    ("32FC1", struct.pack("<4f", 1.5, np.nan, np.inf, -1), [[1.5, np.nan], [np.inf, -1]], np.float32),
]


@pytest.fixture(params=["cv_bridge", "rosbags.image"])
def converter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Both converters are held to the same arrays."""
    load = color_conversion._cv_bridge if request.param == "cv_bridge" else color_conversion._rosbags_image
    try:
        convert = load()
    except ImportError as error:
        pytest.skip(f"{request.param} does not work here: {error}")
    monkeypatch.setattr(color_conversion, "_found", lambda: (convert, ""))
    return convert


def padded(data: bytes, height: int, padding: int) -> bytes:
    row = len(data) // height
    return b"".join(data[row * y : row * (y + 1)] + b"\xee" * padding for y in range(height))


@pytest.mark.parametrize("padding", [0, 1, 16])
@pytest.mark.parametrize(
    ("encoding", "data", "expected", "tolerance"), COLOR_CASES, ids=lambda c: c if isinstance(c, str) else ""
)
def test_color(
    raw: Any, converter: Any, encoding: str, data: bytes, expected: list[Any], tolerance: int, padding: int
) -> None:
    wanted = np.array(expected)
    height, width = wanted.shape[:2]
    image = decode_color(raw(padded(data, height, padding), height=height, width=width, encoding=encoding))
    assert image.dtype == np.uint8
    assert image.shape == wanted.shape
    assert np.abs(image.astype(int) - wanted).max() <= tolerance


@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize(
    ("encoding", "data", "expected", "tolerance"), WIDE_CASES, ids=lambda c: c if isinstance(c, str) else ""
)
def test_color_of_sixteen_bits(
    raw: Any, converter: Any, encoding: str, data: bytes, expected: list[Any], tolerance: int, padding: int, big: int
) -> None:
    wanted = np.array(expected)
    height, width = wanted.shape[:2]
    if big:
        data = np.frombuffer(data, np.uint16).byteswap().tobytes()
    image = decode_color(raw(padded(data, height, padding), height=height, width=width, encoding=encoding, big=big))
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - wanted).max() <= tolerance


@pytest.mark.parametrize("padding", [0, 2, 16])
@pytest.mark.parametrize(("encoding", "data"), SEMIPLANAR_CASES)
def test_luma_and_chroma_in_planes_of_their_own(raw: Any, encoding: str, data: bytes, padding: int) -> None:
    height, width = 4, 4
    # Rows of chroma are as far apart as those of luma; of nv24 they are twice as long, and so is what pads them.
    luma, chroma = padded(data[: height * width], height, padding), data[height * width :]
    per_row = 2 if encoding == "nv24" else 1
    chroma = padded(chroma, len(chroma) // (width * per_row), padding * per_row)
    step = width + padding
    image = decode_color(raw(luma + chroma, height=height, width=width, encoding=encoding, step=step))
    assert image.shape == (height, width, 3)
    assert image.flags.c_contiguous
    assert np.abs(image.astype(int) - BLOCKS_EXPECTED).max() <= 3


@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize("padding", [0, 1, 2, 8])
@pytest.mark.parametrize(
    ("encoding", "data", "expected", "dtype"), DEPTH_CASES, ids=lambda c: c if isinstance(c, str) else ""
)
def test_depth(raw: Any, encoding: str, data: bytes, expected: list[Any], dtype: Any, padding: int, big: int) -> None:
    wanted = np.array(expected, dtype)
    height, width = wanted.shape
    if big:
        size = wanted.itemsize
        data = b"".join(data[i : i + size][::-1] for i in range(0, len(data), size))
    message = raw(padded(data, height, padding), height=height, width=width, encoding=encoding, big=big)
    depth = decode_depth(message)
    assert depth.dtype == dtype
    assert depth.dtype.isnative
    assert depth.flags.aligned
    np.testing.assert_array_equal(depth, wanted)


@pytest.mark.parametrize("padding", [0, 16])
@pytest.mark.parametrize(
    ("decode", "encoding", "size"),
    [(decode_color, "rgb8", 3), (decode_depth, "16UC1", 2), (decode_depth, "32FC1", 4)],
)
def test_no_copy_where_the_layout_allows_it(raw: Any, decode: Any, encoding: str, size: int, padding: int) -> None:
    message = raw(bytes(4 * (6 * size + padding)), height=4, width=6, encoding=encoding)
    assert np.shares_memory(decode(message), np.frombuffer(message.data, np.uint8))


def test_unaligned_data_of_a_bag_chunk_is_aligned() -> None:
    message = rosbags_image(b"", height=1, width=2, encoding="32FC1", step=8, is_bigendian=0)
    message.data = np.frombuffer(b"\0" + struct.pack("<2f", 1.5, 2.5), np.uint8)[1:]
    depth = decode_depth(message)
    assert depth.flags.aligned
    assert depth.tolist() == [[1.5, 2.5]]


def test_bytes_and_a_longer_buffer_are_read() -> None:
    message = rosbags_image(b"", height=1, width=1, encoding="bgr8", step=3, is_bigendian=0)
    message.data = bytes([3, 2, 1, 9])
    assert decode_color(message).tolist() == [[[1, 2, 3]]]


# Compressed


def encoded(extension: str, image: np.ndarray, *parameters: int) -> bytes:
    ok, data = cv2.imencode(extension, image, parameters)
    assert ok
    return bytes(data.tobytes())


QUADRANTS = np.zeros((32, 48, 3), np.uint8)
QUADRANTS[:16, :24], QUADRANTS[:16, 24:], QUADRANTS[16:, :24], QUADRANTS[16:, 24:] = RED, GREEN, BLUE, WHITE
NOISE = np.random.default_rng(7).integers(0, 256, (32, 48, 3)).astype(np.uint8)
JPEG = encoded(".jpg", QUADRANTS[..., ::-1], cv2.IMWRITE_JPEG_QUALITY, 95)
PNG = encoded(".png", NOISE[..., ::-1])
DEPTH_PNG = encoded(".png", np.random.default_rng(8).integers(0, 65536, (32, 48)).astype(np.uint16))


@pytest.mark.parametrize("name", ["jpeg", "jpg", "rgb8; jpeg compressed bgr8", "bgr8; jpeg compressed bgr8"])
@pytest.mark.parametrize("tail", [b"", b"\0" * 200, b"\0\xff" * 4000, JPEG[-900:-2], JPEG])
def test_jpeg(compressed: Any, name: str, tail: bytes) -> None:
    image = decode_color(compressed(JPEG + tail, name))
    inner = np.abs(image.astype(int) - QUADRANTS)[[4, 4, 28, 28], [4, 44, 4, 44]]
    assert inner.max() <= 6


def test_png_color(compressed: Any) -> None:
    np.testing.assert_array_equal(decode_color(compressed(PNG, "rgb8; png compressed bgr8")), NOISE)


def test_grey_becomes_three_channels(compressed: Any) -> None:
    image = decode_color(compressed(encoded(".png", NOISE[..., 0]), "mono8; png compressed "))
    np.testing.assert_array_equal(image, np.stack([NOISE[..., 0]] * 3, -1))


def test_orientation_tag_does_not_turn_the_image(compressed: Any) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # orientation = 6
    tagged = JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + JPEG[2:]
    assert cv2.imdecode(np.frombuffer(tagged, np.uint8), cv2.IMREAD_COLOR).shape == (48, 32, 3)
    assert decode_color(compressed(tagged, "jpeg")).shape == (32, 48, 3)


# Refusals: every text names the problem


@pytest.mark.parametrize(
    ("decode", "fields", "size", "problem"),
    [
        (decode_color, {"encoding": "rgb9"}, 24, "'rgb9' is not supported.*bgra8"),
        (decode_color, {"encoding": ""}, 24, "'' is not supported"),
        (decode_color, {"encoding": "16UC1"}, 24, "'16UC1' is not a color image. Remap"),
        (decode_color, {"encoding": "32FC1"}, 24, "'32FC1' is not a color image"),
        (decode_depth, {"encoding": "rgb8"}, 24, "'rgb8' is not a depth image. Remap"),
        (decode_depth, {"encoding": "mono8"}, 24, "'mono8' is not a depth image"),
        (decode_depth, {"encoding": "64FC1"}, 64, "'64FC1' is not supported.*32FC1"),
        (decode_color, {"width": 0}, 24, "0 x 2 is empty"),
        (decode_color, {"height": 0}, 24, "4 x 0 is empty"),
        (decode_depth, {"encoding": "16UC1", "width": 0}, 24, "0 x 2 is empty"),
        (decode_color, {"step": 11}, 24, "step of 12 bytes or more, got 11"),
        (decode_color, {"step": 0}, 24, "step of 12 bytes or more, got 0"),
        (decode_depth, {"encoding": "32FC1", "step": 15}, 64, "step of 16 bytes or more, got 15"),
        (decode_color, {}, 23, "needs 24 bytes of data, got 23"),
        (decode_color, {"step": 16}, 31, "needs 32 bytes of data, got 31"),
        (decode_depth, {"encoding": "16UC1", "step": 8}, 1, "needs 16 bytes of data, got 1"),
        (decode_depth, {"encoding": "16UC1", "step": 8}, 0, "of 4 x 2 is empty, it has no data"),
        (decode_color, {"encoding": "nv12", "step": 4}, 0, "'nv12' of 4 x 2 is empty"),
        (decode_color, {"encoding": "nv12", "step": 4}, 11, "needs 12 bytes of data, got 11"),
        (decode_color, {"encoding": "nv12", "step": 3}, 12, "step of 4 bytes or more, got 3"),
        (decode_color, {"encoding": "nv21", "width": 3, "step": 4}, 12, "sides must be even, not 3 x 2"),
        (decode_color, {"encoding": "nv24", "step": 4}, 23, "needs 24 bytes of data, got 23"),
        (decode_color, {"encoding": "bayer_rggb16", "step": 8}, 24, "3 x 3 pixels or more, got 4 x 2"),
        (decode_depth, {"encoding": "nv12"}, 24, "'nv12' is not a depth image"),
        (decode_color, {"encoding": "yuyv", "width": 3}, 24, "width must be even, got 3"),
        (decode_color, {"encoding": "bayer_rggb8"}, 24, "3 x 3 pixels or more, got 4 x 2"),
    ],
)
def test_bad_image(raw: Any, decode: Any, fields: dict[str, Any], size: int, problem: str) -> None:
    with pytest.raises(ImageMessageError, match=problem):
        decode(raw(bytes(size), **{"height": 2, "width": 4, "encoding": "rgb8", "step": 12, **fields}))


@pytest.mark.parametrize("data", [[1, 2, 3], None, "abc"])
def test_data_that_is_no_buffer(data: Any) -> None:
    message = rosbags_image(b"", height=1, width=1, encoding="rgb8", step=3, is_bigendian=0)
    message.data = data
    with pytest.raises(ImageMessageError, match=f"got {type(data).__name__}"):
        decode_color(message)


WIDE = encoded(".png", NOISE.astype(np.uint16) * 257)


@pytest.mark.parametrize(
    ("decode", "data", "name", "problem"),
    [
        (decode_color, b"", "jpeg", "'jpeg': it is empty, 0 bytes"),
        (decode_color, b"\0\0\0\1", "h264", "'h264': must hold a jpeg or png"),
        (decode_color, JPEG[:-2], "jpeg", "jpeg truncated"),
        (decode_color, JPEG[: len(JPEG) // 2], "jpeg", "jpeg truncated"),
        (decode_color, JPEG[:2] + JPEG[-40:], "jpeg", "corrupt jpeg"),
        (decode_color, PNG[:-12], "png", "png truncated"),
        (decode_color, PNG[:100] + PNG[120:], "png", "corrupt png"),
        (decode_color, DEPTH_PNG, "png", "8 bits a channel"),
        (decode_color, WIDE, "png", "8 bits a channel"),
        (decode_color, DEPTH_PNG, "16UC1; png compressed ", "is not a color image"),
        (decode_color, b"\0" * 12 + DEPTH_PNG, "16UC1; compressedDepth png", "is not a color image"),
        (decode_depth, JPEG, "rgb8; jpeg compressed bgr8", "is not a depth image"),
        (decode_depth, b"\0" * 12 + DEPTH_PNG, "rgb8; compressedDepth png", "is not a depth image"),
        (decode_depth, JPEG, "16UC1; jpeg compressed ", "'16UC1; jpeg compressed ': depth must be one 16-bit channel"),
    ],
)
def test_bad_compressed_image(compressed: Any, decode: Any, data: bytes, name: str, problem: str) -> None:
    with pytest.raises(ImageMessageError, match=problem):
        decode(compressed(data, name))


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, len(JPEG) - 3))
def test_every_truncation_of_a_jpeg_is_refused(cut: int) -> None:
    with pytest.raises(ImageMessageError):
        decode_color(rosbags_compressed(JPEG[:cut], "jpeg"))


def test_no_more_pixels_than_are_taken() -> None:
    for decode, content, name in ((decode_color, PNG, "png"), (decode_depth, DEPTH_PNG, "16UC1; png")):
        decode(rosbags_compressed(content, name), most_pixels=32 * 48)
        with pytest.raises(ImageMessageError, match=f"'{name}': it is a png of 48 x 32 pixels, more than the 1535"):
            decode(rosbags_compressed(content, name), most_pixels=32 * 48 - 1)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([*image_messages._COLOR, *image_messages._DEPTH, "nv16"]),
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(0, 40),
    st.binary(max_size=300),
    st.integers(0, 255),
)
def test_any_message_gives_an_image_or_an_error_of_ours(
    encoding: str, height: int, width: int, step: int, data: bytes, big: int
) -> None:
    message = rosbags_image(data, encoding=encoding, height=height, width=width, step=step, is_bigendian=big)
    for decode in (decode_color, decode_depth):
        try:
            assert decode(message).shape[:2] == (height, width)
        except ImageMessageError as error:
            assert len(str(error)) > 20


# Output


def filled(image: np.ndarray, encoding: str) -> Any:
    message = _rclpy("Image")
    fill_image(message, image, encoding=encoding, frame_id="camera", stamp_ns=1_700_000_000_123_456_789)
    return message


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([("mono8", np.uint8, ()), ("rgb8", np.uint8, (3,)), ("16UC1", np.uint16, ())]),
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(0, 9),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_round_trip(kind: Any, height: int, width: int, padding: int, big: bool, seed: int) -> None:
    encoding, dtype, channels = kind
    image = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (height, width, *channels)).astype(dtype)
    message = filled(image, encoding)
    row = width * image.itemsize * (3 if channels else 1)
    assert (message.step, message.is_bigendian, len(message.data)) == (row, 0, row * height)
    # The same image as another driver would send it: padded, and in the other byte order.
    data = image.astype(image.dtype.newbyteorder(">")).tobytes() if big else bytes(message.data)
    message.data, message.step, message.is_bigendian = (
        array.array("B", padded(data, height, padding)),
        row + padding,
        int(big),
    )
    if encoding == "16UC1":
        np.testing.assert_array_equal(decode_depth(message), image)
    else:
        wanted = image if channels else np.stack([image] * 3, -1)
        np.testing.assert_array_equal(decode_color(message), wanted)


def test_filled_message_has_the_header() -> None:
    message = filled(np.zeros((2, 3), np.uint8), "mono8")
    assert (message.height, message.width, message.encoding) == (2, 3, "mono8")
    assert message.header.frame_id == "camera"
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1_700_000_000, 123_456_789)
    assert stamp_to_ns(message.header.stamp) == 1_700_000_000_123_456_789


def test_a_view_that_is_not_contiguous_is_filled_right() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(4, 6)[::2, ::-2]
    assert bytes(filled(image, "mono8").data) == image.tobytes()
    assert bytes(filled(np.array([[258]], ">u2"), "16UC1").data) == b"\x02\x01"
    single = filled(np.arange(24, dtype=np.uint8).reshape(4, 6)[:1, :3], "mono8")
    assert (single.step, bytes(single.data)) == (3, b"\0\1\2")


@pytest.mark.parametrize(
    ("image", "encoding", "problem"),
    [
        (np.zeros((2, 2), np.uint8), "bgr8", "'bgr8' is not supported.*mono8, rgb8, 16UC1"),
        (np.zeros((2, 2, 3), np.uint8), "mono8", r"needs shape \(H, W\), got \(2, 2, 3\)"),
        (np.zeros((2, 2), np.uint8), "rgb8", r"needs shape \(H, W, 3\), got \(2, 2\)"),
        (np.zeros((2, 2, 4), np.uint8), "rgb8", r"needs shape \(H, W, 3\), got \(2, 2, 4\)"),
        (np.zeros((0, 2), np.uint8), "mono8", r"got \(0, 2\)"),
        (np.zeros((2, 2), np.int64), "mono8", "needs dtype uint8, got int64"),
        (np.zeros((2, 2), np.uint8), "16UC1", "needs dtype uint16, got uint8"),
    ],
)
def test_fill_refuses(image: np.ndarray, encoding: str, problem: str) -> None:
    with pytest.raises(ImageMessageError, match=problem):
        fill_image(types.SimpleNamespace(), image, encoding=encoding, frame_id="", stamp_ns=0)


def test_fill_never_goes_element_by_element() -> None:
    """The generated messages take an array as a whole, and look at each value of anything else."""
    message = types.SimpleNamespace(header=types.SimpleNamespace(stamp=types.SimpleNamespace()))
    fill_image(message, np.zeros((480, 640), np.uint8), encoding="mono8", frame_id="camera", stamp_ns=1)
    assert (type(message.data), message.data.typecode) == (array.array, "B")


@given(st.integers(-(2**31) * 10**9, (2**31 - 1) * 10**9 + 999_999_999))
def test_stamp_round_trip(stamp_ns: int) -> None:
    stamp = types.SimpleNamespace()
    set_stamp(stamp, stamp_ns)
    assert 0 <= stamp.nanosec < 10**9
    assert stamp_to_ns(stamp) == stamp_ns


def test_import_needs_no_ros() -> None:
    code = (
        "import sys; import m3l_core.streaming.image_messages; "
        "sys.exit(any(name in sys.modules for name in ('rclpy', 'cv_bridge', 'sensor_msgs', 'rosbags')))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], check=False, env=environment).returncode == 0
