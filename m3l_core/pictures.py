"""Encoded pictures, as they travel and lie on disk: kind and size are read from their bytes before memory is taken."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.files import regular_size

Kind = Literal["jpeg", "png", "tiff"]
MOST_PIXELS = 64_000_000
"""Of a picture, where nobody says otherwise: 250 kB of png can hold a billion."""
_MOST_BYTES = 1 << 30
"""Of a file: a picture of the most pixels, uncompressed."""
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_JPEG, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_TIFF = {b"II*\0": "<", b"MM\0*": ">"}
_START_OF_SCAN = 0xDA
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_VALUES = {3: "H", 4: "I"}


def kind_of_picture(content: bytes) -> Kind | None:
    """What the first bytes say."""
    if content.startswith(_PNG):
        return "png"
    if content.startswith(_JPEG):
        return "jpeg"
    return "tiff" if content[:4] in _TIFF else None


def decode_picture(
    content: bytes, flags: int, kinds: Collection[str] = ("jpeg", "png"), most_pixels: int = MOST_PIXELS
) -> NDArray[Any]:
    """Decode a picture that came as a message; bytes after its end do not matter.

    Args:
        content: the encoded picture.
        flags: OpenCV's ``IMREAD_...``.
        kinds: that are expected.
        most_pixels: that are taken.

    Returns:
        (H, W) or (H, W, C) as OpenCV orders the channels.

    Raises:
        ValueError: there is nothing, it is of another kind, cut off, damaged or too large; the text says which, and
            goes on after the name of the picture. Damage inside a jpeg whose end is in place goes unnoticed.
    """
    if not content:
        raise ValueError("it is empty, 0 bytes: does the driver have an image yet, or did its encoder fail?")
    kind = kind_of_picture(content)
    if kind is None or kind not in kinds:
        raise ValueError(f"must hold a {' or '.join(kinds)}, its {len(content)} bytes begin with {content[:8]!r}")
    if not _has_end(content, kind):
        raise ValueError(f"{kind} truncated, no end after {len(content)} bytes. Is data lost on the way?")
    return _decode(content, flags, most_pixels)


def read_picture(path: Path, flags: int, most_pixels: int = MOST_PIXELS) -> NDArray[Any]:
    """Decode a file: jpeg, png or tiff.

    Returns:
        (H, W) or (H, W, C) as OpenCV orders the channels.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such picture, damaged or too large.
    """
    return _decode(picture_bytes(path), flags, most_pixels)


def picture_bytes(path: Path) -> bytes:
    """Content of a file that holds a picture.

    Raises:
        OSError: it cannot be read.
        ValueError: it is larger than any picture.
    """
    if (size := regular_size(path)) > _MOST_BYTES:
        raise ValueError(f"it has {size} bytes, expected {_MOST_BYTES} at most")
    return path.read_bytes()


def size_of_picture(content: bytes) -> tuple[int, int]:
    """(H, W) that a picture says it has; nothing is decoded.

    Raises:
        ValueError: it is no jpeg, png or tiff, or does not tell.
    """
    kind = kind_of_picture(content)
    if kind is None:
        raise ValueError(f"expected a jpeg, png or tiff, its {len(content)} bytes begin with {content[:8]!r}")
    try:
        width, height = _SIZES[kind](content)
    except (struct.error, LookupError, StopIteration) as error:
        raise ValueError(f"corrupt {kind}, its size cannot be read") from error
    return height, width


def _decode(content: bytes, flags: int, most_pixels: int) -> NDArray[Any]:
    (height, width), kind = size_of_picture(content), kind_of_picture(content)
    if width * height > most_pixels:
        raise ValueError(f"it is a {kind} of {width} x {height} pixels, more than the {most_pixels} that are taken")
    if kind == "png" and not _has_its_chunks(content):
        raise ValueError(f"corrupt png, a part of it is said to be longer than its {len(content)} bytes")
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise ValueError(f"corrupt {kind}, OpenCV says: {error}") from error
    if pixels is None:
        raise ValueError(f"corrupt {kind}, its {len(content)} bytes cannot be decoded")
    if pixels.shape[:2] != (height, width):
        raise ValueError(f"corrupt {kind}, it says {width} x {height} pixels and has others")
    return pixels


def _has_its_chunks(png: bytes) -> bool:
    """Whether all that a png says to have is there: OpenCV takes memory for it before it looks."""
    place = len(_PNG)
    while place + 8 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, place)
        place += 12 + length
        if kind == b"IEND":
            break
    return place <= len(png)


def _has_end(content: bytes, kind: Kind) -> bool:
    if kind == "jpeg":
        # Stale bytes may follow, zeros or the rest of an earlier picture. Coded data has no such marker within, and the
        # thumbnail that a camera adds lies before the scan.
        scan = next((place for marker, place in _jpeg_segments(content) if marker == _START_OF_SCAN), 0)
        return content.find(_JPEG_END, scan) >= 0
    return kind != "png" or content.find(_PNG_END) >= 0


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, int]]:
    """Marker and where its length stands, up to the first scan."""
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xFF:  # fill bytes may stand before a marker
            place += 1
            continue
        if marker in _WITHOUT_LENGTH:  # a decoder goes on behind it, so another size must not be found elsewhere
            place += 2
            continue
        if marker == 0:  # no marker
            return
        yield marker, place + 2
        if marker == _START_OF_SCAN:
            return
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")


def _jpeg_size(content: bytes) -> tuple[int, int]:
    place = next(place for marker, place in _jpeg_segments(content) if marker in _START_OF_FRAME)
    height, width = struct.unpack_from(">HH", content, place + 3)
    return width, height


def _png_size(content: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", content, len(_PNG) + 8)
    return width, height


def _tiff_size(content: bytes) -> tuple[int, int]:
    order = _TIFF[content[:4]]
    (directory,) = struct.unpack_from(f"{order}I", content, 4)
    (count,) = struct.unpack_from(f"{order}H", content, directory)
    found = {}
    for number in range(count):
        place = directory + 2 + 12 * number
        tag, kind = struct.unpack_from(f"{order}HH", content, place)
        if tag in (_TIFF_WIDTH, _TIFF_HEIGHT):
            (found[tag],) = struct.unpack_from(f"{order}{_TIFF_VALUES[kind]}", content, place + 8)
    return found[_TIFF_WIDTH], found[_TIFF_HEIGHT]


_SIZES = {"jpeg": _jpeg_size, "png": _png_size, "tiff": _tiff_size}
