#!/usr/bin/env python3
"""What each output of the node costs while somebody subscribes to it, made of a frame set and sent over real DDS.

    python -m benchmarks.outputs

The real publishers, with one subscriber of one topic at a time, in a DDS domain of its own. Labels are patches of 16
pixels, confidence is noise, which no png makes small.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import rclpy
from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle.publisher import LifecyclePublisher
from sensor_msgs.msg import CameraInfo

from benchmarks.node_rig import take_own_domain
from m3l_core.bundle import ModelBundle
from m3l_core.frames import Frame, FrameSet, Segmentation
from m3l_core.shipped import shipped_bundle
from m3l_ros.output_settings import OutputSettings
from m3l_ros.publishers import SegmentationPublishers

SETTINGS = OutputSettings("reference", 0.0, 255, ("wall",), 0.5)
WARM_UP = 5


def frame_set(height: int, width: int) -> tuple[FrameSet, Segmentation, CameraInfo]:
    """What the node has when it publishes."""
    random = np.random.default_rng(0)
    color = random.integers(0, 256, (height, width, 3), np.uint8)
    depth = random.integers(0, 6000, (height, width), np.uint16)
    frames = {"color": Frame("color", 1, color, "camera"), "depth": Frame("depth", 1, depth, "camera")}
    patches = random.integers(0, 14, (-(-height // 16), -(-width // 16)), np.uint8)
    labels = patches.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    k = [float(width), 0.0, width / 2, 0.0, float(width), height / 2, 0.0, 0.0, 1.0]
    confidence = random.integers(0, 256, (height, width), np.uint8)
    return FrameSet("color", frames), Segmentation(labels, confidence), CameraInfo(height=height, width=width, k=k)


def show(
    name: str, publishers: SegmentationPublishers, made: tuple[FrameSet, Segmentation, CameraInfo], runs: int
) -> None:
    """Print a line of ``runs`` calls, after those that allocate."""
    passed, computed = [], []
    for _ in range(WARM_UP + runs):
        begun_s, cpu_s = time.perf_counter(), time.thread_time()
        publishers.publish(*made, SETTINGS)
        computed.append((time.thread_time() - cpu_s) * 1e3)
        passed.append((time.perf_counter() - begun_s) * 1e3)
    p50, p95 = np.percentile(passed[WARM_UP:], (50, 95))
    print(f"{name:<42} {p50:7.2f} {p95:7.2f} {np.median(computed[WARM_UP:]):7.2f}")


def _wait_for(publisher: LifecyclePublisher, number: int) -> None:
    deadline_s = time.monotonic() + 20
    while publisher.get_subscription_count() != number:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"waited 20 s in vain for {number} subscribers of {publisher.topic_name}")
        time.sleep(0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--runs", type=int, default=200)
    arguments = parser.parse_args()
    take_own_domain()
    rclpy.init()
    node, listener = LifecycleNode("outputs"), rclpy.create_node("listener")
    publishers = SegmentationPublishers(node, ModelBundle.load(shipped_bundle()).description)
    node.trigger_configure()
    node.trigger_activate()
    made = frame_set(*arguments.size)
    topics = {each.topic_name: each for each in node.publishers if each.topic_name.startswith("/segmentation/")}
    print(f"{'milliseconds':<42} {'p50':>7} {'p95':>7} {'CPU':>7}")
    show("nobody subscribes", publishers, made, arguments.runs)
    for name, publisher in topics.items():
        if name.endswith("label_info"):  # once, when the node is activated
            continue
        subscription = listener.create_subscription(publisher.msg_type, name, lambda message: None, 1)
        _wait_for(publisher, 1)
        show(name, publishers, made, arguments.runs)
        listener.destroy_subscription(subscription)
        _wait_for(publisher, 0)
    node.destroy_node()
    listener.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
