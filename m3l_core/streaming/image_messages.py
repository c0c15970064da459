"""Message-shaped object <-> array.

Duck typed, so the messages of rclpy and of rosbags both fit: sensor_msgs/Image and CompressedImage, the
latter told by its field ``format``. Layout (step, byte order, sizes) is read and checked here; colors are
converted by cv_bridge or rosbags-image, which know the encodings but trust the message.
"""

from __future__ import annotations

import array
import functools
import importlib
import logging
import struct
import sys
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.errors import ImageMessageError, MissingPackageError

_log = logging.getLogger(__name__)

# Encoding -> (the name every release of both converters knows, bytes a pixel).
_COLOR = {
    "rgb8": ("rgb8", 3),
    "bgr8": ("bgr8", 3),
    "8UC3": ("bgr8", 3),  # cv_bridge's reading of the untyped encoding
    "rgba8": ("rgba8", 4),
    "bgra8": ("bgra8", 4),
    "mono8": ("mono8", 1),
    "8UC1": ("mono8", 1),
    "yuv422": ("yuv422", 2),
    "uyvy": ("yuv422", 2),
    "yuv422_yuy2": ("yuv422_yuy2", 2),
    "yuyv": ("yuv422_yuy2", 2),
    **{f"bayer_{order}8": (f"bayer_{order}8", 1) for order in ("rggb", "bggr", "gbrg", "grbg")},
}
_DEPTH: dict[str, np.dtype[Any]] = {
    "16UC1": np.dtype(np.uint16),
    "mono16": np.dtype(np.uint16),
    "32FC1": np.dtype(np.float32),
}
# Encoding -> (layout of a value, shape of a pixel).
_FILLED: dict[str, tuple[str, tuple[int, ...]]] = {
    "mono8": ("u1", ()),
    "rgb8": ("u1", (3,)),
    "16UC1": ("<u2", ()),
}
_PNG = b"\x89PNG\r\n\x1a\n"
_DEPTH_HEADER = struct.Struct("<iff")  # compressed_depth_image_transport: format, then a and b


def decode_color(msg: Any) -> NDArray[np.uint8]:
    """Color image of an Image or a CompressedImage (jpeg or png).

    Returns:
        (H, W, 3) uint8 RGB; of rgb8 a view of the message's data, so do not write into it.

    Raises:
        ImageMessageError: not a color encoding, a layout that contradicts itself, truncated data.
        MissingPackageError: neither cv_bridge nor rosbags-image works here.
    """
    if hasattr(msg, "format"):
        _check_kind(msg.format, _DEPTH, "color")
        # A camera's pixel grid is that of its camera_info: no turning by the orientation tag.
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
        bgr = _decompress(_bytes(msg), msg.format, flags)
        if bgr.dtype != np.uint8:
            raise ImageMessageError(f"Color needs 8 bits a channel, '{msg.format}' has 16. Is it a depth topic?")
        return _convert(bgr, "bgr8")
    _check_kind(msg.encoding, _DEPTH, "color")
    _check_known(msg.encoding, _COLOR)
    encoding, channels = _COLOR[msg.encoding]
    if encoding.startswith("yuv422") and msg.width % 2:
        raise ImageMessageError(f"'{msg.encoding}' shares colors by pairs: width must be even, got {msg.width}.")
    if encoding.startswith("bayer") and min(msg.width, msg.height) < 3:  # OpenCV answers black
        raise ImageMessageError(f"'{msg.encoding}' needs 3 x 3 pixels or more, got {msg.width} x {msg.height}.")
    pixels = _pixels(msg, np.dtype(np.uint8), channels)
    return pixels if encoding == "rgb8" else _convert(pixels, encoding)


def decode_depth(msg: Any) -> NDArray[Any]:
    """Depth image of an Image or a CompressedImage (16-bit png, compressedDepth png).

    Returns:
        (H, W) uint16 millimetres, 0 = invalid (16UC1, mono16), or (H, W) float32 metres with NaN and Inf as
        they came (32FC1), per REP 118. A view of the message's data where byte order and alignment allow it.

    Raises:
        ImageMessageError: not a depth encoding, a layout that contradicts itself, truncated data, RVL.
    """
    if hasattr(msg, "format"):
        return _decode_compressed_depth(msg)
    _check_kind(msg.encoding, _COLOR, "depth")
    _check_known(msg.encoding, _DEPTH)
    depth = _pixels(msg, _DEPTH[msg.encoding], 1)
    # An unaligned view costs every later step, and torch refuses it.
    return depth if depth.dtype.isnative and depth.flags.aligned else depth.astype(_DEPTH[msg.encoding])


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
    row = width * channels * dtype.itemsize
    what = f"Image '{msg.encoding}' of {width} x {height}"  # as people say it: width first
    if width <= 0 or height <= 0:
        raise ImageMessageError(f"{what} is empty. Look at the driver that publishes it.")
    if step < row:
        raise ImageMessageError(f"{what} needs a step of {row} bytes or more, got {step}. The driver must set it.")
    data = _bytes(msg)
    if data.size < height * step:
        raise ImageMessageError(
            f"{what} with step {step} needs {height * step} bytes of data, got {data.size}. "
            "The driver cut the message short, or its height or step is wrong."
        )
    shape, strides = (height, width, channels), (step, channels * dtype.itemsize, dtype.itemsize)
    view: NDArray[Any] = np.ndarray(shape, dtype.newbyteorder(">" if msg.is_bigendian else "<"), data, 0, strides)
    return view[:, :, 0] if channels == 1 else view


