#!/usr/bin/env python3
"""What the node itself costs: pairs of images over real DDS, and an engine that answers at once.

    python benchmarks/node_overhead.py

Three processes in a DDS domain of their own: a camera that publishes 640x480 color and depth, the node, and this one,
which listens to the labels and to /diagnostics. Images lost on their way to the node (best effort, as sensors are
subscribed to) are counted apart from what the node loses. Fast DDS's own shared memory, 512 kB, loses images of that
size on a busy machine, hence --shared-memory. Linux only: the node's CPU time is read from /proc.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from benchmarks.node_rig import (
    TOPICS,
    TRANSPORTS,
    InstantEngine,
    cpu_seconds,
    own_domain,
    pair,
    wait_until,
    write_bundle,
)
from m3l_core.streaming.image_messages import set_stamp, stamp_to_ns
from m3l_ros.labelling_session import STEPS
from m3l_ros.segment_node import SegmentNode, spin

TARGET_P95_MS = 15.0
RANKS = ("p50", "p95", "p99")
NUM_PICTURES = 8
"""Different ones, or the node would call the sensor frozen."""


def run_node(bundle: str, transport: str) -> None:
    """Process 1: the node, active from the start."""
    rclpy.init(args=["--ros-args", "--log-level", "error"])
    values = {"bundle": bundle, "autostart": True, "diagnostics_period": 0.5}
    values["image_transport"], values["depth_image_transport"] = TRANSPORTS[transport]
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    spin(SegmentNode(engine_loader=InstantEngine, parameter_overrides=overrides))


def run_camera(transport: str, rate_hz: float, seconds: float, report: Connection) -> None:
    """Process 2: publish pairs; says when the node listens, waits for a word, says how many it was."""
    rclpy.init()
    node = Node("camera")
    pictures = [pair(index, transport) for index in range(NUM_PICTURES)]
    publishers = []
    for topic, suffix, message in zip(TOPICS.values(), TRANSPORTS[transport], pictures[0], strict=True):
        name = topic if suffix == "raw" else f"{topic}/{suffix}"
        publishers.append(node.create_publisher(type(message), name, qos_profile_sensor_data))
    wait_until(lambda: all(publisher.get_subscription_count() for publisher in publishers), "the node subscribes")
    report.send("ready")
    report.recv()
    begin_s = time.monotonic()
    number = round(seconds * rate_hz)
    for index in range(number):
        time.sleep(max(0.0, begin_s + index / rate_hz - time.monotonic()))
        stamp_ns = time.time_ns()
        for publisher, message in zip(publishers, pictures[index % NUM_PICTURES], strict=True):
            set_stamp(message.header.stamp, stamp_ns)
            publisher.publish(message)
    report.send(number)
    time.sleep(10)  # a publisher that goes takes along what is still on its way


class Listener(Node):
    """Process 3: collects labels and diagnostics."""

    def __init__(self) -> None:
        super().__init__("listener")
        self.latencies_ms: list[float] = []
        self.accounts: dict[str, str] = {}
        self.received: dict[str, int] = {}
        self.num_diagnostics = 0
        self.masks = self.create_subscription(Image, "segmentation/mask", self._take_mask, 10)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._take_diagnostics, 10)

    def _take_mask(self, message: Image) -> None:
        self.latencies_ms.append((time.time_ns() - stamp_to_ns(message.header.stamp)) / 1e6)

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        self.num_diagnostics += 1
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            what = status.name.split(": ")[1]
            if what == "segmentation":
                self.accounts = values
            else:
                self.received[what] = int(values["frames in"])


def measure(bundle: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the three processes."""
    processes = multiprocessing.get_context("spawn")
    here, there = processes.Pipe()
    node = processes.Process(target=run_node, args=(str(bundle), arguments.transport), daemon=True)
    camera = processes.Process(
        target=run_camera, args=(arguments.transport, arguments.rate, arguments.seconds, there), daemon=True
    )
    rclpy.init()
    listener = Listener()

    def step() -> None:
        rclpy.spin_once(listener, timeout_sec=0.05)
        for name, process in (("node", node), ("camera", camera)):
            if not process.is_alive():
                raise RuntimeError(f"the {name}'s process ended, exit code {process.exitcode}")

    try:
        node.start()
        camera.start()
        wait_until(here.poll, "the camera and the node find each other", step)
        here.recv()
        wait_until(
            lambda: listener.masks.get_publisher_count() and listener.accounts, "this process finds the node", step
        )
        begin_s, cpu_s = time.monotonic(), cpu_seconds(node.pid or 0)
        here.send("go")
        while not here.poll():
            step()
        num_sent = here.recv()
        cpu_share = (cpu_seconds(node.pid or 0) - cpu_s) / (time.monotonic() - begin_s)
        seen = listener.num_diagnostics
        wait_until(lambda: listener.num_diagnostics >= seen + 2, "diagnostics come", step)
        if not listener.latencies_ms:
            raise RuntimeError("no labels came")
        return _figures(listener, num_sent, cpu_share)
    finally:
        listener.destroy_node()
        rclpy.try_shutdown()
        camera.kill()
        if node.is_alive():
            os.kill(node.pid or 0, signal.SIGINT)
            node.join(10)
        node.kill()


