#!/usr/bin/env python3
"""Hours of churn: does the node keep labelling, and does it keep what it takes?

    python -m benchmarks.soak --minutes 60
    python -m benchmarks.soak --minutes 60 --engine auto     # with the shipped bundle, in place of an instant engine

A camera of 320x240 pixels loses single images and, now and then, a sensor for seconds; parameters change, subscribers
come and go, the node is deactivated and activated. Printed every minute: labels for each instant at which a sensor
gave an image, and the node's memory, threads and open files.

In use is what the node has asked for and not freed, as glibc counts it. Resident is what the system has given it, with
the gaps that images leave in the heap: it rises for an hour or so, until the gaps are large enough. At the end, how
both grow after the first sixth of the time, with the standard error of a line through the least of each minute, as
images on their way come and go. Linux with glibc only.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import random
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.parameter import Parameter
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

from benchmarks.node_rig import TOPICS, InstantEngine, own_domain, pair, write_bundle
from m3l_core.command_line import run
from m3l_core.engines.engine import load_engine
from m3l_core.errors import M3LError
from m3l_core.streaming.image_messages import set_stamp
from m3l_ros.node_client import NodeClient, node_client
from m3l_ros.segment_node import SegmentNode, spin

SIZE = (240, 320)
LOSS = 0.02
"""Of single images."""
OUTAGES_PER_S, OUTAGE_S = 0.05, (0.7, 4.0)
WATCHED = ("overlay", "color_mask", "confidence")
CHANGES = {
    "sync_timeout": (0.03, 0.1),
    "approx_sync_max_interval": (0.01, 0.03),
    "overlay_opacity": (0.1, 0.9),
    "min_confidence": (0.0, 0.5),
    "diagnostics_period": (0.5, 2.0),
}
MOST_GROWTH = 1.0
"""MB an hour."""


def run_node(bundle: str, engine: str, asked: Connection) -> None:
    """The other process: the node, active from the start; tells its memory in use when it is asked."""
    threading.Thread(target=tell_memory, args=(asked,), daemon=True).start()
    rclpy.init(args=["--ros-args", "--log-level", "fatal"])
    values = {"bundle": bundle, "autostart": True, **({} if engine == "instant" else {"engine": engine})}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    loader = InstantEngine if engine == "instant" else load_engine
    spin(SegmentNode(engine_loader=loader, parameter_overrides=overrides))


def tell_memory(asked: Connection) -> None:
    while True:
        asked.recv()
        asked.send(memory_in_use())


def memory_in_use() -> int:
    """Bytes of this process's heap and mapped blocks that are not free, by malloc_info(3)."""
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    with tempfile.NamedTemporaryFile() as file:
        stream = ctypes.c_void_p(libc.fopen(file.name.encode(), b"w"))
        libc.malloc_info(0, stream)
        libc.fclose(stream)
        whole = ElementTree.parse(file.name).getroot()
    sizes = {each.get("type"): int(each.get("size", 0)) for each in whole.findall("total")}
    current = whole.find("system[@type='current']")
    assert current is not None
    return int(current.get("size", 0)) - sizes["fast"] - sizes["rest"] + sizes["mmap"]


@dataclass(slots=True)
class Counts:
    """Of instants and labels."""

    active: bool = True
    instants: int = 0
    """At which a sensor gave an image while the node was active."""
    labels: int = 0
    changes: dict[str, int] = field(default_factory=dict)

    def count(self, what: str) -> None:
        self.changes[what] = self.changes.get(what, 0) + 1


@dataclass(frozen=True, slots=True)
class Sample:
    """What the node held at a time."""

    seconds: float
    in_use_mb: float
    resident_mb: float
    threads: int
    files: int


def sample(pid: int, seconds: float, node: Connection) -> Sample:
    node.send("memory")
    if not node.poll(10):
        raise M3LError("the node's process has not answered for 10 s")
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    files = len(os.listdir(f"/proc/{pid}/fd"))
    resident_mb = int(fields["VmRSS"].split()[0]) * 1024 / 1e6
    return Sample(seconds, node.recv() / 1e6, resident_mb, int(fields["Threads"]), files)


class Camera:
    """Color and depth, now and then one of them, at times none."""

    def __init__(self, client: NodeClient, counts: Counts, chance: random.Random) -> None:
        self._client, self._counts, self._chance = client, counts, chance
        self._pictures = [dict(zip(TOPICS, pair(index, "raw", SIZE), strict=True)) for index in range(8)]
        self._silent_until = dict.fromkeys(TOPICS, 0.0)

    def shoot(self, index: int, rate_hz: float) -> None:
        now, stamp_ns = time.monotonic(), time.time_ns()
        if self._chance.random() < OUTAGES_PER_S / rate_hz:
            self._silent_until[self._chance.choice([*TOPICS])] = now + self._chance.uniform(*OUTAGE_S)
            self._counts.count("outages")
        given = [name for name in TOPICS if now >= self._silent_until[name] and self._chance.random() >= LOSS]
        for name in given:
            message = self._pictures[index % len(self._pictures)][name]
            set_stamp(message.header.stamp, stamp_ns)
            self._client.publish(TOPICS[name], serialize_message(message))
        self._counts.instants += bool(given) and self._counts.active


