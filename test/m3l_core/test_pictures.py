"""Kind and size are read from a picture's first bytes, and what is too large is refused before it is decoded."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3l_core.pictures import MOST_PIXELS, decode_picture, kind_of_picture, read_picture, size_of_picture

PIXELS = np.random.default_rng(5).integers(0, 256, (21, 34, 3)).astype(np.uint8)
ANY = cv2.IMREAD_UNCHANGED


def encoded(suffix: str, *parameters: int) -> bytes:
    return bytes(cv2.imencode(suffix, PIXELS, parameters)[1].tobytes())


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int) -> bytes:
    """Black, and very well compressed."""
    packer = zlib.compressobj(9)
    row = b"\0" * (1 + width)
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


KINDS = [
    ("png", encoded(".png")),
    ("jpeg", encoded(".jpg")),
    ("jpeg", encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
    ("jpeg", encoded(".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 1)),
    ("tiff", encoded(".tiff")),
]


@pytest.mark.parametrize(("kind", "content"), KINDS)
def test_size_is_told_before_it_is_decoded(tmp_path: Path, kind: str, content: bytes) -> None:
    assert kind_of_picture(content) == kind
    assert decode_picture(content, ANY, ("png", "jpeg", "tiff"), 21 * 34).shape == PIXELS.shape
    with pytest.raises(ValueError, match=f"a {kind} of 34 x 21 pixels, more than the 713"):
        decode_picture(content, ANY, ("png", "jpeg", "tiff"), 21 * 34 - 1)
    (tmp_path / "picture").write_bytes(content)
    assert read_picture(tmp_path / "picture", ANY, 21 * 34).shape == PIXELS.shape
    with pytest.raises(ValueError, match="34 x 21 pixels"):
        read_picture(tmp_path / "picture", ANY, 21 * 34 - 1)


def test_a_small_file_of_many_pixels_takes_no_memory(tmp_path: Path) -> None:
    content = png_of(9000, 9000)
    assert len(content) < 100_000
    (tmp_path / "bomb.png").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"9000 x 9000 pixels, more than the {MOST_PIXELS}"):
            read_picture(tmp_path / "bomb.png", ANY)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("kind", "content"), KINDS[:4])
@pytest.mark.parametrize("stale", [b"\0" * 99, encoded(".jpg"), encoded(".png")[8:], b"\xff\xd9"])
def test_bytes_after_the_end_do_not_matter(kind: str, content: bytes, stale: bytes) -> None:
    np.testing.assert_array_equal(decode_picture(content + stale, ANY), decode_picture(content, ANY))


def test_the_end_of_a_thumbnail_is_not_that_of_the_picture() -> None:
    content = encoded(".jpg")
    thumbnail = encoded(".jpg")[:300] + b"\xff\xd9"
    with_thumbnail = content[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(thumbnail)) + thumbnail + content[2:]
    assert decode_picture(with_thumbnail, ANY).shape == PIXELS.shape
    with pytest.raises(ValueError, match="jpeg truncated"):
        decode_picture(with_thumbnail[:-100], ANY)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(KINDS), st.integers(0, 200), st.binary(max_size=9), st.integers(0, 400))
def test_damage_gives_a_picture_or_an_error_of_ours(
    picture: tuple[str, bytes], place: int, damage: bytes, cut: int
) -> None:
    content = bytearray(picture[1])
    content[place : place + len(damage)] = damage
    try:
        decode_picture(bytes(content[: len(content) - cut]), ANY, ("png", "jpeg", "tiff"))
    except ValueError as error:
        assert len(str(error)) > 15


@pytest.mark.parametrize("content", [b"", b"GIF89a" + b"\0" * 50, b"P6\n9 9\n255\n" + b"\0" * 243, b"II*\0"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "picture.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"expected a jpeg, png or tiff|its size cannot be read"):
        read_picture(tmp_path / "picture.png", ANY)


def test_a_file_of_too_many_bytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="1099511627776 bytes"):
        read_picture(tmp_path / "huge.png", ANY)


def test_no_memory_is_taken_for_what_a_png_says_to_have() -> None:
    content = bytearray(encoded(".png"))
    content[33:37] = b"\xff\xff\xff\xf0"  # the length of its first part after the header
    with pytest.raises(ValueError, match="is said to be longer"):
        decode_picture(bytes(content), ANY)


@pytest.mark.parametrize("alone", [b"\xff\x01", b"\xff\xd0", b"\xff\xd7"])
def test_a_jpeg_has_the_size_that_decoders_find(alone: bytes) -> None:
    # Whoever takes what follows a marker without a length for its length finds the small frame in the comment.
    length = 0xFFFE
    small = struct.pack(">HHBHHB", 0xFFC0, 17, 8, 3, 4, 3) + bytes(9)
    comment = (b"\xff\xfe\xff\xff" + bytes(length - 4) + small)[: 2 + 0xFFFF].ljust(2 + 0xFFFF, b"\0")
    whole = encoded(".jpg")
    content = whole[:2] + alone + comment + whole[2:]
    assert size_of_picture(content) == PIXELS.shape[:2]
    assert decode_picture(content, ANY).shape == PIXELS.shape
