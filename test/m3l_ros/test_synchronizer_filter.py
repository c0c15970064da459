from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rclpy
from rcl_interfaces.msg import Log
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest
from support.dds_domain import own_domain

from m3l_core.streaming.image_messages import set_stamp
from m3l_core.streaming.sync_config import SyncConfig
from m3l_ros.synchronizer_filter import FrameSynchronizerFilter

pytestmark = [pytest.mark.needs("rclpy"), pytest.mark.dds]
TOPICS = {"color": "color/image_raw", "depth": "depth/image_rect"}
PERIOD_NS = 33_333_333
QUEUE_SIZE = 50
KINDS = (CameraInfo, RegionOfInterest)
# The waits are wide, as a busy machine delivers late; sensor_timeout stays short.
CONFIG = SyncConfig(sync_timeout_ns=2_000_000_000, sensor_timeout_ns=700_000_000, queue_size=100)


class PlainSource:
    """What other people's own filters look like: a plain subscription and ``registerCallback``."""

    def __init__(self, node: Node, topic: str, kind: type = Image) -> None:
        self.callbacks: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        node.create_subscription(kind, topic, self._receive, QUEUE_SIZE)

    def registerCallback(self, callback: Callable[..., Any], *args: Any) -> None:
        self.callbacks.append((callback, args))

    def _receive(self, message: Any) -> None:
        for callback, args in self.callbacks:
            callback(message, *args)


def message_filters_source(node: Node, topic: str) -> Any:
    message_filters = pytest.importorskip(
        "message_filters", reason="message_filters comes with a ROS 2 installation, not from PyPI"
    )
    return message_filters.Subscriber(node, Image, topic, qos_profile=QUEUE_SIZE)


