"""Depth images in every wrapping that drivers and recorders gave them, and what is refused."""

from __future__ import annotations

import json
import struct
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rvl import encode_rvl

from m3l_core.errors import ImageMessageError
from m3l_core.streaming.image_messages import decode_depth


def decoded(data: bytes, name: str) -> Any:
    return decode_depth(SimpleNamespace(format=name, data=data))


def encoded(extension: str, image: np.ndarray) -> bytes:
    ok, data = cv2.imencode(extension, image)
    assert ok
    return bytes(data.tobytes())


def rvl(image: np.ndarray) -> bytes:
    height, width = image.shape
    return struct.pack("<ii", width, height) + encode_rvl(image.ravel().tolist())


DEPTH_MM = np.random.default_rng(8).integers(0, 65536, (32, 48)).astype(np.uint16)
DEPTH_MM[5:9, 3:30] = 0
DEPTH_M = np.where(DEPTH_MM == 0, np.nan, DEPTH_MM / 1000).astype(np.float32)
DEPTH_PNG, DEPTH_RVL = encoded(".png", DEPTH_MM), rvl(DEPTH_MM)
# What compressed_depth_image_transport computes for depth_quantization 100 and depth_max 10.
A = 100.0 * 101.0
B = 1.0 - A / 10.0
INVERSE = np.array([[0, 1, 1000, 9091]], np.uint16)
INVERSE_M = [[np.nan, 10.0, A / (1000 - B), A / (9091 - B)]]  # the last is 1.0 m
PLAIN_HEADER, INVERSE_HEADER = struct.pack("<iff", 0, 0, 0), struct.pack("<iff", 0, A, B)
GRAY, COLOR = encoded(".png", DEPTH_MM.astype(np.uint8)), encoded(".png", np.zeros((4, 4, 3), np.uint16))


@pytest.mark.parametrize(
    "name",
    [
        *("png", "PNG", "image/png", "", "16UC1; png", "16UC1; png compressed ", "mono16; png compressed "),
        *("16UC1; png compressed 16UC1", "16UC1;png compressed mono16", "16UC1; compressedDepth png", "jpeg"),
    ],
)
def test_a_bare_png(name: str) -> None:
    depth = decoded(DEPTH_PNG, name)
    assert depth.dtype == np.uint16
    np.testing.assert_array_equal(depth, DEPTH_MM)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "16UC1; compressedDepth png",
            "16UC1; compressedDepth",
            "16UC1;compressedDepth png",
            "16UC1; compressedDepth ",
        ),
        *("mono16; compressedDepth png", "compressedDepth", "compressedDepth png", "; compressedDepth png"),
    ],
)
@pytest.mark.parametrize("stale", [b"", b"\0" * 300, DEPTH_PNG[-500:]])
def test_millimetres_as_png(name: str, stale: bytes) -> None:
    np.testing.assert_array_equal(decoded(PLAIN_HEADER + DEPTH_PNG + stale, name), DEPTH_MM)


@pytest.mark.parametrize("name", ["16UC1; compressedDepth rvl", "16UC1;compressedDepth RVL", "compressedDepth rvl"])
@pytest.mark.parametrize("stale", [b"", b"\0" * 300, DEPTH_RVL])
def test_millimetres_as_rvl(name: str, stale: bytes) -> None:
    depth = decoded(PLAIN_HEADER + DEPTH_RVL + stale, name)
    assert depth.dtype == np.uint16
    np.testing.assert_array_equal(depth, DEPTH_MM)


@pytest.mark.parametrize("encoding", ["32FC1; ", "32FC1;", ""])
@pytest.mark.parametrize(("codec", "picture"), [("png", encoded(".png", INVERSE)), ("rvl", rvl(INVERSE))])
def test_quantized_metres(encoding: str, codec: str, picture: bytes) -> None:
    depth = decoded(INVERSE_HEADER + picture, f"{encoding}compressedDepth {codec}")
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, np.array(INVERSE_M), rtol=1e-5)


def test_tiff() -> None:
    np.testing.assert_array_equal(decoded(encoded(".tiff", DEPTH_M), "32FC1; tiff compressed "), DEPTH_M)
    np.testing.assert_array_equal(decoded(encoded(".tiff", DEPTH_MM), "16UC1; tiff compressed "), DEPTH_MM)


