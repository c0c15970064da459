"""Message-shaped object <-> array.

Duck typed, so the messages of rclpy and of rosbags both fit: sensor_msgs/Image and CompressedImage, the
latter told by its field ``format``. Layout (step, byte order, sizes) is read and checked here; colors are
converted in color_conversion.py, and those with planes of their own for luma and chroma by OpenCV here.
"""

from __future__ import annotations

import array
from collections.abc import Iterable, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.errors import ImageMessageError
from m3l_core.pictures import MOST_PIXELS, decode_picture
from m3l_core.streaming.color_conversion import to_rgb
from m3l_core.streaming.compressed_depth import decode_compressed_depth

_BYTE: np.dtype[Any] = np.dtype(np.uint8)
_WORD: np.dtype[Any] = np.dtype(np.uint16)
_BAYER = tuple(f"bayer_{order}" for order in ("rggb", "bggr", "gbrg", "grbg"))
# Encoding -> (the 8-bit name every release of both converters knows, a value as it comes, values a pixel).
_PACKED: dict[str, tuple[str, np.dtype[Any], int]] = {
    "rgb8": ("rgb8", _BYTE, 3),
    "bgr8": ("bgr8", _BYTE, 3),
    "8UC3": ("bgr8", _BYTE, 3),  # cv_bridge's reading of the untyped encoding
    "rgba8": ("rgba8", _BYTE, 4),
    "bgra8": ("bgra8", _BYTE, 4),
    "mono8": ("mono8", _BYTE, 1),
    "8UC1": ("mono8", _BYTE, 1),
    "yuv422": ("yuv422", _BYTE, 2),
    "uyvy": ("yuv422", _BYTE, 2),
    "yuv422_yuy2": ("yuv422_yuy2", _BYTE, 2),
    "yuyv": ("yuv422_yuy2", _BYTE, 2),
    **{f"{order}8": (f"{order}8", _BYTE, 1) for order in _BAYER},
    **{f"{order}16": (f"{order}8", _WORD, 1) for order in _BAYER},
    **{f"{name}16": (f"{name}8", _WORD, len(name)) for name in ("rgb", "bgr", "rgba", "bgra")},
}
# Encoding with a plane of luma and below it one of chroma -> (OpenCV's conversion, pixels a chroma value, each way).
_PLANES = {
    "nv12": (cv2.COLOR_YUV2RGB_NV12, 2),
    "nv21": (cv2.COLOR_YUV2RGB_NV21, 2),
    "nv24": (cv2.COLOR_YUV2RGB_NV12, 1),
}
_COLOR = (*_PACKED, *_PLANES)
_DEPTH: dict[str, np.dtype[Any]] = {
    "16UC1": np.dtype(np.uint16),
    "mono16": np.dtype(np.uint16),
    "32FC1": np.dtype(np.float32),
}
_INTENSITY: dict[str, np.dtype[Any]] = {"mono8": _BYTE, "8UC1": _BYTE, "mono16": _WORD, "16UC1": _WORD}
# Of class ids, as those who label write them.
_LABEL = _INTENSITY | {"8SC1": np.dtype(np.int8), "16SC1": np.dtype(np.int16), "32SC1": np.dtype(np.int32)}
# Encoding -> (layout of a value, shape of a pixel).
_FILLED: dict[str, tuple[str, tuple[int, ...]]] = {
    "mono8": ("u1", ()),
    "rgb8": ("u1", (3,)),
    "16UC1": ("<u2", ()),
}


def decode_color(msg: Any, most_pixels: int = MOST_PIXELS) -> NDArray[np.uint8]:
    """Color image of an Image or a CompressedImage (jpeg or png).

    16 bits a channel become 8, as cv_bridge scales them.

    Args:
        msg: the message.
        most_pixels: that a compressed image may have.

    Returns:
        (H, W, 3) uint8 RGB; of rgb8 a view of the message's data, so do not write into it.

    Raises:
        ImageMessageError: not a color encoding, a layout that contradicts itself, truncated data, too large.
        MissingPackageError: yuv422 or bayer, and neither cv_bridge nor rosbags-image works here.
    """
    if hasattr(msg, "format"):
        _check_kind(msg.format, _DEPTH, "color")
        # A camera's pixel grid is that of its camera_info: no turning by the orientation tag.
        bgr = _decompress(msg, most_pixels, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION)
        if bgr.dtype != np.uint8:
            raise ImageMessageError(f"Color needs 8 bits a channel, '{msg.format}' has 16. Is it a depth topic?")
        return to_rgb(bgr, "bgr8")
    _check_kind(msg.encoding, _DEPTH, "color")
    _check_known(msg.encoding, _COLOR)
    if msg.encoding in _PLANES:
        return _from_planes(msg, *_PLANES[msg.encoding])
    encoding, dtype, channels = _PACKED[msg.encoding]
    if encoding.startswith("yuv422") and msg.width % 2:
        raise ImageMessageError(f"'{msg.encoding}' shares colors by pairs: width must be even, got {msg.width}.")
    if encoding.startswith("bayer") and min(msg.width, msg.height) < 3:  # OpenCV answers black
        raise ImageMessageError(f"'{msg.encoding}' needs 3 x 3 pixels or more, got {msg.width} x {msg.height}.")
    pixels = _pixels(msg, dtype, channels)
    if dtype == _WORD:
        pixels = cv2.convertScaleAbs(pixels.astype(_WORD), alpha=255 / 65535)
    return pixels if encoding == "rgb8" else to_rgb(pixels, encoding)


