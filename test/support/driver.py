"""The other side of the topics: sends what cameras send, collects what the node says."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Log
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from support import messages

from m3l_core.streaming.image_messages import set_stamp, stamp_to_ns

COLOR, DEPTH = "/color/image_raw", "/depth/image_rect"
PERIOD_NS = 100_000_000
T = TypeVar("T")


@dataclass
class Status:
    level: int
    message: str
    values: dict[str, str]

    def count(self, key: str) -> int:
        return int(self.values.get(key, 0))

    @property
    def state(self) -> str:
        return self.values.get("state", "")

    @property
    def dropped(self) -> dict[str, int]:
        return {key: int(value) for key, value in self.values.items() if key.startswith("dropped: ")}


class Driver:
    """Everything happens inside ``wait_for``: no thread of its own, so tests read its lists without a lock."""

    def __init__(self, domain_id: int, still_alive: Callable[[], None] = lambda: None) -> None:
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain_id)
        self.node = Node("driver", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._publishers: dict[str, Any] = {}
        self._clients: dict[str, Any] = {}
        self.still_alive = still_alive
        self.meanwhile: Callable[[], None] = lambda: None
        """Called again and again while waiting."""
        self.received: dict[str, list[Any]] = {}
        self.statuses: dict[str, Status] = {}
        self.log: list[Log] = []
        self.stamp_ns = 1_700_000_000_000_000_000
        self.count = 0
        self.color_topic, self.depth_topic = COLOR, DEPTH
        self.make_color: Callable[[int], Any]
        self.make_depth: Callable[[int], Any]
        self.parameters = AsyncParameterClient(self.node, "segment_node")
        self.clear()
        for name, kind in (("mask", Image), ("confidence", Image), ("camera_info", CameraInfo)):
            self.listen(kind, name)
        latched = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.node.create_subscription(Log, "/rosout", self.log.append, latched)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._take_diagnostics, 100)

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def listen(self, kind: type, name: str) -> Any:
        """Collect ``segmentation/<name>``."""
        taken = self.received.setdefault(name, [])
        return self.node.create_subscription(kind, f"/segmentation/{name}", taken.append, QoSProfile(depth=100))

    def forget(self, subscription: Any) -> None:
        self.node.destroy_subscription(subscription)

    def clear(self) -> None:
        self.make_color, self.make_depth = messages.color, messages.depth
        for taken in self.received.values():
            taken.clear()
        self.statuses.clear()
        self._complete = 0
        self.log.clear()

    def wait_for(self, what: str, condition: Callable[[], T], timeout_s: float = 20.0) -> T:
        """Run until ``condition`` gives something true."""
        deadline = time.monotonic() + timeout_s
        while not (result := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"no {what} within {timeout_s:g} s; {self._what_is_known()}")
            self._turn()
        return result

    def _turn(self) -> None:
        self.still_alive()
        self.meanwhile()
        self._executor.spin_once(timeout_sec=0.01)

    def _what_is_known(self) -> str:
        log = "\n".join(entry.msg for entry in self.log)
        return f"diagnostics: {self.statuses}; log:\n{log}"

    def finish(self, future: Any, what: str) -> Any:
        self.wait_for(f"answer to {what}", future.done)
        return future.result()

    # --- sensors ---

    def send(self, topic: str, message: Any, stamp_ns: int) -> None:
        publisher = self._publishers.get(topic)
        if publisher is None:
            publisher = self._publishers[topic] = self.node.create_publisher(type(message), topic, 10)
        self.wait_for(f"subscription to {topic}", publisher.get_subscription_count)
        set_stamp(message.header.stamp, stamp_ns)
        publisher.publish(message)

    def subscribers_of(self, topic: str) -> int:
        return self._publishers[topic].get_subscription_count()

    def next_stamp(self) -> int:
        self.count += 1
        self.stamp_ns += PERIOD_NS
        return self.stamp_ns

    def send_color(self, message: Any = None, stamp_ns: int | None = None) -> int:
        stamp_ns = self.next_stamp() if stamp_ns is None else stamp_ns
        message = self.make_color(self.count) if message is None else message
        message.header.frame_id = "color_optical_frame"
        self.send(self.color_topic, message, stamp_ns)
        return stamp_ns

    def send_depth(self, message: Any = None, stamp_ns: int | None = None) -> int:
        stamp_ns = self.next_stamp() if stamp_ns is None else stamp_ns
        message = self.make_depth(self.count) if message is None else message
        message.header.frame_id = "depth_optical_frame"
        self.send(self.depth_topic, message, stamp_ns)
        return stamp_ns

    def send_pair(self, color: Any = None, depth: Any = None) -> int:
        return self.send_depth(depth, self.send_color(color))

    # --- what the node says ---

    def mask(self, stamp_ns: int) -> Image | None:
        """The mask of this stamp, if it has come."""
        return next((m for m in self.received["mask"] if stamp_to_ns(m.header.stamp) == stamp_ns), None)

    def mask_stamps(self) -> list[int]:
        return [stamp_to_ns(mask.header.stamp) for mask in self.received["mask"]]

    def wait_for_mask(self, stamp_ns: int, timeout_s: float = 20.0) -> Image:
        mask = self.wait_for("mask", lambda: self.mask(stamp_ns), timeout_s)
        assert mask is not None
        return mask

    def label_pair(self, patience_s: float = 3.0) -> Image:
        """Send pairs until one more complete set is labelled; the first may come before both sides are connected."""
        before = self._complete

        def labelled(stamp_ns: int) -> Image | None:
            self._complete = self.status("segmentation").count("sets complete")
            return self.mask(stamp_ns) if self._complete > before else None

        return self.repeat("labelled pair", self.send_pair, labelled, patience_s)

    def repeat(
        self, what: str, send: Callable[[], int], outcome: Callable[[int], T | None], patience_s: float = 3.0
    ) -> T:
        """Send until the outcome for one stamp is there: sensor data is best effort, so one may get lost."""
        deadline = time.monotonic() + 25.0
        while True:
            stamp_ns = send()
            until = time.monotonic() + patience_s
            while time.monotonic() < until:
                if result := outcome(stamp_ns):
                    return result
                self._turn()
            if until > deadline:
                raise AssertionError(f"no {what}; {self._what_is_known()}")

    def status(self, name: str) -> Status:
        """The newest diagnostics about ``color``, ``depth`` or ``segmentation``."""
        return self.statuses.get(name, Status(-1, "", {}))

    def lines(self, part: str = "") -> list[str]:
        """What the node logged, by a part of it."""
        return [entry.msg for entry in self.log if entry.name == "segment_node" and part in entry.msg]

    def wait_for_line(self, part: str) -> str:
        return self.wait_for(f"log line with '{part}'", lambda: self.lines(part))[0]

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            node, _, name = status.name.partition(": ")
            assert node == "/segment_node"
            values = {pair.key: pair.value for pair in status.values}
            self.statuses[name] = Status(ord(status.level), status.message, values)

    # --- services ---

    def call(self, kind: type, name: str, request: Any) -> Any:
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, f"/segment_node/{name}")
        client = self._clients[name]
        self.wait_for(f"service {name}", client.service_is_ready)
        return self.finish(client.call_async(request), name)

    def change_state(self, label: str = "", number: int = 0) -> bool:
        """Ask for a transition by its label, or by its number as launch files do."""
        request = ChangeState.Request()
        request.transition.label, request.transition.id = label, number
        return bool(self.call(ChangeState, "change_state", request).success)

    def state(self) -> str:
        return str(self.call(GetState, "get_state", GetState.Request()).current_state.label)