class Bench:
    """A node that listens and one that publishes, in a DDS domain of their own."""

    def __init__(self, domain: int) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = Node("listener", context=self.context)
        self.camera = Node("camera", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.publishers = {
            name: self.camera.create_publisher(Image, topic, QUEUE_SIZE) for name, topic in TOPICS.items()
        }
        self.index = 0

    def wait_until(self, condition: Callable[[], bool], meanwhile: Callable[[], None] = lambda: None) -> None:
        next_s = time.monotonic()
        deadline_s = next_s + 20
        while not condition():
            assert time.monotonic() < deadline_s, "waited in vain"
            if time.monotonic() >= next_s:
                meanwhile()
                next_s = time.monotonic() + PERIOD_NS / 1e9
            self.executor.spin_once(timeout_sec=0.01)

    def discover(self) -> None:
        self.wait_until(lambda: all(publisher.get_subscription_count() for publisher in self.publishers.values()))

    def play(self, *names: str) -> None:
        self.index += 1
        for name in names:
            message = Image(encoding=name)
            set_stamp(message.header.stamp, self.index * PERIOD_NS)
            self.publishers[name].publish(message)

    def close(self) -> None:
        self.executor.shutdown()
        self.camera.destroy_node()
        self.node.destroy_node()
        self.context.shutdown()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    with own_domain() as domain:
        bench = Bench(domain)
        yield bench
        bench.close()


@pytest.fixture(params=[PlainSource, message_filters_source])
def sources(request: pytest.FixtureRequest, bench: Bench) -> list[Any]:
    return [request.param(bench.node, topic) for topic in TOPICS.values()]


def test_sets_go_on_with_none_when_a_topic_falls_silent(bench: Bench, sources: list[Any]) -> None:
    sync = FrameSynchronizerFilter(sources, list(TOPICS), bench.node, CONFIG)
    sets: list[tuple[Any, ...]] = []
    reasons: list[str] = []

    def collect(color: Any, depth: Any, extra: str) -> None:
        assert extra == "extra"
        sets.append((color, depth))
        reasons.append(sync.missing.get("depth", ""))

    sync.registerCallback(collect, "extra")
    bench.discover()
    bench.wait_until(lambda: len(sets) >= 5, lambda: bench.play("color", "depth"))
    complete = sets[-1]
    assert [message.encoding for message in complete] == list(TOPICS)
    assert complete[0].header.stamp == complete[1].header.stamp
    assert not sync.missing

    begin = len(sets)
    bench.wait_until(lambda: len(sets) >= begin + 60, lambda: bench.play("color"))
    assert sets[-1][0].encoding == "color" and sets[-1][1] is None
    assert reasons[-1].startswith("no healthy frame for ")

    bench.wait_until(lambda: sets[-1][1] is not None, lambda: bench.play("color", "depth"))
    stamps = [color.header.stamp.sec * 10**9 + color.header.stamp.nanosec for color, _ in sets]
    assert stamps == sorted(set(stamps))


def test_a_callback_that_raises_stops_neither_the_others_nor_later_sets(bench: Bench, sources: list[Any]) -> None:
    sync = FrameSynchronizerFilter(sources, list(TOPICS), bench.node, CONFIG)
    calls = {"raising": 0, "other": 0, "disconnected": 0}

    def count(name: str) -> None:
        calls[name] += 1
        if name == "raising":
            raise RuntimeError("not my day")

    connections = {name: sync.registerCallback(lambda color, depth, name: count(name), name) for name in calls}
    sync.disconnect(connections["disconnected"])
    bench.discover()
    bench.wait_until(lambda: calls["raising"] >= 5, lambda: bench.play("color", "depth"))
    assert calls["other"] == calls["raising"] and calls["disconnected"] == 0


def test_nothing_comes_after_destroy(bench: Bench, sources: list[Any]) -> None:
    sync = FrameSynchronizerFilter(sources, list(TOPICS), bench.node, CONFIG)
    timers = len(list(bench.node.timers))
    sets: list[Any] = []
    sync.registerCallback(lambda *messages: sets.append(messages))
    still_fed: list[Any] = []
    sources[0].registerCallback(still_fed.append)
    bench.discover()
    bench.wait_until(lambda: bool(sets), lambda: bench.play("color", "depth"))

    sync.destroy()
    received = sync.synchronizer.report()["color"].received
    number, fed = len(sets), len(still_fed)
    bench.wait_until(lambda: len(still_fed) >= fed + 5, lambda: bench.play("color", "depth"))
    assert len(sets) == number
    assert sync.synchronizer.report()["color"].received == received
    assert len(list(bench.node.timers)) == timers - 1


def test_what_cannot_be_synchronized_is_refused(bench: Bench) -> None:
    source = PlainSource(bench.node, "color")
    with pytest.raises(ValueError, match="a name for each of the 2 inputs"):
        FrameSynchronizerFilter([source, source], ["color"], bench.node)


def test_a_message_without_a_header_is_dropped_and_told_by_the_filter_s_name(bench: Bench) -> None:
    """An exception would end the executor: of both filters, and of whatever else the node does."""
    heard: list[Log] = []
    bench.camera.create_subscription(Log, "/rosout", heard.append, 100)
    bench.executor.add_node(bench.camera)
    topics = ("color/camera_info", "color/roi")  # with a header, and without
    publishers = [bench.camera.create_publisher(kind, topic, 10) for kind, topic in zip(KINDS, topics, strict=True)]
    sets: list[tuple[Any, ...]] = []
    for name in ("", "rear"):
        sources = [PlainSource(bench.node, topic, kind) for kind, topic in zip(KINDS, topics, strict=True)]
        sync = FrameSynchronizerFilter(sources, ["info", "roi"], bench.node, CONFIG, name=name)
        sync.registerCallback(lambda info, roi: sets.append((info, roi)))

    def play() -> None:
        bench.index += 1
        info, roi = CameraInfo(), RegionOfInterest()
        set_stamp(info.header.stamp, bench.index * PERIOD_NS)
        for publisher, message in zip(publishers, (info, roi), strict=True):
            publisher.publish(message)

    def warned() -> dict[str, str]:
        return {entry.name: entry.msg for entry in heard if "dropped a RegionOfInterest of 'roi'" in entry.msg}

    bench.wait_until(lambda: len(warned()) == 2 and len(sets) >= 4, play)
    assert set(warned()) == {"listener.info+roi", "listener.rear"}
    assert all(roi is None for _, roi in sets)
