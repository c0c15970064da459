"""Depth images as a CompressedImage carries them.

compressed_depth_image_transport writes 12 bytes before the picture and names the encoding and its codec in ``format``
("16UC1; compressedDepth png"), with and without the codec's name; compressed_image_transport writes a bare png or tiff
("16UC1; png compressed "), and so do many recorders, which call it what they like ("png"). So the bytes decide.
"""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.pictures import MOST_PIXELS, decode_picture, kind_of_picture
from m3l_core.streaming.rvl import decode_rvl

_HEADER = struct.Struct("<iff")
"""Format, then a and b: a number n of the picture is a depth of a / (n - b) [m] where the encoding is 32FC1."""
_RVL_SIZE = struct.Struct("<ii")
"""Columns and rows, between the header and the body."""
_METRES, _MILLIMETRES = "32FC1", ("16UC1", "mono16")
_METRES_IN = ("tiff",)
_MILLIMETRES_IN = ("png", "tiff", "jpeg")  # a jpeg is told by what it does to depth
_ADVICE = "use the compressedDepth transport, or the raw topic: jpeg and 8 bits destroy depth"


def decode_compressed_depth(data: bytes, format: str, most_pixels: int = MOST_PIXELS) -> NDArray[Any]:
    """Decode a depth image.

    Args:
        data: of the message.
        format: of the message.
        most_pixels: that the image may have.

    Returns:
        (H, W) uint16 [mm], 0 = invalid; of 32FC1 (H, W) float32 [m], NaN = invalid.

    Raises:
        ValueError: there is no depth image in it, or it is cut off, damaged or too large; the text goes on after the
            name of the message.
    """
    encoding = format.split(";")[0].strip()
    is_wrapped = "compresseddepth" in format.lower() and kind_of_picture(data) is None
    if not is_wrapped:
        return _bare(data, encoding == _METRES, most_pixels)
    if not data:
        raise ValueError("it is empty, 0 bytes: does the driver have an image yet, or did its encoder fail?")
    if len(data) <= _HEADER.size:
        raise ValueError(f"truncated, its {len(data)} bytes end with the header. Is data lost on the way?")
    picture = data[_HEADER.size :]
    stored = _rvl(picture, most_pixels) if "rvl" in format.lower() else _stored(picture, most_pixels)
    _, a, b = _HEADER.unpack_from(data)
    is_quantized = bool(np.isfinite((a, b)).all()) and a > 0 and b < 1  # of millimetres both are 0
    if encoding == _METRES and not is_quantized:
        raise ValueError(f"its header has the depth parameters {a} and {b}, expected a above 0 and b below 1")
    if encoding == _METRES or (is_quantized and encoding not in _MILLIMETRES):
        return _metres(stored, a, b)
    return stored


def _bare(data: bytes, is_metres: bool, most_pixels: int) -> NDArray[Any]:
    if not is_metres:
        return _stored(data, most_pixels)
    if data and kind_of_picture(data) != "tiff":
        raise ValueError(f"metres as {_METRES} are not stored in a bare png or jpeg: {_ADVICE}")
    depth = decode_picture(data, cv2.IMREAD_UNCHANGED, _METRES_IN, most_pixels)
    if depth.ndim != 2 or depth.dtype != np.float32:
        raise ValueError(f"expected one channel of 32-bit metres, got {depth.dtype.name} {depth.shape}: {_ADVICE}")
    return depth


def _stored(picture: bytes, most_pixels: int) -> NDArray[np.uint16]:
    pixels = decode_picture(picture, cv2.IMREAD_UNCHANGED, _MILLIMETRES_IN, most_pixels)
    if pixels.ndim != 2 or pixels.dtype != np.uint16:
        raise ValueError(f"depth must be one 16-bit channel, got {pixels.dtype.name} {pixels.shape}: {_ADVICE}")
    return pixels


def _rvl(picture: bytes, most_pixels: int) -> NDArray[np.uint16]:
    if len(picture) < _RVL_SIZE.size:
        raise ValueError(f"rvl truncated, {len(picture)} bytes after the header. Is data lost on the way?")
    width, height = _RVL_SIZE.unpack_from(picture)
    if width <= 0 or height <= 0 or width * height > most_pixels:
        raise ValueError(f"corrupt rvl, it says {width} x {height} pixels, expected 1 to {most_pixels} in all")
    try:
        return decode_rvl(np.frombuffer(picture, np.uint8, offset=_RVL_SIZE.size), height, width)
    except ValueError as error:
        raise ValueError(f"corrupt rvl of {width} x {height} pixels in {len(picture)} bytes: {error}") from error


def _metres(stored: NDArray[np.uint16], a: float, b: float) -> NDArray[np.float32]:
    """Quantized inverse depth, 0 = invalid, to metres."""
    depth = stored.astype(np.float32)
    depth -= np.float32(b)
    with np.errstate(divide="ignore"):
        np.divide(np.float32(a), depth, out=depth)
    depth[stored == 0] = np.nan
    return depth
