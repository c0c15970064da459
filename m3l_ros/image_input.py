"""One image topic: messages in, checked frames to the synchronizer."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image

from m3l_core.frames import Frame
from m3l_core.modalities import Modality
from m3l_core.streaming.frame_decoding import decode_frame
from m3l_core.streaming.repeats import Repeats
from m3l_core.streaming.sensor_health import HealthThresholds, SensorHealth
from m3l_ros.sensor_inputs import TRANSPORTS, input_topic, transport_parameter
from m3l_ros.topic_facts import TopicFacts, topic_facts


class ImageInput:
    """Subscribes to the topic of a modality and hands every message on as a frame, a worthless one with its reason.

    Args:
        transport: one other than ``raw`` is appended to the topic after remapping, as image_transport does.
        on_frame: takes the frame, why it is unhealthy or None, and when it arrived (``time.perf_counter``).
    """

    def __init__(
        self,
        node: LifecycleNode,
        modality: Modality,
        transport: str,
        qos: QoSProfile,
        thresholds: HealthThresholds,
        on_frame: Callable[[Frame, str | None, float], None],
    ) -> None:
        self._node = node
        self._modality = modality
        self._unhealthy = Repeats()
        self._health = SensorHealth(modality.kind, thresholds)
        self._most_pixels = thresholds.max_megapixels * 1_000_000
        self._on_frame = on_frame
        self._was_healthy = True
        base = node.resolve_topic_name(input_topic(modality.name))
        # The one that is set first: a bundle may call something depth that is not.
        topics = {name: _topic(base, name) for name in (transport, *TRANSPORTS[modality.kind])}
        self.topic = topics.pop(transport)
        """Fully qualified, with the transport."""
        self._kind = Image if transport == "raw" else CompressedImage
        self._elsewhere: Mapping[str, str] = {
            other: f"set {transport_parameter(modality.name)} to {name}" for name, other in topics.items()
        }
        self._subscription = node.create_subscription(
            self._kind,
            self.topic,
            self._receive,
            copy.copy(qos),  # rclpy writes the overrides of one topic into the profile it is given
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def apply_thresholds(self, thresholds: HealthThresholds) -> None:
        self._health.thresholds = thresholds

    def facts(self) -> TopicFacts:
        """Who publishes on the topic, and why nothing of it arrives."""
        return topic_facts(self._node, self.topic, self._kind, self._subscription.qos_profile, self._elsewhere)

    def destroy(self) -> None:
        self._node.destroy_subscription(self._subscription)

    def _receive(self, message: Any) -> None:
        arrived_s = time.perf_counter()
        frame, unreadable = decode_frame(self._modality.name, message, self._most_pixels, self._modality.kind)
        unhealthy = unreadable or self._health.check(frame)
        # Once per episode, and not for every one: all frames are counted, but a broken camera must not flood the log.
        if unhealthy is not None and self._was_healthy and (number := self._unhealthy.count()):
            more = f" (the {number}th time since this was told last)" if number > 1 else ""
            self._node.get_logger().warning(f"{self._modality.name} frames are not used: {unhealthy}{more}")
        self._was_healthy = unhealthy is None
        self._on_frame(frame, unhealthy, arrived_s)


def _topic(base: str, transport: str) -> str:
    return base if transport == "raw" else f"{base}/{transport}"
