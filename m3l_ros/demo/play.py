"""Plays the recording to the node in real time and collects what the node says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from m3l_core.errors import M3LError
from m3l_core.streaming.image_messages import stamp_to_ns
from m3l_ros.demo.recording import CAMERA_INFO_TOPIC, SENSOR_TOPICS, Instant


@dataclass
class Observations:
    """What the node has said so far; written by the listening thread, read by any."""

    masks: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    """Stamp -> labels (H, W) uint8."""
    arrivals_s: list[float] = field(default_factory=list)
    """When each mask came."""
    states: dict[str, str] = field(default_factory=dict)
    """Modality -> OK, STALE or LOST."""
    accounts: dict[str, str] = field(default_factory=dict)
    """What the node says about its pipeline."""
    status: str = ""


class Stage:
    """Publishers for the recording's topics and subscriptions for the node's, in a context of their own."""

    def __init__(self, domain_id: int) -> None:
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain_id)
        self._node = rclpy.create_node("m3l_demo", context=self._context)
        kinds = dict.fromkeys(SENSOR_TOPICS.values(), CompressedImage) | {CAMERA_INFO_TOPIC: CameraInfo}
        self._publishers = {topic: self._node.create_publisher(kind, topic, 5) for topic, kind in kinds.items()}
        self.seen = Observations()
        self._node.create_subscription(Image, "segmentation/mask", self._receive_mask, 10)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._receive_diagnostics, 10)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join(5.0)
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def wait_until_ready(self, still_alive: Callable[[], None], timeout_s: float = 90.0) -> None:
        """Wait until the node labels and hears every topic.

        Raises:
            M3LError: it does not within ``timeout_s``; the text has its last status.
        """
        deadline = time.monotonic() + timeout_s
        while not (
            self.seen.status == "labelling"
            and all(publisher.get_subscription_count() for publisher in self._publishers.values())
        ):
            still_alive()
            if time.monotonic() > deadline:
                said = self.seen.status or "nothing"
                raise M3LError(f"the node was not ready after {timeout_s:.0f} s; it says: {said}")
            time.sleep(0.05)

    def play(self, instants: Sequence[Instant]) -> Iterator[Instant]:
        """Publish every instant when it is due, and yield it."""
        started_s = time.monotonic()
        for instant in instants:
            due_s = started_s + (instant.stamp_ns - instants[0].stamp_ns) / 1e9
            time.sleep(max(0.0, due_s - time.monotonic()))
            for topic, raw in instant.sensor_messages().items():
                self._publishers[topic].publish(raw)
            yield instant

    def wait_for_last_mask(self, stamp_ns: int, timeout_s: float = 5.0) -> None:
        """Wait until the node has labelled ``stamp_ns`` or a later instant, or for ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while max(self.seen.masks, default=0) < stamp_ns and time.monotonic() < deadline:
            time.sleep(0.02)

    def _listen(self) -> None:
        with suppress(ExternalShutdownException):
            self._executor.spin()

    def _receive_mask(self, message: Image) -> None:
        labels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)
        self.seen.masks[stamp_to_ns(message.header.stamp)] = labels
        self.seen.arrivals_s.append(time.monotonic())

    def _receive_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            part = status.name.rpartition(": ")[2]
            if part in SENSOR_TOPICS:
                self.seen.states[part] = status.message
            else:
                self.seen.status = status.message
                self.seen.accounts = {pair.key: pair.value for pair in status.values}


@contextmanager
def open_stage(domain_id: int) -> Iterator[Stage]:
    """A stage that is taken down whatever happens on it."""
    stage = Stage(domain_id)
    try:
        yield stage
    finally:
        stage.close()