def test_real_payloads(shared: Path) -> None:
    folder = shared / "encodings"
    for entry in json.loads((folder / "manifest.json").read_text()):
        data = (folder / entry["file"]).read_bytes()
        depth = decoded(data, entry["format"])
        truth = cv2.imread(str(folder / entry["truth"].split()[0]), cv2.IMREAD_UNCHANGED)
        if entry["format"].startswith("16UC1"):
            np.testing.assert_array_equal(depth, truth, err_msg=entry["file"])
        else:
            lost = (truth == 0) | (truth >= 10_000)
            np.testing.assert_allclose(depth, np.where(lost, np.nan, truth / 1000), rtol=1e-3, err_msg=entry["file"])


@pytest.mark.parametrize(
    ("data", "name", "problem"),
    [
        (b"", "png", "it is empty, 0 bytes"),
        (b"", "16UC1; compressedDepth png", "it is empty, 0 bytes"),
        (b"", "16UC1; compressedDepth rvl", "it is empty, 0 bytes"),
        (b"\0" * 5, "16UC1; compressedDepth png", "truncated, its 5 bytes end with the header"),
        (PLAIN_HEADER, "32FC1; compressedDepth rvl", "truncated, its 12 bytes end with the header"),
        (PLAIN_HEADER + b"\1\2", "16UC1; compressedDepth png", r"must hold a png.*begin with b'\\x01\\x02'"),
        (PLAIN_HEADER + DEPTH_RVL, "16UC1; compressedDepth", "must hold a png"),
        (PLAIN_HEADER + DEPTH_RVL[:7], "16UC1; compressedDepth rvl", "rvl truncated, 7 bytes after the header"),
        (PLAIN_HEADER + DEPTH_RVL[:-40], "16UC1; compressedDepth rvl", "of 48 x 32 pixels.*ends before the image"),
        (PLAIN_HEADER + struct.pack("<ii", 0, 4) + b"\0" * 8, "16UC1; compressedDepth rvl", "it says 0 x 4 pixels"),
        *(
            (
                PLAIN_HEADER + struct.pack("<ii", width, height) + b"\0" * 8,
                "16UC1; compressedDepth rvl",
                f"it says {width} x {height} pixels",
            )
            for width, height in ((4, 0), (4, -1), (-1, 4), (-1, -4))
        ),
        (DEPTH_PNG[:-12], "16UC1; png compressed ", "png truncated"),
        (PLAIN_HEADER + DEPTH_PNG[:-500], "16UC1; compressedDepth png", "png truncated"),
        (GRAY, "png", "depth must be one 16-bit channel, got uint8"),
        (COLOR, "png", "depth must be one 16-bit channel, got uint16"),
        (DEPTH_PNG, "32FC1; png compressed ", "metres as 32FC1 are not stored in a bare png"),
        (encoded(".tiff", DEPTH_MM), "32FC1; tiff compressed ", "one channel of 32-bit metres, got uint16"),
        (PLAIN_HEADER + DEPTH_PNG, "32FC1; compressedDepth png", "depth parameters 0.0 and 0.0, expected a above 0"),
        (struct.pack("<iff", 0, np.nan, B) + DEPTH_PNG, "32FC1; compressedDepth png", "depth parameters nan"),
        (struct.pack("<iff", 0, A, np.inf) + DEPTH_PNG, "32FC1; compressedDepth png", "10100.0 and inf"),
        (struct.pack("<iff", 0, A, 2.0) + DEPTH_PNG, "32FC1; compressedDepth png", "10100.0 and 2.0"),
    ],
)
def test_what_is_no_depth_image_is_told(data: bytes, name: str, problem: str) -> None:
    with pytest.raises(ImageMessageError, match=problem) as told:
        decoded(data, name)
    assert str(told.value).startswith(f"'{name}': ")


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, len(DEPTH_PNG) - 13))
def test_every_truncation_of_a_png_is_refused(cut: int) -> None:
    with pytest.raises(ImageMessageError):
        decoded(DEPTH_PNG[:cut], "png")


@pytest.mark.parametrize("size", [(100_000, 100_000), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1), (8000, 8001)])
def test_a_header_that_lies_takes_no_memory(size: tuple[int, int]) -> None:
    data = PLAIN_HEADER + struct.pack("<ii", *size) + b"\0" * 1000
    tracemalloc.start()
    try:
        with pytest.raises(ImageMessageError, match=f"it says {size[0]} x {size[1]} pixels, expected 1 to 64000000"):
            decoded(data, "16UC1; compressedDepth rvl")
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_body_that_is_too_short_takes_no_memory_for_the_image() -> None:
    data = PLAIN_HEADER + struct.pack("<ii", 8000, 8000) + DEPTH_RVL[8:]
    tracemalloc.start()
    try:
        with pytest.raises(ImageMessageError, match="corrupt rvl of 8000 x 8000 pixels in 3916 bytes"):
            decoded(data, "16UC1; compressedDepth rvl")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