class Churn(threading.Thread):
    """What operators and other nodes do, one thing every few seconds."""

    def __init__(self, client: NodeClient, counts: Counts, chance: random.Random) -> None:
        super().__init__(daemon=True)
        self.failure: Exception | None = None
        self.ending = threading.Event()
        self._client, self._counts, self._chance = client, counts, chance
        self._context = Context()
        rclpy.init(context=self._context)
        self._watcher = rclpy.create_node("watcher", context=self._context)
        self._subscriptions: dict[str, Any] = {}

    def run(self) -> None:
        doings = [self._change_parameter] * 4 + [self._come_or_go] * 4 + [self._rest]
        try:
            while not self.ending.wait(self._chance.uniform(0.5, 4.0)):
                self._chance.choice(doings)()
        except Exception as error:
            self.failure = error
        finally:
            self._watcher.destroy_node()
            rclpy.try_shutdown(context=self._context)

    def _change_parameter(self) -> None:
        name = self._chance.choice([*CHANGES])
        value = Parameter(name, value=self._chance.uniform(*CHANGES[name])).to_parameter_msg()
        request = SetParameters.Request(parameters=[value])
        answer = self._client.call(SetParameters, "segment_node/set_parameters", request, 10)
        if not answer.results[0].successful:
            raise M3LError(f"{name} was refused: {answer.results[0].reason}")
        self._counts.count("parameters")

    def _come_or_go(self) -> None:
        topic = self._chance.choice(WATCHED)
        if topic in self._subscriptions:
            self._watcher.destroy_subscription(self._subscriptions.pop(topic))
        else:
            subscribe = self._watcher.create_subscription
            self._subscriptions[topic] = subscribe(Image, f"segmentation/{topic}", lambda message: None, 1)
        self._counts.count("subscribers")

    def _rest(self) -> None:
        self._counts.active = False
        for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
            request = ChangeState.Request(transition=Transition(id=transition))
            if not self._client.call(ChangeState, "segment_node/change_state", request, 20).success:
                raise M3LError(f"the node refused transition {transition}")
            time.sleep(0.3)
        self._counts.active = True
        self._counts.count("rests")


def soak(
    node_pid: int, memory: Connection, client: NodeClient, minutes: float, rate_hz: float, seed: int
) -> list[Sample]:
    """Run the churn; returns samples of the node, six a minute."""
    counts, samples = Counts(), []

    def take(stamp_ns: int, ids: object) -> None:
        counts.labels += counts.active

    client.on_mask = take
    camera = Camera(client, counts, random.Random(seed))
    churn = Churn(client, counts, random.Random(seed + 1))
    churn.start()
    print("minutes  labels an instant  in use [MB]  resident [MB]  threads  files  changes")
    begin = time.monotonic()
    for index in client.pace(range(round(minutes * 60 * rate_hz)), lambda place: round(place / rate_hz * 1e9)):
        camera.shoot(index, rate_hz)
        if churn.failure is not None:
            raise M3LError(f"after {index / rate_hz:.0f} s: {churn.failure}")
        if index % round(10 * rate_hz) == 0:
            samples.append(sample(node_pid, time.monotonic() - begin, memory))
            if len(samples) % 6 == 1:
                last, new = samples[-1], counts.labels / max(1, counts.instants)
                changes = ", ".join(f"{number} {what}" for what, number in counts.changes.items())
                memory_mb = f"{last.in_use_mb:11.1f}  {last.resident_mb:13.1f}"
                row = f"{last.seconds / 60:7.1f}  {new:17.3f}  {memory_mb}  {last.threads:7}  {last.files:5}"
                print(f"{row}  {changes}", flush=True)
    churn.ending.set()
    churn.join(30)
    return samples


def growth(samples: list[Sample], name: str) -> tuple[float, float]:
    """Of the least of each minute, and its standard error [MB an hour]."""
    minutes = [samples[place : place + 6] for place in range(0, len(samples) - 5, 6)]
    hours = np.array([np.mean([each.seconds for each in minute]) / 3600 for minute in minutes])
    least = np.array([min(getattr(each, name) for each in minute) for minute in minutes])
    (slope, _), covariance = np.polyfit(hours, least, 1, cov=True)
    return float(slope), float(np.sqrt(covariance[0, 0]))


def report(samples: list[Sample]) -> bool:
    """Print how memory grows after the first sixth; returns whether that is little enough."""
    later = samples[len(samples) // 6 :]
    if len(later) < 24:
        print("too short to say how memory grows: 5 minutes at least")
        return True
    in_use, error = growth(later, "in_use_mb")
    print(f"memory in use grows by {in_use:.2f} MB an hour, standard error {error:.2f}", end="; ")
    print("resident by {:.2f}, {:.2f}".format(*growth(later, "resident_mb")), end="; ")
    print(f"threads {later[0].threads} to {later[-1].threads}, files {later[0].files} to {later[-1].files}")
    met = in_use <= MOST_GROWTH
    print(f"target: at most {MOST_GROWTH:.0f} MB in use an hour: {'met' if met else 'NOT met'}")
    return met


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=30, help="instants per second (default %(default)s)")
    parser.add_argument("--engine", default="instant", help="instant, or one of the node's with the shipped bundle")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        own_domain(Path(folder))
        bundle = str(write_bundle(Path(folder) / "bundle")) if arguments.engine == "instant" else ""
        spawn = multiprocessing.get_context("spawn")
        memory, asked = spawn.Pipe()
        node = spawn.Process(target=run_node, args=(bundle, arguments.engine, asked), daemon=True)
        node.start()

        def check() -> None:
            if not node.is_alive():
                raise M3LError(f"the node's process ended, exit code {node.exitcode}")

        domain, topics = int(os.environ["ROS_DOMAIN_ID"]), dict.fromkeys(TOPICS.values(), Image)
        try:
            with node_client("camera", domain, topics, check) as client:
                if not client.wait_until(lambda: client.is_heard() and client.state.is_labelling, 30):
                    raise M3LError("the node does not label after 30 s")
                samples = soak(node.pid or 0, memory, client, arguments.minutes, arguments.rate, arguments.seed)
        finally:
            node.kill()
    if not report(samples):
        sys.exit(1)


if __name__ == "__main__":
    run(main)
