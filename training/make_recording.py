#!/usr/bin/env python3
"""Write frames of a folder as a ROS 2 recording (MCAP), with the ground truth as a topic where there is one.

    python training/make_recording.py rooms/sequences/a runs/rooms_a
    python training/make_recording.py rooms/sequences/a rooms_a --bundle BUNDLE --class-map recipe.yaml#data.1.class_map
    python training/make_recording.py robot_lab runs/robot_lab --rate 15
    python training/make_recording.py nyuv2/val.json runs/hall --recording val_003 --rate 2

The folder holds frames.json, or an index file is named: as training reads it (color, depth, label and recording of
each frame), or with the ``name`` of each, whose files are color/NAME.jpg, depth/NAME.png and label/NAME.png. A frame
may have ``stamp_ns``, else --rate tells how they follow each other, and ``fx``, the focal length in pixels; where it
is known, there is a camera_info, of which a replay takes the first for all frames. Images stay compressed as they
are, so nothing is lost. --class-map brings the labels to the classes of --bundle.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from m3l_core.bundle import ModelBundle
from m3l_core.command_line import number_between, run
from m3l_core.datasets.class_map import ClassMap, read_mapping
from m3l_core.datasets.folder import Sample, focal_length_of, read_image, read_index
from m3l_core.errors import DatasetError
from m3l_core.files import replacing_folder
from m3l_core.json_files import read_json

INDEX = "frames.json"
START_NS = 1_700_000_000_000_000_000
"""Of frames that have no stamps."""
FRAME_ID = "camera_color_optical_frame"
# compressedDepth: a header of the kind of compression and two quantisation parameters, unused for 16UC1.
COMPRESSED_DEPTH_HEADER = np.zeros(12, np.uint8)


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """What is written of one instant."""

    stamp_ns: int
    sample: Sample


def read_frames(source: Path, rate: float | None = None, recording: str | None = None) -> list[RecordedFrame]:
    """Read a folder with frames.json, or an index file.

    Args:
        source: of the frames.
        rate: frames a second, for those that have no stamp.
        recording: which one of the index; None: it has only one.

    Raises:
        DatasetError: it is neither, a file is missing, there are several recordings, or nothing tells the time.
    """
    index = source / INDEX if source.is_dir() else source
    try:
        entries = read_json(index)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{source} has no usable {INDEX}: {error}") from error
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise DatasetError(f"{index}: expected a list of frames, with name, or with color, depth and recording")
    if all("name" in entry for entry in entries):
        samples = [_named(index.parent, entry) for entry in entries]
    else:
        samples = read_index(index)
    names = sorted({sample.recording for sample in samples})
    if recording is None and len(names) > 1:
        some = ", ".join(names[:5])
        raise DatasetError(f"{index} has {len(names)} recordings, name one with --recording, such as {some}")
    if recording not in (None, *names):
        raise DatasetError(f"{index} has no recording {recording}; some are {', '.join(names[:5])}")
    chosen = [(s, e) for s, e in zip(samples, entries, strict=True) if recording in (None, s.recording)]
    if rate is None and not all("stamp_ns" in entry for _, entry in chosen):
        raise DatasetError(f"{index}: frames without stamp_ns; --rate says how many there are in a second")
    return [
        RecordedFrame(int(entry.get("stamp_ns", START_NS + round(number * 1e9 / (rate or 1)))), sample)
        for number, (sample, entry) in enumerate(chosen)
    ]


def _named(folder: Path, entry: Mapping[str, Any]) -> Sample:
    name = entry["name"]
    images = {"color": folder / "color" / f"{name}.jpg", "depth": folder / "depth" / f"{name}.png"}
    return Sample(images, folder / "label" / f"{name}.png", folder.name, fx=focal_length_of(entry))


def write_recording(frames: Sequence[RecordedFrame], output: Path, class_map: ClassMap | None = None) -> None:
    """Write frames as the bag ``output``; a topic of which no frame has anything is left out.

    Args:
        frames: in the order of their stamps.
        output: whole or not at all.
        class_map: of the labels; None: they stay as they are.

    Raises:
        DatasetError: a file is missing or not what it should be.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    with replacing_folder(output) as temporary:
        bag = temporary / output.name
        with _writer(bag) as writer:
            connections: dict[str, Any] = {}
            for frame in frames:
                for topic, message in _messages(store.types, frame, class_map):
                    kind = message.__msgtype__
                    if topic not in connections:
                        connections[topic] = writer.add_connection(topic, kind, typestore=store)
                    writer.write(connections[topic], frame.stamp_ns, store.serialize_cdr(message, kind))
        for file in bag.iterdir():
            file.rename(temporary / file.name)
        bag.rmdir()