def decode_depth(msg: Any, most_pixels: int = MOST_PIXELS) -> NDArray[Any]:
    """Depth image of an Image or a CompressedImage (compressedDepth as png or RVL, 16-bit png, tiff).

    Args:
        msg: the message.
        most_pixels: that a compressed image may have.

    Returns:
        (H, W) uint16 millimetres, 0 = invalid (16UC1, mono16), or (H, W) float32 metres with NaN and Inf as
        they came (32FC1), per REP 118. A view of the message's data where byte order and alignment allow it.

    Raises:
        ImageMessageError: not a depth encoding, a layout that contradicts itself, truncated data, too large.
    """
    if hasattr(msg, "format"):
        _check_kind(msg.format, _COLOR, "depth")
        try:
            return decode_compressed_depth(_bytes(msg).tobytes(), msg.format, most_pixels)
        except ValueError as error:
            raise ImageMessageError(f"'{msg.format}': {error}") from error
    _check_kind(msg.encoding, _COLOR, "depth")
    return _one_channel(msg, _DEPTH)


def decode_intensity(msg: Any, most_pixels: int = MOST_PIXELS) -> NDArray[Any]:
    """Image of one channel, such as a thermal camera's, of an Image or a CompressedImage (jpeg or png).

    Args:
        msg: the message.
        most_pixels: that a compressed image may have.

    Returns:
        (H, W) uint8 (mono8, 8UC1) or uint16 (mono16, 16UC1), the values as they came.

    Raises:
        ImageMessageError: not an encoding of one channel, a layout that contradicts itself, truncated data, too large.
    """
    if hasattr(msg, "format"):
        pixels = _decompress(msg, most_pixels, cv2.IMREAD_UNCHANGED)
        if pixels.ndim != 2:
            raise ImageMessageError(f"'{msg.format}' has {pixels.shape[2]} channels, expected 1. Is it a color topic?")
        return pixels
    return _one_channel(msg, _INTENSITY)


def decode_label(msg: Any, most_pixels: int = MOST_PIXELS) -> NDArray[Any]:
    """Class ids of an Image with one channel of integers, or of a CompressedImage (png).

    Args:
        msg: the message.
        most_pixels: that a compressed image may have.

    Returns:
        (H, W) integers as they came.

    Raises:
        ImageMessageError: not such an encoding, a layout that contradicts itself, truncated data, too large.
    """
    if hasattr(msg, "format"):
        try:
            ids = decode_picture(_bytes(msg).tobytes(), cv2.IMREAD_UNCHANGED, ("png",), most_pixels)
        except ValueError as error:
            raise ImageMessageError(f"labels must be png, which changes no id; '{msg.format}': {error}") from error
        if ids.ndim != 2:
            raise ImageMessageError(f"labels must have one channel, '{msg.format}' has {ids.shape[2]}: is it colored?")
        return ids
    if msg.encoding not in _LABEL:
        raise ImageMessageError(f"labels must be one of {', '.join(_LABEL)}, got '{msg.encoding}'")
    return _pixels(msg, _LABEL[msg.encoding], 1)


def fill_image(msg: Any, image: NDArray[Any], *, encoding: str, frame_id: str, stamp_ns: int) -> None:
    """Fill an rclpy sensor_msgs/Image, unpadded and little endian.

    ``image`` is (H, W) uint8 for mono8, (H, W, 3) uint8 for rgb8, (H, W) uint16 for 16UC1; it is copied.

    Raises:
        ImageMessageError: encoding, shape and dtype do not fit each other.
    """
    _check_known(encoding, _FILLED)
    layout, channels = _FILLED[encoding]
    dtype = np.dtype(layout)
    if image.ndim != 2 + len(channels) or image.shape[2:] != channels or not image.size:
        raise ImageMessageError(f"'{encoding}' needs shape (H, W{', 3' * len(channels)}), got {image.shape}.")
    if image.dtype.newbyteorder("<") != dtype:
        raise ImageMessageError(f"'{encoding}' needs dtype {dtype.name}, got {image.dtype.name}.")
    packed = np.ascontiguousarray(image, dtype)
    # rclpy takes an array.array as it is and copies anything else element by element: 20 ms for 640 x 480.
    data = array.array("B")
    data.frombytes(packed.view(np.uint8).data)
    msg.height, msg.width = image.shape[:2]
    msg.encoding, msg.is_bigendian, msg.step, msg.data = encoding, 0, packed.nbytes // image.shape[0], data
    msg.header.frame_id = frame_id
    set_stamp(msg.header.stamp, stamp_ns)


