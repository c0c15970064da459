#!/usr/bin/env python3
"""How fast offline replay is, and whether its memory grows with the recording.

    python -m benchmarks.replay
    python -m benchmarks.replay --scenario none
    python -m benchmarks.replay --memory

A bag of 640x480 color (jpeg) and depth (16-bit png) at 30 Hz is written into a temporary folder and replayed with an
engine that answers at once, so that all else is measured: reading, decoding, health checks, synchronizer,
preprocessing, measures. Peak memory is that of a process of its own for each recording, of smaller images.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from benchmarks.process_memory import peak_memory_mib
from m3l_core.bundle import ModelBundle
from m3l_core.frames import ModelInput, Segmentation
from m3l_core.replay.bags import BagTask, replay_bag
from m3l_core.replay.faults.scenario import load_scenarios
from m3l_core.replay.preparation import prepare_bag
from m3l_core.replay.replay import ReplaySettings
from m3l_core.replay.report.figures import SUBSETS
from m3l_core.segmenter import Segmenter
from m3l_core.shipped import shipped_bundle

RATE_HZ = 30
START_NS = 1_700_000_000_000_000_000
TOPICS = ("/color/image_raw/compressed", "/depth/image_rect/compressedDepth")
DISTINCT = 60
SIZE, SMALL = (480, 640), (120, 160)


class InstantEngine:
    """Says class 1 of every pixel."""

    name = "instant"
    precision = "fp32"
    device = "CPU"

    def infer(self, model_input: ModelInput, size: tuple[int, int]) -> Segmentation:
        return Segmentation(np.ones(size, np.uint8), np.full(size, 200, np.uint8))


def load_segmenter() -> Segmenter:
    return Segmenter(ModelBundle.load(shipped_bundle()).description, InstantEngine())


def write_bag(path: Path, seconds: int, size: tuple[int, int]) -> float:
    """Write a recording; returns its megabytes."""
    store = get_typestore(Stores.ROS2_JAZZY)
    kind = "sensor_msgs/msg/CompressedImage"
    images = [encoded(number, size) for number in range(DISTINCT)]
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = [writer.add_connection(topic, kind, typestore=store) for topic in TOPICS]
        for number in range(seconds * RATE_HZ):
            stamp_ns = START_NS + number * 10**9 // RATE_HZ
            stamp = store.types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
            header = store.types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")
            for delay_ms, connection, text, data in zip(
                (5, 9),
                connections,
                ("rgb8; jpeg compressed bgr8", "16UC1; compressedDepth png"),
                images[number % DISTINCT],
                strict=True,
            ):
                message = store.types[kind](header=header, format=text, data=data)
                writer.write(connection, stamp_ns + delay_ms * 10**6, store.serialize_cdr(message, kind))
    return sum(file.stat().st_size for file in path.iterdir()) / 1e6


def encoded(number: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Color as jpeg and depth as compressedDepth: smooth surfaces, and the noise of sensors."""
    random = np.random.default_rng(number)
    surfaces = cv2.resize(random.integers(40, 220, (9, 12, 3), np.uint8), size[::-1], interpolation=cv2.INTER_CUBIC)
    color = cv2.add(surfaces, random.integers(0, 12, (*size, 3), np.uint8))
    depth = surfaces[..., 0].astype(np.uint16) * 20 + random.integers(0, 12, size, np.uint16)
    png = cv2.imencode(".png", depth, (cv2.IMWRITE_PNG_COMPRESSION, 1))[1].ravel()
    return cv2.imencode(".jpg", color)[1].ravel(), np.concatenate((np.zeros(12, np.uint8), png))


class Measured(NamedTuple):
    """One process that replayed."""

    times_real_time: float
    cpu_ms_per_set: float
    """Of all threads: with load from others the more honest figure."""
    peak_mib: float

    def __str__(self) -> str:
        return (
            f"{self.times_real_time:.1f} times real time, {self.cpu_ms_per_set:.1f} ms of CPU time a frame set, "
            f"peak memory {self.peak_mib:.0f} MiB"
        )


def replay(path: Path, names: Sequence[str]) -> Measured:
    """Replay a bag under scenarios, in this process."""
    segmenter = load_segmenter()
    bag = prepare_bag(path, {"color": None, "depth": None}, segmenter.description)
    task = BagTask(bag, tuple(load_scenarios(names)), ReplaySettings(), lambda: segmenter)
    started_s, cpu_s = time.perf_counter(), time.process_time()
    results = replay_bag(task)
    took_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    replayed_s = sum(result.measures.delivery.run_ns for result in results) / 1e9
    sets = sum(result.measures.delivery.number for result in results)
    return Measured(replayed_s / took_s, cpu_s / sets * 1e3, peak_memory_mib())


def in_its_own_process(work: Any, *arguments: Any) -> Any:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=40, help="length of the recording")
    parser.add_argument(
        "--scenario", nargs="+", default=list(SUBSETS), help=f"default: those of m3l_replay, {' '.join(SUBSETS)}"
    )
    parser.add_argument("--memory", action="store_true", help="peak memory for 1 and for 10 minutes")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        megabytes = write_bag(Path(folder) / "bag", arguments.seconds, SIZE)
        what = f"{SIZE[1]}x{SIZE[0]}, {megabytes / arguments.seconds:.1f} MB a second, {' '.join(arguments.scenario)}"
        print(f"{what}: {in_its_own_process(replay, Path(folder) / 'bag', arguments.scenario)}")
        for minutes in (1, 10) if arguments.memory else ():
            path = Path(folder) / f"{minutes}"
            write_bag(path, minutes * 60, SMALL)
            what = f"{SMALL[1]}x{SMALL[0]}, {minutes} min, none and no_color"
            print(f"{what}: {in_its_own_process(replay, path, ['none', 'no_color'])}")


if __name__ == "__main__":
    main()
