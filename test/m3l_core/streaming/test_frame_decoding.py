"""A message becomes a frame, whatever it says of itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from m3l_core.streaming.frame_decoding import decode_frame

HEADER = SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=2), frame_id="camera")
JPEG = cv2.imencode(".jpg", np.zeros((10, 20, 3), np.uint8))[1].tobytes()


def compressed(format: str, data: bytes) -> Any:
    return SimpleNamespace(header=HEADER, format=format, data=data)


def test_a_message_becomes_a_frame() -> None:
    frame, reason = decode_frame("color", compressed("jpeg", JPEG))
    assert reason is None
    assert (frame.modality, frame.stamp_ns, frame.frame_id, frame.encoding) == (
        "color",
        1_000_000_002,
        "camera",
        "jpeg",
    )
    assert frame.data.shape == (10, 20, 3)


def test_what_a_stranger_says_at_length_is_cut() -> None:
    for message in (
        SimpleNamespace(header=HEADER, encoding="x" * 50_000, height=1, width=1, step=1, is_bigendian=0, data=b"1"),
        compressed("jpeg" + "x" * 50_000, b"none"),
        compressed("16UC1; compressedDepth " + "x" * 50_000, JPEG),
    ):
        for modality in ("color", "depth"):
            frame, reason = decode_frame(modality, message)
            assert frame.data is None
            assert reason is not None and 20 < len(reason) <= 600
            assert len(frame.encoding) <= 80


def of_encoding(letters: str) -> tuple[str, str]:
    """What is told of a message with this encoding, and why it is none."""
    fields = {"height": 1, "width": 1, "step": 1, "is_bigendian": 0, "data": b"1"}
    frame, reason = decode_frame("color", SimpleNamespace(header=HEADER, encoding=letters, **fields), kind="intensity")
    return frame.encoding, reason or ""


def test_up_to_80_letters_of_an_encoding_and_600_of_a_reason_are_told() -> None:
    assert of_encoding("x" * 80)[0] == "x" * 80
    assert of_encoding("x" * 81)[0] == "x" * 77 + "..."
    _, short = of_encoding("x")
    longest = 600 - len(short) + 1
    assert of_encoding("x" * longest)[1] == short.replace("'x'", f"'{'x' * longest}'")
    cut = of_encoding("x" * (longest + 1))[1]
    assert len(cut) == 600 and cut.endswith(short[-30:-4] + "...")


def test_what_nobody_has_thought_of_is_a_reason_too() -> None:
    fields = {"encoding": "mono8", "height": 1, "width": 1, "step": "wide", "is_bigendian": 0, "data": b"1"}
    frame, reason = decode_frame("color", SimpleNamespace(header=HEADER, **fields))
    assert frame.data is None
    assert reason is not None and reason.startswith("it cannot be decoded, ValueError: ")


def test_no_more_pixels_than_are_taken() -> None:
    frame, reason = decode_frame("color", compressed("jpeg", JPEG), most_pixels=199)
    assert frame.data is None
    assert reason == "'jpeg': it is a jpeg of 20 x 10 pixels, more than the 199 that are taken"


def raw(pixels: np.ndarray, encoding: str, is_bigendian: int = 0) -> Any:
    height, width = pixels.shape[:2]
    step, data = pixels.nbytes // height, pixels.tobytes()
    fields = {"encoding": encoding, "height": height, "width": width, "step": step, "is_bigendian": is_bigendian}
    return SimpleNamespace(header=HEADER, data=data, **fields)


@pytest.mark.parametrize(
    ("message", "dtype"),
    [
        (lambda image: raw(image.astype(np.uint8), "mono8"), np.uint8),
        (lambda image: raw(image.astype(np.uint8), "8UC1"), np.uint8),
        (lambda image: raw(image, "mono16"), np.uint16),
        (lambda image: raw(image, "16UC1"), np.uint16),
        (lambda image: raw(image.astype(">u2"), "mono16", 1), np.uint16),
        (lambda image: compressed("mono16; png", cv2.imencode(".png", image)[1].tobytes()), np.uint16),
        (lambda image: compressed("mono8; png", cv2.imencode(".png", image.astype(np.uint8))[1].tobytes()), np.uint8),
    ],
)
def test_one_channel_keeps_its_values_whatever_the_modality_is_called(message: Any, dtype: type) -> None:
    image = np.arange(200, dtype=np.uint16).reshape(10, 20)
    frame, reason = decode_frame("thermal", message(image), kind="intensity")
    assert (reason, frame.modality, frame.data.dtype, frame.data.dtype.isnative) == (None, "thermal", dtype, True)
    np.testing.assert_array_equal(frame.data, image)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (raw(np.zeros((4, 4, 3), np.uint8), "rgb8"), "Encoding 'rgb8' is not supported, expected one of: mono8, 8UC1,"),
        (compressed("bgr8; jpeg", JPEG), "'bgr8; jpeg' has 3 channels, expected 1. Is it a color topic?"),
    ],
)
def test_color_is_no_image_of_one_channel(message: Any, why: str) -> None:
    frame, reason = decode_frame("thermal", message, kind="intensity")
    assert frame.data is None
    assert reason is not None and reason.startswith(why)