def _figures(listener: Listener, num_sent: int, cpu_share: float) -> dict[str, Any]:
    accounts, received = listener.accounts, listener.received
    lost_before = {name: num_sent - received[name] for name in TOPICS}
    dropped = {key.removeprefix("dropped: "): int(value) for key, value in accounts.items() if "dropped: " in key}
    # A depth image is passed over if its color image never came, or, after a silence, left alone as the first of all:
    # that is no loss by the node.
    excused = min(dropped.get("superseded", 0), lost_before["color"] + 1)
    figures: dict[str, Any] = {
        "pairs_sent": num_sent,
        "lost_before_the_node": lost_before,
        "sets_complete": int(accounts["sets complete"]),
        "sets_partial": int(accounts["sets partial"]),
        "replaced": int(accounts["sets replaced by newer ones"]),
        "dropped": dropped,
        "errors": int(accounts["errors"]),
        "sets_published": int(accounts["sets published"]),
        "masks_received": len(listener.latencies_ms),
        "cpu_share": cpu_share,
    }
    figures["lost_by_the_node"] = figures["replaced"] + figures["errors"] + sum(dropped.values()) - excused
    figures["steps_ms"] = {step: {rank: float(accounts[f"{step} {rank} [ms]"]) for rank in RANKS} for step in STEPS}
    figures["end_to_end_ms"] = {rank: float(np.percentile(listener.latencies_ms, int(rank[1:]))) for rank in RANKS}
    figures["met"] = figures["lost_by_the_node"] == 0 and figures["steps_ms"]["total"]["p95"] <= TARGET_P95_MS
    return figures


def show(figures: dict[str, Any]) -> None:
    lost = figures["lost_before_the_node"]
    print(f"pairs sent                {figures['pairs_sent']}")
    print(f"lost before the node      {lost['color']} color, {lost['depth']} depth")
    print(f"sets                      {figures['sets_complete']} complete, {figures['sets_partial']} partial")
    reasons = ", ".join(f"{count} {reason}" for reason, count in figures["dropped"].items())
    print(f"lost by the node          {figures['lost_by_the_node']}", end="")
    print(f" ({figures['replaced']} sets replaced, {figures['errors']} errors; frames dropped: {reasons or 'none'})")
    print(f"masks                     {figures['sets_published']} published, {figures['masks_received']} received here")
    print(f"CPU of the node           {figures['cpu_share']:.0%} of one core")
    print(f"{'milliseconds, last 300 sets':<32} {'p50':>7} {'p95':>7} {'p99':>7}")
    rows = {**figures["steps_ms"], "from the stamp to the mask here": figures["end_to_end_ms"]}
    for name, ranks in rows.items():
        print(f"{name:<32}", *(f"{ranks[rank]:7.2f}" for rank in RANKS))
    print(f"target: nothing lost by the node, total p95 at most {TARGET_P95_MS:.0f} ms:", end=" ")
    print("met" if figures["met"] else "NOT met")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=float, default=30, help="pairs per second (default %(default)s)")
    parser.add_argument("--transport", choices=tuple(TRANSPORTS), default="raw")
    parser.add_argument("--bundle", type=Path, help="its input size counts; default: the image's size, no network")
    parser.add_argument("--shared-memory", type=int, default=32, help="Fast DDS's, in MB; 0: its own 512 kB")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        own_domain(Path(folder), arguments.shared_memory)
        bundle = arguments.bundle or write_bundle(Path(folder) / "bundle")
        try:
            figures = measure(bundle, arguments)
        except (RuntimeError, TimeoutError) as error:
            sys.exit(f"node_overhead: {error}")
    show(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
