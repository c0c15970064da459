"""Real bags of small images, written without ROS."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags import rosbag1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from m3l_core.bags.message_types import LABEL_INFO, message_types

START_NS = 1_700_000_000_000_000_000
MS = 1_000_000
PERIOD_NS = 100 * MS
SIZE = (24, 32)
COLOR, DEPTH, LABEL = "/camera/color/image_raw", "/camera/depth/image_raw", "/labels"
_ZSTD_FRAME = b"\x28\xb5\x2f\xfd"
STORE = message_types()
NOETIC = get_typestore(Stores.ROS1_NOETIC)


class Recorded(NamedTuple):
    topic: str
    time_ns: int
    message: Any
    """A message, or the bytes to stand in its place."""
    message_type: str = ""
    """Of bytes; a message knows its own."""


def rgb(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(20, 230, (*SIZE, 3), np.uint8)


def millimetres(seed: int) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(400, 6000, SIZE, np.uint16)


def ids(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 13, SIZE, np.uint8)


def image(pixels: NDArray[Any], encoding: str, stamp_ns: int) -> Any:
    """sensor_msgs/Image without padding; ``encoding`` is not checked."""
    height, width = pixels.shape[:2]
    return STORE.types["sensor_msgs/msg/Image"](
        header=_header(stamp_ns),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=pixels.nbytes // height,
        data=np.frombuffer(pixels.tobytes(), np.uint8),
    )


def compressed(data: bytes, description: str, stamp_ns: int) -> Any:
    return STORE.types["sensor_msgs/msg/CompressedImage"](
        header=_header(stamp_ns), format=description, data=np.frombuffer(data, np.uint8)
    )


def jpeg(seed: int) -> bytes:
    return cv2.imencode(".jpg", cv2.GaussianBlur(rgb(seed), (5, 5), 0))[1].tobytes()


def label_info(names: Mapping[int, str]) -> Any:
    """vision_msgs/LabelInfo: class by id."""
    classes = [
        STORE.types["vision_msgs/msg/VisionClass"](class_id=number, class_name=name) for number, name in names.items()
    ]
    return STORE.types[LABEL_INFO](header=_header(0), class_map=classes, threshold=0.0)


def png(pixels: NDArray[Any]) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def compressed_depth(pixels: NDArray[np.uint16], stamp_ns: int) -> Any:
    data = struct.pack("<iff", 0, 0.0, 0.0) + png(pixels)
    return compressed(data, "16UC1; compressedDepth png", stamp_ns)


def frames(count: int, first: int = 0) -> list[Recorded]:
    """Color and depth at 10 Hz, both with the same stamps, recorded 3 and 5 ms later."""
    return [
        recorded
        for number in range(first, first + count)
        for stamp in (START_NS + number * PERIOD_NS,)
        for recorded in (
            Recorded(COLOR, stamp + 3 * MS, image(rgb(number), "rgb8", stamp)),
            Recorded(DEPTH, stamp + 5 * MS, image(millimetres(number), "16UC1", stamp)),
        )
    ]


def stamps(count: int, first: int = 0) -> list[int]:
    return [START_NS + number * PERIOD_NS for number in range(first, first + count)]


def serialize(message: Any) -> bytes:
    return bytes(STORE.serialize_cdr(message, message.__msgtype__))


def write_bag(
    path: Path,
    recorded: Iterable[Recorded],
    storage: StoragePlugin = StoragePlugin.MCAP,
    compression: CompressionMode = CompressionMode.NONE,
    empty: Iterable[str] = (),
) -> Path:
    """Write a bag; ``empty`` topics have no message."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = Writer(path, version=9, storage_plugin=storage)
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        connections = {topic: writer.add_connection(topic, "sensor_msgs/msg/Image", typestore=STORE) for topic in empty}
        for topic, time_ns, message, message_type in recorded:
            if topic not in connections:
                kind = message_type or message.__msgtype__
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            raw = message if isinstance(message, bytes) else serialize(message)
            writer.write(connections[topic], time_ns, raw)
    return path


def write_ros1_bag(path: Path, recorded: Iterable[Recorded], compression: str = "") -> Path:
    """The same messages as ROS 1 writes them; ``compression``: bz2, lz4 or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = rosbag1.Writer(path)
    if compression:
        writer.set_compression(rosbag1.Writer.CompressionFormat[compression.upper()])
    with writer:
        connections: dict[str, Any] = {}
        for topic, time_ns, message, message_type in recorded:
            kind = message_type or message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=NOETIC)
            raw = message if isinstance(message, bytes) else serialize_ros1(message)
            writer.write(connections[topic], time_ns, raw)
    return path


def serialize_ros1(message: Any) -> bytes:
    return bytes(NOETIC.serialize_ros1(_noetic(message), message.__msgtype__))


def _noetic(message: Any) -> Any:
    """The message of ROS 1: its header counts, and the matrices of its CameraInfo have large letters."""
    if not is_dataclass(message):
        return message
    kind = NOETIC.types[message.__msgtype__]
    values = {field.name: _noetic(getattr(message, field.name)) for field in fields(message)}
    names = {field.name for field in fields(kind)}
    values = {name if name in names else name.upper(): value for name, value in values.items()}
    return kind(**values, **({"seq": 7} if "seq" in names else {}))


def break_chunk(bag: Path, number: int) -> None:
    """Damage the ``number``-th chunk of a bag that was written with CompressionMode.STORAGE."""
    file = bag / f"{bag.name}.mcap"
    head, *chunks = file.read_bytes().split(_ZSTD_FRAME)
    assert number < len(chunks) - 1, f"{bag} has {len(chunks)} chunks"
    before, after = _ZSTD_FRAME.join([head, *chunks[:number]]), _ZSTD_FRAME.join(chunks[number:])
    file.write_bytes(before + bytes(len(_ZSTD_FRAME)) + after)


def _header(stamp_ns: int) -> Any:
    stamp = STORE.types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return STORE.types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")
