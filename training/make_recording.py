#!/usr/bin/env python3
"""Write a folder of frames as a ROS 2 recording (MCAP), with the ground truth as a topic.

    python training/make_recording.py rooms/sequences/a m3l_core/data/recordings/rooms_a

The folder holds frames.json (``name``, ``stamp_ns`` and ``fx`` of each frame), color/NAME.jpg, depth/NAME.png
(16-bit millimetres) and label/NAME.png. Images stay compressed as they are, so nothing is lost.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from m3l_core.command_line import run
from m3l_core.datasets.folder import read_image
from m3l_core.errors import DatasetError
from m3l_core.files import replacing_folder

FRAME_ID = "camera_color_optical_frame"
# compressedDepth: a header of the kind of compression and two quantisation parameters, unused for 16UC1.
COMPRESSED_DEPTH_HEADER = np.zeros(12, np.uint8)


def write_recording(sequence: Path, output: Path) -> None:
    """Write ``sequence`` as the bag ``output``.

    Raises:
        DatasetError: a file of the sequence is missing or not what it should be.
    """
    try:
        frames: list[dict[str, Any]] = json.loads((sequence / "frames.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{sequence} has no usable frames.json: {error}") from error
    wanted = {"name", "stamp_ns", "fx"}
    if not isinstance(frames, list) or not all(isinstance(frame, dict) and wanted <= frame.keys() for frame in frames):
        raise DatasetError(f"{sequence / 'frames.json'}: expected a list of frames with {', '.join(sorted(wanted))}")
    store = get_typestore(Stores.ROS2_JAZZY)
    types = store.types

    def header(stamp_ns: int) -> Any:
        stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        return types["std_msgs/msg/Header"](stamp=stamp, frame_id=FRAME_ID)

    def compressed(stamp_ns: int, kind: str, data: np.ndarray) -> Any:
        return types["sensor_msgs/msg/CompressedImage"](header=header(stamp_ns), format=kind, data=data)

    with replacing_folder(output) as temporary:
        bag = temporary / output.name
        with _writer(bag) as writer:
            connections = {
                topic: writer.add_connection(topic, kind, typestore=store)
                for topic, kind in {
                    "/color/image_raw/compressed": "sensor_msgs/msg/CompressedImage",
                    "/depth/image_rect/compressedDepth": "sensor_msgs/msg/CompressedImage",
                    "/color/camera_info": "sensor_msgs/msg/CameraInfo",
                    "/ground_truth/labels": "sensor_msgs/msg/Image",
                }.items()
            }
            for frame in frames:
                stamp_ns, name = frame["stamp_ns"], frame["name"]
                labels = read_image(sequence / "label" / f"{name}.png", "label")
                height, width = labels.shape
                color = _bytes_of(sequence / "color" / f"{name}.jpg")
                # The strongest png compression, once, keeps the repository small.
                depth = read_image(sequence / "depth" / f"{name}.png", "depth")
                png = cv2.imencode(".png", depth, (cv2.IMWRITE_PNG_COMPRESSION, 9))[1].ravel()
                messages = {
                    "/color/image_raw/compressed": compressed(stamp_ns, "rgb8; jpeg compressed bgr8", color),
                    "/depth/image_rect/compressedDepth": compressed(
                        stamp_ns, "16UC1; compressedDepth png", np.concatenate((COMPRESSED_DEPTH_HEADER, png))
                    ),
                    "/color/camera_info": _camera_info(types, header(stamp_ns), height, width, frame["fx"]),
                    "/ground_truth/labels": types["sensor_msgs/msg/Image"](
                        header=header(stamp_ns),
                        height=height,
                        width=width,
                        encoding="mono8",
                        is_bigendian=0,
                        step=width,
                        data=labels.ravel(),
                    ),
                }
                for topic, message in messages.items():
                    raw = store.serialize_cdr(message, message.__msgtype__)
                    writer.write(connections[topic], stamp_ns, raw)
        for file in bag.iterdir():
            file.rename(temporary / file.name)
        bag.rmdir()


def _writer(bag: Path) -> Writer:
    writer = Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    return writer


def _bytes_of(path: Path) -> np.ndarray:
    try:
        return np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error


def _camera_info(types: Any, header: Any, height: int, width: int, focal_length: float) -> Any:
    """A pinhole camera with square pixels, its centre in the middle of the image, without distortion."""
    cx, cy, f = (width - 1) / 2, (height - 1) / 2, focal_length
    return types["sensor_msgs/msg/CameraInfo"](
        header=header,
        height=height,
        width=width,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=np.array([f, 0, cx, 0, f, cy, 0, 0, 1]),
        r=np.eye(3).ravel(),
        p=np.array([f, 0, cx, 0, 0, f, cy, 0, 0, 0, 1, 0]),
        binning_x=0,
        binning_y=0,
        roi=types["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sequence", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    write_recording(arguments.sequence, arguments.output)
    size = sum(file.stat().st_size for file in arguments.output.iterdir()) / 1e6
    print(f"{arguments.output}: {size:.1f} MB")


if __name__ == "__main__":
    run(main)