def stamp_to_ns(stamp: Any) -> int:
    """builtin_interfaces/Time (sec, nanosec) -> nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def set_stamp(stamp: Any, stamp_ns: int) -> None:
    """Nanoseconds -> builtin_interfaces/Time (sec, nanosec)."""
    stamp.sec, stamp.nanosec = divmod(stamp_ns, 1_000_000_000)


def _pixels(msg: Any, dtype: np.dtype[Any], channels: int) -> NDArray[Any]:
    """View (H, W) or (H, W, C) of a raw image, in the byte order of the message."""
    height, width, step = int(msg.height), int(msg.width), int(msg.step)
    data = _rows(msg, width * channels * dtype.itemsize, height)
    shape, strides = (height, width, channels), (step, channels * dtype.itemsize, dtype.itemsize)
    view: NDArray[Any] = np.ndarray(shape, dtype.newbyteorder(">" if msg.is_bigendian else "<"), data, 0, strides)
    return view[:, :, 0] if channels == 1 else view


def _one_channel(msg: Any, known: Mapping[str, np.dtype[Any]]) -> NDArray[Any]:
    """(H, W) of an Image with one channel, in native byte order; ``known`` has the dtype of each encoding."""
    _check_known(msg.encoding, known)
    return _native(_pixels(msg, known[msg.encoding], 1), known[msg.encoding])


def _native(pixels: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    # An unaligned view costs every later step, and torch refuses it.
    return pixels if pixels.dtype.isnative and pixels.flags.aligned else pixels.astype(dtype)


def _from_planes(msg: Any, conversion: int, share: int) -> NDArray[np.uint8]:
    """(H, W, 3) RGB of luma and, below it, pairs of chroma values that are for ``share`` x ``share`` pixels each."""
    height, width, step = int(msg.height), int(msg.width), int(msg.step)
    if height % share or width % share:
        raise ImageMessageError(
            f"'{msg.encoding}' shares colors by squares: sides must be even, not {width} x {height}."
        )
    data = _rows(msg, width, height + 2 * height // share**2)
    luma = np.ndarray((height, width), np.uint8, data, 0, (step, 1))
    chroma_step = 2 * step // share
    chroma = np.ndarray((height // share, 2 * width // share), np.uint8, data, height * step, (chroma_step, 1))
    if share == 1:  # OpenCV knows chroma of 2 x 2 pixels only, so each pixel becomes so many
        luma = luma.repeat(2, axis=0).repeat(2, axis=1)
    rgb = cv2.cvtColor(np.vstack((luma, chroma)), conversion)
    return np.ascontiguousarray(rgb[::2, ::2] if share == 1 else rgb, np.uint8)


def _rows(msg: Any, row: int, num_rows: int) -> NDArray[np.uint8]:
    """The data of a raw image whose rows hold ``row`` bytes and are ``msg.step`` apart."""
    step = int(msg.step)
    what = f"Image '{msg.encoding}' of {msg.width} x {msg.height}"  # as people say it: width first
    if msg.width <= 0 or msg.height <= 0:
        raise ImageMessageError(f"{what} is empty. Look at the driver that publishes it.")
    if step < row:
        raise ImageMessageError(f"{what} needs a step of {row} bytes or more, got {step}. The driver must set it.")
    data = _bytes(msg)
    if not data.size:
        raise ImageMessageError(f"{what} is empty, it has no data. Look at the driver that publishes it.")
    if data.size < num_rows * step:
        raise ImageMessageError(
            f"{what} with step {step} needs {num_rows * step} bytes of data, got {data.size}. "
            "The driver cut the message short, or its height or step is wrong."
        )
    return data


def _bytes(msg: Any) -> NDArray[np.uint8]:
    try:
        return np.frombuffer(msg.data, np.uint8) if len(msg.data) else np.zeros(0, np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        came = type(msg.data).__name__
        raise ImageMessageError(f"Image data must be bytes, array.array('B') or uint8, got {came}.") from error


def _decompress(msg: Any, most_pixels: int, flags: int) -> NDArray[Any]:
    """The picture of a jpeg or png, as OpenCV's ``flags`` say."""
    try:
        return decode_picture(_bytes(msg).tobytes(), flags, most_pixels=most_pixels)
    except ValueError as error:
        raise ImageMessageError(f"'{msg.format}': {error}") from error


def _encoding_of(name: str) -> str:
    """'16UC1; compressedDepth png' -> '16UC1'."""
    return name.split(";")[0].strip()


def _check_kind(name: str, other_kind: Iterable[str], wanted: str) -> None:
    if _encoding_of(name) in other_kind or (wanted == "color" and "compressedDepth" in name):
        raise ImageMessageError(f"'{name}' is not a {wanted} image. Remap the {wanted} input to a {wanted} topic.")


def _check_known(encoding: str, known: Iterable[str]) -> None:
    if encoding not in known:
        raise ImageMessageError(
            f"Encoding '{encoding}' is not supported, expected one of: {', '.join(known)}. "
            "Let the driver publish one of these."
        )
