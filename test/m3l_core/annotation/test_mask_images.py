"""Png masks with palettes, by a reader that is not ours: OpenCV's."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.annotations import LABELS, MASKS, Mask

from m3l_core.annotation.mask_images import (
    UNLABELLED,
    class_colors,
    decode_mask,
    encode_mask,
    ids_of_colors,
    voc_colors,
)
from m3l_core.errors import DatasetError
from m3l_core.labels import IGNORE


def png(kind: int, depth: int, rows: list[bytes], width: int, palette: bytes = b"", height: int = 0) -> bytes:
    """A png written by hand."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height or len(rows), depth, kind, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [(b"IHDR", header), *([(b"PLTE", palette)] if palette else []), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


@settings(deadline=None)
@given(MASKS)
def test_an_indexed_mask_comes_back_and_other_programs_see_its_colors(ids: Mask) -> None:
    content = encode_mask(ids, LABELS)
    mask = decode_mask(content, "mask.png")
    assert mask.values is not None and mask.colors is not None
    np.testing.assert_array_equal(mask.values, ids)
    seen = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask.colors, cv2.cvtColor(seen, cv2.COLOR_BGR2RGB))
    known = {color: number for number, color in enumerate(class_colors(LABELS))} | {UNLABELLED: IGNORE}
    np.testing.assert_array_equal(ids_of_colors(mask.colors, known, "mask.png"), ids)


def test_the_file_is_a_png_with_a_palette() -> None:
    content = encode_mask(np.array([[2, 255]], np.uint8), LABELS)
    assert content[25] == 3
    assert content.index(b"PLTE") < content.index(b"IDAT")


def test_class_colors_differ_from_each_other_and_from_black() -> None:
    colors = class_colors(LABELS)
    assert len({*colors, UNLABELLED}) == len(LABELS) + 1
    assert colors[1] == (9, 8, 7)
    assert colors[3] == (128, 0, 0)


def test_the_colormap_is_that_of_pascal_voc() -> None:
    # From the table in the development kit of VOC 2012.
    expected = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)]
    assert [tuple(color) for color in voc_colors()[:7].tolist()] == expected
    assert voc_colors()[20].tolist() == [0, 64, 128]
    assert voc_colors()[255].tolist() == [224, 224, 192]


@pytest.mark.parametrize(("depth", "row"), [(1, b"\x40"), (2, b"\x1b"), (4, b"\x01\x23"), (8, b"\x00\x01\x02\x03")])
@pytest.mark.parametrize("kind", [0, 3])
def test_fewer_bits_are_the_same_ids(kind: int, depth: int, row: bytes) -> None:
    palette = voc_colors(4).tobytes() if kind == 3 else b""
    mask = decode_mask(png(kind, depth, [row], 4 if depth > 1 else 2, palette), "mask.png")
    assert mask.values is not None
    assert mask.values.tolist() == [[0, 1, 2, 3][: mask.values.shape[1]]]
    assert (mask.colors is None) == (kind == 0)


@pytest.mark.parametrize("channels", [3, 4])
def test_colors_are_read_as_rgb(channels: int) -> None:
    image = np.full((2, 3, channels), 255, np.uint8)
    image[..., :3] = (1, 2, 3)
    mask = decode_mask(cv2.imencode(".png", image)[1].tobytes(), "mask.png")
    assert mask.values is None and mask.colors is not None
    assert mask.colors[1, 2].tolist() == [3, 2, 1]


@given(st.binary(max_size=60))
def test_what_is_no_png_is_refused(content: bytes) -> None:
    with pytest.raises(DatasetError, match=r"mask\.png"):
        decode_mask(content, "mask.png")


def test_damaged_and_deep_images_are_refused() -> None:
    deep = cv2.imencode(".png", np.full((2, 2), 300, np.uint16))[1].tobytes()
    with pytest.raises(DatasetError, match="has the value 300"):
        decode_mask(deep, "mask.png")
    with pytest.raises(DatasetError, match="not a png image"):
        decode_mask(png(3, 8, [b"\0\0"], 2), "mask.png")  # no palette
    whole = encode_mask(np.zeros((4, 4), np.uint8), LABELS)
    with pytest.raises(DatasetError):
        decode_mask(whole[:40], "mask.png")
    with pytest.raises(DatasetError, match="60000 x 60000 pixels, more than"):
        decode_mask(png(0, 8, [b"\0"], 60_000, height=60_000), "mask.png")


def test_a_color_of_no_class_is_named() -> None:
    with pytest.raises(DatasetError, match=r"mask\.png has the color \(1, 2, 3\), which is no class's"):
        ids_of_colors(np.full((1, 1, 3), (1, 2, 3), np.uint8), {(9, 9, 9): 0}, "mask.png")
