"""A message becomes a frame, whatever it says of itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

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


def test_no_more_pixels_than_are_taken() -> None:
    frame, reason = decode_frame("color", compressed("jpeg", JPEG), most_pixels=199)
    assert frame.data is None
    assert reason == "'jpeg': it is a jpeg of 20 x 10 pixels, more than the 199 that are taken"