def _messages(types: Any, frame: RecordedFrame, class_map: ClassMap | None) -> Iterator[tuple[str, Any]]:
    """Topic and message of everything that a frame has."""
    stamp = types["builtin_interfaces/msg/Time"](sec=frame.stamp_ns // 10**9, nanosec=frame.stamp_ns % 10**9)
    header = types["std_msgs/msg/Header"](stamp=stamp, frame_id=FRAME_ID)
    compressed = types["sensor_msgs/msg/CompressedImage"]
    images, label = frame.sample.images, frame.sample.label
    size: tuple[int, ...] = ()
    if "color" in images:
        size = read_image(images["color"], "color").shape[:2]
        kind = "png" if images["color"].suffix.lower() == ".png" else "jpeg"
        data = np.frombuffer(images["color"].read_bytes(), np.uint8)
        message = compressed(header=header, format=f"rgb8; {kind} compressed bgr8", data=data)
        yield "/color/image_raw/compressed", message
    if "depth" in images:
        depth = read_image(images["depth"], "depth")
        if depth.dtype != np.uint16:
            raise DatasetError(f"{images['depth']}: expected 16-bit millimetres, found {depth.dtype}")
        size = depth.shape
        if images["depth"].suffix.lower() == ".png":
            png = np.frombuffer(images["depth"].read_bytes(), np.uint8)
        else:
            png = cv2.imencode(".png", depth)[1].ravel()
        data = np.concatenate((COMPRESSED_DEPTH_HEADER, png))
        message = compressed(header=header, format="16UC1; compressedDepth png", data=data)
        yield "/depth/image_rect/compressedDepth", message
    if frame.sample.fx is not None:
        yield "/color/camera_info", _camera_info(types, header, size[0], size[1], frame.sample.fx)
    if label is not None:
        labels = read_image(label, "label")
        labels = labels if class_map is None else class_map.apply(labels)
        height, width = labels.shape
        truth = types["sensor_msgs/msg/Image"](
            header=header,
            height=height,
            width=width,
            encoding="mono8",
            is_bigendian=0,
            step=width,
            data=labels.ravel(),
        )
        yield "/ground_truth/labels", truth


def _writer(bag: Path) -> Writer:
    writer = Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    return writer


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
    parser.add_argument("source", type=Path, help="folder with frames.json, or an index file")
    parser.add_argument("output", type=Path, help="the bag to write")
    parser.add_argument("--rate", type=number_between(0.01, 1000), help="frames a second, where they have no stamps")
    parser.add_argument("--recording", help="which one, where the index has several")
    parser.add_argument("--class-map", metavar="FILE[#PART]", help="from the labels' classes to those of --bundle")
    parser.add_argument("--bundle", type=Path, help="whose classes --class-map names")
    arguments = parser.parse_args()
    if (arguments.class_map is None) != (arguments.bundle is None):
        parser.error("--class-map and --bundle go together")
    class_map = None
    if arguments.class_map is not None:
        classes = ModelBundle.load(arguments.bundle).description.labels.names
        class_map = ClassMap.of(read_mapping(arguments.class_map), classes)
    frames = read_frames(arguments.source, arguments.rate, arguments.recording)
    write_recording(frames, arguments.output, class_map)
    size = sum(file.stat().st_size for file in arguments.output.iterdir()) / 1e6
    print(f"{arguments.output}: {size:.1f} MB")


if __name__ == "__main__":
    run(main)
