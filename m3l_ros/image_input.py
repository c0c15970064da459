"""One image topic: messages in, checked frames to the synchronizer."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any, Literal

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image

from m3l_core.frames import Frame
from m3l_core.streaming.frame_decoding import decode_frame
from m3l_core.streaming.sensor_health import HealthThresholds, SensorHealth


class ImageInput:
    """Subscribes to a topic and hands every message on as a frame, a worthless one with its reason.

    Args:
        topic: base topic; a transport other than ``raw`` is appended after remapping, as image_transport does.
        on_frame: takes the frame, why it is unhealthy or None, and when it arrived (``time.perf_counter``).
    """

    def __init__(
        self,
        node: LifecycleNode,
        modality: Literal["color", "depth"],
        topic: str,
        transport: str,
        qos: QoSProfile,
        thresholds: HealthThresholds,
        on_frame: Callable[[Frame, str | None, float], None],
    ) -> None:
        self._node = node
        self._modality = modality
        self._health = SensorHealth(modality, thresholds)
        self._most_pixels = thresholds.max_megapixels * 1_000_000
        self._on_frame = on_frame
        self._was_healthy = True
        resolved = node.resolve_topic_name(topic)
        raw = transport == "raw"
        self._subscription = node.create_subscription(
            Image if raw else CompressedImage,
            resolved if raw else f"{resolved}/{transport}",
            self._receive,
            copy.copy(qos),  # rclpy writes the overrides of one topic into the profile it is given
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def apply_thresholds(self, thresholds: HealthThresholds) -> None:
        self._health.thresholds = thresholds

    def destroy(self) -> None:
        self._node.destroy_subscription(self._subscription)

    def _receive(self, message: Any) -> None:
        arrived_s = time.perf_counter()
        frame, unreadable = decode_frame(self._modality, message, self._most_pixels)
        unhealthy = unreadable or self._health.check(frame)
        if unhealthy is not None and self._was_healthy:
            # Once per episode: every frame is counted, but a broken camera must not flood the log.
            self._node.get_logger().warning(f"{self._modality} frames are not used: {unhealthy}")
        self._was_healthy = unhealthy is None
        self._on_frame(frame, unhealthy, arrived_s)
