"""What runs while the node is active: subscriptions, synchronizer, worker."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import pairwise
from typing import Any, Literal

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo

from m3l_core.frames import Frame, FrameSet
from m3l_core.segmenter import Segmenter
from m3l_core.streaming.latest_only_worker import LatestOnlyWorker
from m3l_core.streaming.modality_stream import ModalityReport
from m3l_core.streaming.registration import registration_doubt
from m3l_core.streaming.synchronizer import FrameSynchronizer
from m3l_ros.diagnostics import LatencyMeter, modality_status
from m3l_ros.image_input import ImageInput
from m3l_ros.log_bridge import log_event
from m3l_ros.parameters import health_thresholds, sync_config, value
from m3l_ros.publishers import SegmentationPublishers

MODALITIES = ("color", "depth")
POLL_PERIOD_S = 0.005
STEPS = ("decode and synchronize", "wait for the worker", "segment", "publish", "total")
"""Where the time goes, from the arrival of a set's last message to the end of publishing."""


class LabellingSession:
    """Begins to label when it is made and ends with ``close``; both in the executor's thread."""

    def __init__(self, node: LifecycleNode, segmenter: Segmenter, publishers: SegmentationPublishers) -> None:
        self._node = node
        self._segmenter = segmenter
        self._publishers = publishers
        self._camera_info: CameraInfo | None = None
        self._arrived_s = 0.0
        self._published = 0
        self._errors_overcome = 0
        self._doubted = False
        self._meters = {step: LatencyMeter() for step in STEPS}
        self._inputs: dict[str, ImageInput] = {}
        ros_clock = node.get_clock()
        simulated = value(node, "use_sim_time")
        self._synchronizer = FrameSynchronizer(
            MODALITIES,
            self._offer,
            clock=(lambda: ros_clock.now().nanoseconds) if simulated else time.monotonic_ns,
            config=sync_config(node, MODALITIES),
            on_event=lambda event: log_event(node.get_logger(), event),
        )
        with ExitStack() as started:  # what has been started is stopped again if a later step fails
            self._worker = LatestOnlyWorker(self._label, "segmentation worker")
            started.callback(self._worker.close)
            self._subscribe(started)
            timer = node.create_timer(POLL_PERIOD_S, self._poll)
            started.callback(node.destroy_timer, timer)
            self._running = started.pop_all()

    def close(self) -> None:
        """Unsubscribe, and wait for the frame set that is being labelled."""
        self._running.close()

    def apply_parameters(self) -> None:
        """Take over what the node's parameters have become, as far as they can change while it labels."""
        self._synchronizer.reconfigure(sync_config(self._node, MODALITIES))
        for image_input in self._inputs.values():
            image_input.apply_thresholds(health_thresholds(self._node))

    def _subscribe(self, started: ExitStack) -> None:
        node = self._node
        qos = QoSProfile(
            depth=value(node, "subscription_queue_size"),
            history=qos_profile_sensor_data.history,
            reliability=qos_profile_sensor_data.reliability,
        )
        thresholds = health_thresholds(node)
        inputs: tuple[tuple[Literal["color", "depth"], str, str], ...] = (
            ("color", "color/image_raw", value(node, "image_transport")),
            ("depth", "depth/image_rect", value(node, "depth_image_transport")),
        )
        for name, topic, transport in inputs:
            self._inputs[name] = ImageInput(node, name, topic, transport, qos, thresholds, self._receive)
            started.callback(self._inputs[name].destroy)
        camera_info = node.create_subscription(
            CameraInfo,
            "color/camera_info",
            self._receive_camera_info,
            copy.copy(qos),  # rclpy writes the overrides of one topic into the profile it is given
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        started.callback(node.destroy_subscription, camera_info)

    @property
    def problem(self) -> str:
        """What went wrong with the last frame set; empty once one is labelled again."""
        return self._worker.last_error if self._worker.errors > self._errors_overcome else ""

    def describe(self) -> tuple[list[DiagnosticStatus], dict[str, Any]]:
        """One status per modality, and what became of all frames and how long it took: of the same moment."""
        reports = self._synchronizer.report()
        statuses = [modality_status(self._node.get_name(), name, report) for name, report in reports.items()]
        return statuses, self._accounts(reports)

    def _accounts(self, reports: Mapping[str, ModalityReport]) -> dict[str, Any]:
        values: dict[str, Any] = {
            "frames in": sum(report.received for report in reports.values()),
            "sets complete": self._synchronizer.complete_sets,
            "sets partial": self._synchronizer.partial_sets,
            "sets replaced by newer ones": self._worker.replaced,
            "sets published": self._published,
            "resets": self._synchronizer.resets,
            "errors": self._worker.errors + self._synchronizer.callback_errors,
        }
        for report in reports.values():
            for reason, count in report.dropped.items():
                key = f"dropped: {reason}"
                values[key] = values.get(key, 0) + count
        for step, meter in self._meters.items():
            for rank, milliseconds in meter.percentiles().items():
                values[f"{step} {rank} [ms]"] = f"{milliseconds:.2f}"
        return values

    def _receive(self, frame: Frame, unhealthy: str | None, arrived_s: float) -> None:
        self._arrived_s = arrived_s
        self._synchronizer.add(frame, unhealthy)

    def _receive_camera_info(self, message: CameraInfo) -> None:
        self._camera_info = message

    def _poll(self) -> None:
        self._arrived_s = time.perf_counter()
        self._synchronizer.poll()

    def _offer(self, frames: FrameSet) -> None:
        self._worker.put((frames, self._arrived_s, time.perf_counter()))

    def _label(self, job: tuple[FrameSet, float, float]) -> None:
        """In the worker's thread: one frame set to labels to messages."""
        frames, arrived_s, offered_s = job
        begun_s = time.perf_counter()
        if not self._doubted and (doubt := registration_doubt(frames)) is not None:
            self._doubted = True
            self._node.get_logger().warning(doubt)
        self._segmenter.min_confidence = value(self._node, "min_confidence")
        segmentation = self._segmenter.segment(frames)
        segmented_s = time.perf_counter()
        opacity = value(self._node, "overlay_opacity")
        self._publishers.publish(frames, segmentation, self._camera_info, opacity)
        ended_s = time.perf_counter()
        self._published += 1
        self._errors_overcome = self._worker.errors
        marks = (arrived_s, offered_s, begun_s, segmented_s, ended_s)
        durations = [later - earlier for earlier, later in pairwise(marks)]
        for step, seconds in zip(STEPS, [*durations, ended_s - arrived_s], strict=True):
            self._meters[step].add(seconds * 1e3)
