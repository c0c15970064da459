#!/usr/bin/env python3
"""How fast bags become training data, beside reading and encoding alone, and whether memory grows with the recording.

    python -m benchmarks.extraction
    python -m benchmarks.extraction --memory

Recordings of 640x480 color and depth at 30 Hz are written into a temporary folder: compressed (jpeg and 16-bit png),
raw, and raw with a depth camera of its own, which is registered to color. Beside each extraction stands what cannot
be spared where nothing is compressed yet: reading, decoding and encoding every image, in as many threads, without
synchronizer, checks, hashes or files. Both run several times in turn, each time in a process of its own; the fastest
counts, as other programs only ever slow it down.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from benchmarks.process_memory import peak_memory_mib
from benchmarks.replay import DISTINCT, RATE_HZ, SIZE, SMALL, START_NS, encoded, in_its_own_process
from m3l_core.bags.reader import RecordedMessage, deserialize, open_bag
from m3l_core.extraction.extraction import extract_bag
from m3l_core.extraction.task import ExtractionTask, prepare_extraction
from m3l_core.parallel import in_threads
from m3l_core.streaming.frame_decoding import decode_frame

KINDS = ("compressed", "raw", "second camera")
_STORE = get_typestore(Stores.ROS2_JAZZY)
_GUESSED = {"color": None, "depth": None}


def write_bag(path: Path, kind: str, seconds: int, size: tuple[int, int]) -> float:
    """Write a recording of one of ``KINDS``; returns its megabytes."""
    types = _STORE.types
    frame_ids = ("color", "depth" if kind == "second camera" else "color")
    suffixes = ("/compressed", "/compressedDepth") if kind == "compressed" else ("", "")
    message_type = "sensor_msgs/msg/CompressedImage" if kind == "compressed" else "sensor_msgs/msg/Image"

    def header(stamp_ns: int, frame_id: str) -> Any:
        stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)

    def message(stamp_ns: int, frame_id: str, data: np.ndarray) -> Any:
        if kind == "compressed":
            text = (
                "rgb8; jpeg compressed bgr8"
                if frame_id == "color" and data[0] == 0xFF
                else "16UC1; compressedDepth png"
            )
            return types[message_type](header=header(stamp_ns, frame_id), format=text, data=data)
        return types[message_type](
            header=header(stamp_ns, frame_id),
            height=size[0],
            width=size[1],
            encoding="rgb8" if data.ndim == 3 else "16UC1",
            is_bigendian=0,
            step=data.nbytes // size[0],
            data=data.view(np.uint8).ravel(),
        )

    images: list[tuple[Any, Any]] = [encoded(number, size) for number in range(DISTINCT)]
    if kind != "compressed":
        images = [
            (cv2.imdecode(color, cv2.IMREAD_COLOR), cv2.imdecode(depth[12:], cv2.IMREAD_UNCHANGED))
            for color, depth in images
        ]
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        if kind == "second camera":
            for topic, each in _described(header, size):
                connection = writer.add_connection(topic, each.__msgtype__, typestore=_STORE)
                writer.write(connection, START_NS, _STORE.serialize_cdr(each, each.__msgtype__))
        names = (f"/color/image_raw{suffixes[0]}", f"/depth/image_raw{suffixes[1]}")
        connections = [writer.add_connection(name, message_type, typestore=_STORE) for name in names]
        for number in range(seconds * RATE_HZ):
            stamp_ns = START_NS + number * 10**9 // RATE_HZ
            for delay_ms, connection, frame_id, data in zip(
                (5, 9), connections, frame_ids, images[number % DISTINCT], strict=True
            ):
                raw = _STORE.serialize_cdr(message(stamp_ns, frame_id, data), message_type)
                writer.write(connection, stamp_ns + delay_ms * 10**6, raw)
    return sum(file.stat().st_size for file in path.iterdir()) / 1e6


def _described(header: Any, size: tuple[int, int]) -> list[tuple[str, Any]]:
    """Two cameras 5 cm apart, the lens of color bending a little."""
    types, (height, width) = _STORE.types, size
    described: list[tuple[str, Any]] = []
    for name, focal_length, bend in (("color", 0.9 * width, 0.1), ("depth", 0.8 * width, 0.0)):
        matrix = np.array([focal_length, 0, width / 2, 0, focal_length, height / 2, 0, 0, 1])
        info = types["sensor_msgs/msg/CameraInfo"](
            header=header(START_NS, name),
            height=height,
            width=width,
            distortion_model="plumb_bob",
            d=np.array([bend, -bend, 0.0, 0.0, 0.0]),
            k=matrix,
            r=np.eye(3).ravel(),
            p=np.column_stack((matrix.reshape(3, 3), np.zeros(3))).ravel(),
            binning_x=0,
            binning_y=0,
            roi=types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
        )
        described.append((f"/{name}/camera_info", info))
    link = types["geometry_msgs/msg/TransformStamped"](
        header=header(START_NS, "color"),
        child_frame_id="depth",
        transform=types["geometry_msgs/msg/Transform"](
            translation=types["geometry_msgs/msg/Vector3"](0.05, 0.0, 0.0),
            rotation=types["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0),
        ),
    )
    return [*described, ("/tf_static", types["tf2_msgs/msg/TFMessage"](transforms=[link]))]


class Measured(NamedTuple):
    """One process."""

    took_s: float
    cpu_s: float
    """Of all threads: with load from others the more honest figure."""
    peak_mib: float


def extract(path: Path, output: Path, threads: int) -> Measured:
    """Extract a bag, in this process."""
    return _measured(extract_bag, prepare_extraction(path, output, _GUESSED, threads=threads))


def read_and_encode(path: Path, output: Path, threads: int) -> Measured:
    """The same images through the same decoder and encoder, and nothing else, in this process."""
    return _measured(_read_and_encode, prepare_extraction(path, output, _GUESSED, threads=threads))


def _read_and_encode(task: ExtractionTask) -> None:
    modalities = {topic: name for name, topic in task.topics.items()}

    def encode(recorded: RecordedMessage) -> int:
        modality = modalities[recorded.topic]
        message = deserialize(recorded)
        pixels = decode_frame(modality, message)[0].data
        if modality == "color":
            pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        jpeg = modality == "color" and hasattr(message, "format")
        return len(cv2.imencode(".jpg" if jpeg else ".png", pixels)[1].tobytes())

    with open_bag(task.path) as bag:
        for _ in in_threads(encode, bag.messages(modalities), task.threads):
            pass


def _measured(work: Any, task: ExtractionTask) -> Measured:
    cv2.setNumThreads(1)  # the images are what is spread over the cores
    started_s, cpu_s = time.perf_counter(), time.process_time()
    work(task)
    return Measured(time.perf_counter() - started_s, time.process_time() - cpu_s, peak_memory_mib())


def _once(work: Any, path: Path, folder: Path, threads: int) -> Measured:
    with tempfile.TemporaryDirectory(dir=folder) as output:
        measured: Measured = in_its_own_process(work, path, Path(output) / "data", threads)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5, help="length of each recording")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--memory", action="store_true", help="peak memory for 2 and for 6 minutes")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, {arguments.threads} threads")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in KINDS:
            path = folder / kind.replace(" ", "_")
            megabytes = write_bag(path, kind, arguments.seconds, SIZE)
            runs = [
                (
                    _once(extract, path, folder, arguments.threads),
                    _once(read_and_encode, path, folder, arguments.threads),
                )
                for _ in range(arguments.repeats)
            ]
            sets = arguments.seconds * RATE_HZ
            print(f"{kind}, {megabytes / arguments.seconds:.0f} MB a second of recording")
            for what, measured in zip(("extracted", "read and encoded"), zip(*runs, strict=True), strict=True):
                took_s, cpu_s = (min(getattr(each, field) for each in measured) for field in ("took_s", "cpu_s"))
                print(
                    f"  {what}: {arguments.seconds / took_s:.1f} times real time, "
                    f"{sets / took_s:.0f} frame sets a second, {cpu_s / sets * 1e3:.1f} ms of CPU time each"
                )
        for minutes in (2, 6) if arguments.memory else ():
            path = folder / f"{minutes}"
            write_bag(path, "compressed", minutes * 60, SMALL)
            peak_mib = _once(extract, path, folder, arguments.threads).peak_mib
            print(f"{SMALL[1]}x{SMALL[0]}, {minutes} min: peak memory {peak_mib:.0f} MiB")


if __name__ == "__main__":
    main()