def _bytes(msg: Any) -> NDArray[np.uint8]:
    try:
        return np.frombuffer(msg.data, np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        came = type(msg.data).__name__
        raise ImageMessageError(f"Image data must be bytes, array.array('B') or uint8, got {came}.") from error


def _decompress(data: NDArray[np.uint8], name: str, flags: int) -> NDArray[Any]:
    """Decode to (H, W) or (H, W, 3) BGR. Damage inside a jpeg whose end is in place goes unnoticed."""
    head, tail = data[:8].tobytes(), data.tobytes().rstrip(b"\0")[-64:]  # some cameras pad with zeros
    if head != _PNG and not head.startswith(b"\xff\xd8"):
        raise ImageMessageError(f"'{name}' must hold a jpeg or png, its {data.size} bytes begin with {head!r}.")
    kind, end = ("png", b"IEND") if head == _PNG else ("jpeg", b"\xff\xd9")
    if end not in tail:
        raise ImageMessageError(f"'{name}': {kind} truncated, no end after {data.size} bytes. Is data lost on the way?")
    try:
        image = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise ImageMessageError(f"'{name}': corrupt {kind}, OpenCV says: {error}") from error
    if image is None:
        raise ImageMessageError(f"'{name}': corrupt {kind}, its {data.size} bytes cannot be decoded.")
    return image


def _decode_compressed_depth(msg: Any) -> NDArray[Any]:
    """16-bit png, bare or behind the header of compressed_depth_image_transport."""
    data, encoding, wrapped = _bytes(msg), _encoding_of(msg.format), "compressedDepth" in msg.format
    _check_kind(msg.format, _COLOR, "depth")
    _check_known(encoding, _DEPTH if wrapped else ("16UC1", "mono16", "png"))
    header, data = np.split(data, [_DEPTH_HEADER.size if wrapped else 0])
    if wrapped and ("rvl" in msg.format or data[:8].tobytes() != _PNG):
        raise ImageMessageError(
            f"'{msg.format}' has no png behind its header; RVL is not supported. Set the publisher's "
            "'<depth topic, dots for slashes>.compressedDepth.format' to 'png', or use the raw topic."
        )
    png = _decompress(data, msg.format, cv2.IMREAD_UNCHANGED)
    if png.ndim != 2 or png.dtype != np.uint16:
        raise ImageMessageError(
            f"Depth in '{msg.format}' must be a png of one 16-bit channel, got {png.dtype.name} {png.shape}. "
            "Use the compressedDepth transport: jpeg and 8 bits destroy depth."
        )
    if encoding != "32FC1":
        return png
    _, a, b = _DEPTH_HEADER.unpack(header.tobytes())
    with np.errstate(divide="ignore"):
        depth: NDArray[np.float32] = np.float32(a) / (png.astype(np.float32) - np.float32(b))
    depth[png == 0] = np.nan
    return depth


def _convert(pixels: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    """(H, W) or (H, W, C) uint8 in a ROS encoding -> (H, W, 3) RGB."""
    return _converter()(_packed(pixels, encoding), "rgb8")


def _packed(pixels: NDArray[np.uint8], encoding: str) -> SimpleNamespace:
    """Unpadded native message, the one layout that every converter reads right."""
    data, big = np.ascontiguousarray(pixels), int(sys.byteorder == "big")
    # Not strides[0]: the stride of a single row may be anything, numpy calls it contiguous all the same.
    size = {"height": data.shape[0], "width": data.shape[1], "step": data.nbytes // data.shape[0]}
    return SimpleNamespace(**size, encoding=encoding, is_bigendian=big, data=data)


@functools.cache
def _converter() -> Callable[[Any, str], NDArray[np.uint8]]:
    """The first converter that works: cv_bridge comes with ROS, but may lack its compiled part."""
    # A cv_bridge built for NumPy 1 imports under NumPy 2 and then kills the process: there it comes last.
    numpy_2 = int(np.__version__.split(".")[0]) >= 2
    failures = []
    for name in ("rosbags.image", "cv_bridge") if numpy_2 else ("cv_bridge", "rosbags.image"):
        try:
            module = importlib.import_module(name)
            convert = module.CvBridge().imgmsg_to_cv2 if name == "cv_bridge" else module.message_to_cvimage
            convert(_packed(np.zeros((1, 1, 3), np.uint8), "bgr8"), "rgb8")
        except Exception as error:  # whatever a half installed package raises, the other one may work
            failures.append(f"{name}: {error}")
            continue
        _log.info("Colors are converted by %s", name)
        return cast("Callable[[Any, str], NDArray[np.uint8]]", convert)
    raise MissingPackageError(
        f"Color images need cv_bridge or rosbags-image, neither works ({'; '.join(failures)}). "
        "Install one: apt install ros-$ROS_DISTRO-cv-bridge, or pip install rosbags-image"
    )


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
