"""Messages as the node publishes them and as faults leave them, made without ROS."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.bags.arrivals import Arrival
from m3l_core.bags.message_types import LABEL_INFO, message_types
from m3l_core.labels import LabelSet
from m3l_core.published.layout import to_millimetres
from m3l_core.streaming.frame_decoding import decode_frame

_EARLIEST_NS, _LATEST_NS = -(2**31) * 10**9, 2**31 * 10**9 - 1  # of builtin_interfaces/Time
_JPEG_QUALITY = 90
_ENCODINGS = {("uint8", 3): "rgb8", ("uint8", 2): "mono8", ("uint16", 2): "16UC1", ("float32", 2): "32FC1"}
"""Of images as `decode_frame` gives them."""
_DEPTH_HEADER = struct.pack("<iff", 0, 0.0, 0.0)  # of compressed_depth_image_transport


def header(stamp_ns: int, frame_id: str = "") -> Any:
    """std_msgs/Header."""
    seconds, nanoseconds = divmod(min(max(stamp_ns, _EARLIEST_NS), _LATEST_NS), 10**9)
    stamp = _new("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
    return _new("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def image(pixels: NDArray[Any], encoding: str, head: Any) -> Any:
    """sensor_msgs/Image of mono8 (H, W) uint8, rgb8 (H, W, 3) uint8, 16UC1 (H, W) uint16 or 32FC1 (H, W) float32."""
    data = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).view(np.uint8)
    return _new(
        "sensor_msgs/msg/Image",
        header=head,
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=data.nbytes // pixels.shape[0],
        data=data.ravel(),
    )


def jpeg(pixels: NDArray[np.uint8], head: Any) -> Any:
    """sensor_msgs/CompressedImage of (H, W, 3) uint8 RGB."""
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))[1].tobytes()
    return _compressed(data, "rgb8; jpeg compressed bgr8", head)


def png(pixels: NDArray[Any], head: Any) -> Any:
    """The same without loss."""
    return _compressed(encoded_png(pixels), "rgb8; png compressed bgr8", head)


def encoded_png(pixels: NDArray[Any]) -> bytes:
    """(H, W, 3) uint8 RGB, or (H, W) uint16, without loss."""
    channels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
    return cv2.imencode(".png", channels, (cv2.IMWRITE_PNG_COMPRESSION, 1))[1].tobytes()


def in_millimetres(depth_m: NDArray[np.float32]) -> NDArray[np.uint16]:
    """(H, W) metres -> (H, W) uint16 millimetres, 0 where there is none."""
    return to_millimetres(depth_m, np.isfinite(depth_m) & (depth_m > 0))


def label_info(labels: LabelSet) -> Any:
    """vision_msgs/LabelInfo: which id is which class."""
    classes = [_new("vision_msgs/msg/VisionClass", class_id=i, class_name=name) for i, name in enumerate(labels.names)]
    return _new(LABEL_INFO, header=header(0), class_map=classes, threshold=0.0)


def status(level: int, name: str, text: str, values: Mapping[str, str]) -> Any:
    """diagnostic_msgs/DiagnosticStatus."""
    pairs = [_new("diagnostic_msgs/msg/KeyValue", key=key, value=value) for key, value in values.items()]
    return _new(
        "diagnostic_msgs/msg/DiagnosticStatus",
        level=level,
        name=name,
        message=text,
        hardware_id="m3l_ros",
        values=pairs,
    )


def diagnostics(statuses: Sequence[Any], stamp_ns: int) -> Any:
    """diagnostic_msgs/DiagnosticArray."""
    return _new("diagnostic_msgs/msg/DiagnosticArray", header=header(stamp_ns), status=list(statuses))


def as_arrived(arrival: Arrival) -> Any:
    """The message as the robot got it, with the stamp that it had by then.

    An image that faults have changed is packed anew, without loss but for compressed depth of float32, which is then in
    whole millimetres.
    """
    message = arrival.message
    head = header(arrival.stamp_ns, message.header.frame_id)
    pixels = decode_frame(arrival.modality, message, kind=arrival.kind)[0].data if arrival.edits else None
    if pixels is None:
        return replace(message, header=head)
    for edit in arrival.edits:
        pixels = edit(pixels)
    if not hasattr(message, "format"):
        return image(pixels, _ENCODINGS[pixels.dtype.name, pixels.ndim], head)
    if pixels.dtype == np.float32:
        pixels = in_millimetres(pixels)
    if pixels.ndim == 3:
        return png(pixels, head)
    if "compressedDepth" in message.format:
        return _compressed(_DEPTH_HEADER + encoded_png(pixels), "16UC1; compressedDepth png", head)
    return _compressed(encoded_png(pixels), f"{_ENCODINGS[pixels.dtype.name, 2]}; png compressed", head)


def _compressed(data: bytes, description: str, head: Any) -> Any:
    kind = "sensor_msgs/msg/CompressedImage"
    return _new(kind, header=head, format=description, data=np.frombuffer(data, np.uint8))


def _new(kind: str, **fields: Any) -> Any:
    return message_types().types[kind](**fields)
