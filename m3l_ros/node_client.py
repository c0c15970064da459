"""The other side of the node's topics: publishes what cameras would, hears what the node says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from sensor_msgs.msg import Image

from m3l_core.errors import M3LError
from m3l_core.streaming.image_messages import stamp_to_ns

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What /diagnostics says of a modality, or of the whole."""

    message: str = ""
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_labelling(self) -> bool:
        """Whether the whole is active, whatever else it says."""
        return self.message.startswith("labelling")


class NodeClient:
    """Talks to the node in a context of its own and hears it in a thread of its own.

    Args:
        name: of the ROS node that this is.
        domain_id: ROS domain.
        topics: topic to publish -> its message type.
        check: raises M3LError if the node has died; called while waiting for it.
    """

    def __init__(self, name: str, domain_id: int, topics: Mapping[str, type], check: Callable[[], None]) -> None:
        self.on_mask: Callable[[int, NDArray[np.uint8]], None] = lambda stamp_ns, ids: None
        """Takes the labels (H, W) uint8 of a stamp; this and the next are called in the listening thread."""
        self.on_statuses: Callable[[Mapping[str, NodeStatus]], None] = lambda statuses: None
        """Takes what ``statuses`` has become."""
        self.statuses: Mapping[str, NodeStatus] = {}
        """Modality, or ``segmentation`` for the whole -> the newest diagnostics; no modality unless it is active."""
        self._check = check
        self._served = "/segment_node"
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain_id)
        self._node = rclpy.create_node(name, context=self._context)
        self._publishers = {topic: self._node.create_publisher(kind, topic, 5) for topic, kind in topics.items()}
        self._unasked: dict[str, Any] = {}
        self._node.create_subscription(Image, "segmentation/mask", self._receive_mask, 10)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._receive_diagnostics, 10)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._closing = threading.Event()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._executor.create_task(lambda: None)  # wakes it; to shut it down while it spins may raise there
        self._thread.join(5.0)
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    @property
    def state(self) -> NodeStatus:
        """Of the whole: that it labels, is inactive, or what is wrong; empty if the node has not been heard."""
        return self.statuses.get("segmentation", NodeStatus())

    def is_heard(self) -> bool:
        """Whether somebody subscribes to every topic."""
        return all(publisher.get_subscription_count() for publisher in self._publishers.values())

    def is_unheard(self) -> bool:
        """Whether nobody subscribes to any topic."""
        return not any(publisher.get_subscription_count() for publisher in self._publishers.values())

    def rivals(self) -> list[str]:
        """Topics to which others publish, too."""
        return [topic for topic in self._publishers if self._node.count_publishers(topic) > 1]

    def announce(self, topic: str, kind: type) -> None:
        """Make a further topic, to which nobody needs to subscribe, ready to be published on."""
        if topic not in self._unasked:
            self._unasked[topic] = self._node.create_publisher(kind, topic, 5)

    def publish(self, topic: str, raw: bytes) -> None:
        """Publish a serialized message (CDR)."""
        (self._publishers.get(topic) or self._unasked[topic]).publish(raw)

    def pace(self, items: Iterable[T], time_ns: Callable[[T], int]) -> Iterator[T]:
        """Each item when it is due: as long after the first as their times are apart.

        Raises:
            M3LError: the node has died.
        """
        ahead_ns: int | None = None
        for item in items:
            if ahead_ns is None:
                ahead_ns = time.monotonic_ns() - time_ns(item)
            self._check()
            while (left_ns := time_ns(item) + ahead_ns - time.monotonic_ns()) > 0:
                time.sleep(min(left_ns / 1e9, 0.5))
                self._check()
            yield item

    def wait_until(self, condition: Callable[[], object], timeout_s: float) -> bool:
        """Whether the condition has come true within that time.

        Raises:
            M3LError: the node has died.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            self._check()
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def call(self, kind: type, service: str, request: Any, timeout_s: float) -> Any:
        """The answer of a service.

        Raises:
            M3LError: there is none within that time, or the node has died.
        """
        client = self._node.create_client(kind, service)
        try:
            if self.wait_until(client.service_is_ready, timeout_s):
                answer = client.call_async(request)
                if self.wait_until(answer.done, timeout_s):
                    return answer.result()
        finally:
            self._node.destroy_client(client)
        raise M3LError(f"the node did not answer {service} within {timeout_s:.0f} s")

    def _listen(self) -> None:
        with suppress(ExternalShutdownException):
            while not self._closing.is_set():
                self._executor.spin_once()

    def _receive_mask(self, message: Image) -> None:
        ids = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)
        self.on_mask(stamp_to_ns(message.header.stamp), ids)

    def _receive_diagnostics(self, message: DiagnosticArray) -> None:
        statuses = {
            status.name.rpartition(": ")[2]: NodeStatus(
                status.message, {pair.key: pair.value for pair in status.values}
            )
            for status in message.status
            if status.name.startswith(f"{self._served}: ")
        }
        if statuses:  # not those of others
            self.statuses = statuses
            self.on_statuses(statuses)


@contextmanager
def node_client(
    name: str, domain_id: int, topics: Mapping[str, type], check: Callable[[], None] = lambda: None
) -> Iterator[NodeClient]:
    """A client that is taken down whatever happens meanwhile."""
    client = NodeClient(name, domain_id, topics, check)
    try:
        yield client
    finally:
        client.close()
