"""Class ids as png images with a palette, which people can look at, and back from any png.

OpenCV reads and writes gray values. A png with a palette (PNG specification, 11.2.2: color type 3) stores its indexes
in the same way as gray values, so the two differ in the header and the palette alone.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.errors import DatasetError
from m3l_core.labels import LabelSet
from m3l_core.pictures import decode_picture, kind_of_picture, size_of_picture

Color = tuple[int, int, int]
UNLABELLED: Color = (0, 0, 0)
"""Of pixels without a class, in every format that has colors."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GRAY, _PALETTE = 0, 3


@dataclass(frozen=True, slots=True)
class MaskImage:
    """A png as it may be understood: by its values, by its colors or, with a palette, by both."""

    values: NDArray[np.uint8] | None
    """(H, W) gray values or palette indexes."""
    colors: NDArray[np.uint8] | None
    """(H, W, 3) RGB."""


def voc_colors(count: int = 256) -> NDArray[np.uint8]:
    """(count, 3) RGB of Pascal VOC's colormap: the bits of the id, dealt out to red, green and blue, highest first."""
    ids = np.arange(count)
    colors = np.zeros((count, 3), np.uint8)
    for step in range(8):
        for channel in range(3):
            colors[:, channel] |= (((ids >> (3 * step + channel)) & 1) << (7 - step)).astype(np.uint8)
    return colors


def class_colors(labels: LabelSet) -> list[Color]:
    """RGB of each class: its own, or another where that is black or taken, so that a color tells the class."""
    wanted = [entry.color for entry in labels.classes]
    spare = (color for color in map(_as_color, voc_colors()) if color not in wanted and color != UNLABELLED)
    chosen: list[Color] = []
    for color in wanted:
        chosen.append(next(spare) if color == UNLABELLED or color in chosen else color)
    return chosen


def encode_mask(ids: NDArray[np.uint8], labels: LabelSet) -> bytes:
    """(H, W) class ids, 255 = unlabelled -> png of those values, with the classes' colors as its palette."""
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(labels)] = class_colors(labels)
    encoded = cv2.imencode(".png", ids)[1].tobytes()
    chunks = [_SIGNATURE]
    for kind, data in _chunks(encoded):
        if kind == b"IHDR":
            chunks += [_chunk(kind, data[:9] + bytes([_PALETTE]) + data[10:]), _chunk(b"PLTE", palette.tobytes())]
        else:
            chunks.append(_chunk(kind, data))
    return b"".join(chunks)


def decode_mask(content: bytes, origin: str) -> MaskImage:
    """Read a png of class ids.

    Raises:
        DatasetError: it is no png, or has more than 8 bits and needs them.
    """
    try:
        chunks = list(_chunks(content))
        header = dict(chunks)[b"IHDR"]
        depth, kind = header[8], header[9]
        palette = np.zeros((256, 3), np.uint8)
        if kind == _PALETTE:
            stored = np.frombuffer(dict(chunks)[b"PLTE"], np.uint8).reshape(-1, 3)
            palette[: len(stored)] = stored
            gray_header = header[:9] + bytes([_GRAY]) + header[10:]
            pixels = [_chunk(name, data) for name, data in chunks if name in (b"IDAT", b"IEND")]
            content = b"".join([_SIGNATURE, _chunk(b"IHDR", gray_header), *pixels])
    except (struct.error, LookupError, ValueError) as error:
        raise DatasetError(f"{origin} is not a png image") from error
    try:
        image = decode_picture(content, cv2.IMREAD_UNCHANGED, ("png",))
    except ValueError as error:
        raise DatasetError(f"{origin} cannot be read: {error}") from error
    if image.max(initial=0) > 255:
        raise DatasetError(f"{origin} has the value {image.max()}: expected a png image with 8 bits a channel")
    image = image.astype(np.uint8)
    if kind in (_GRAY, _PALETTE):
        step = 255 // (2**depth - 1) if depth < 8 else 1  # OpenCV spreads fewer bits over 0..255
        values = (image // step).astype(np.uint8)
        return MaskImage(values, palette[values] if kind == _PALETTE else None)
    to_rgb = {2: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB}
    code = to_rgb.get(image.ndim if image.ndim == 2 else image.shape[2], cv2.COLOR_BGRA2RGB)
    return MaskImage(None, cv2.cvtColor(image, code).astype(np.uint8))


def mask_size(content: bytes, origin: str) -> tuple[int, int]:
    """(H, W) that a png says it has.

    Raises:
        DatasetError: it is no png.
    """
    try:
        if kind_of_picture(content) != "png":
            raise ValueError("it begins as none")
        return size_of_picture(content)
    except ValueError as error:
        raise DatasetError(f"{origin} is not a png image: {error}") from error


def ids_of_colors(colors: NDArray[np.uint8], known: Mapping[Color, int], origin: str) -> NDArray[np.uint8]:
    """(H, W, 3) RGB -> (H, W) ids.

    Raises:
        DatasetError: a color is not among ``known``.
    """
    found, places = _distinct(colors)
    if unknown := [color for color in found if color not in known]:
        raise DatasetError(
            f"{origin} has the color {unknown[0]}, which is no class's: expected {', '.join(map(str, known))}"
        )
    return np.array([known[color] for color in found], np.uint8)[places].reshape(colors.shape[:2])


def has_only_colors(colors: NDArray[np.uint8], known: Mapping[Color, int]) -> bool:
    """Whether every pixel of (H, W, 3) RGB has one of the colors."""
    return all(color in known for color in _distinct(colors)[0])


def _distinct(colors: NDArray[np.uint8]) -> tuple[list[Color], NDArray[np.intp]]:
    found, places = np.unique(colors.reshape(-1, 3).astype(np.uint32) @ (1 << 16, 1 << 8, 1), return_inverse=True)
    return [(int(code) >> 16, int(code) >> 8 & 255, int(code) & 255) for code in found], places


def _as_color(row: NDArray[np.uint8]) -> Color:
    red, green, blue = row.tolist()
    return red, green, blue


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, data) of every chunk; the checksums are not looked at."""
    position = len(_SIGNATURE)
    while position < len(png):
        length, kind = struct.unpack_from(">I4s", png, position)
        yield kind, png[position + 8 : position + 8 + length]
        position += 12 + length


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
