"""What runs while the node is active: subscriptions, synchronizer, worker."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import pairwise
from typing import Any, NamedTuple

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo

from m3l_core.frames import Frame, FrameSet
from m3l_core.registration.camera_model import horizontal_fov_deg, image_size, is_rectified
from m3l_core.segmenter import Segmenter
from m3l_core.streaming.latest_only_worker import LatestOnlyWorker
from m3l_core.streaming.modality_report import ModalityReport, ModalityState
from m3l_core.streaming.registration import is_same_aspect, registration_doubts, without_misfits
from m3l_core.streaming.synchronizer import FrameSynchronizer
from m3l_ros.camera_info import fitted
from m3l_ros.diagnostics import LatencyMeter, LoadMeter, modality_status
from m3l_ros.image_input import ImageInput
from m3l_ros.log_bridge import EventLog
from m3l_ros.parameters import health_thresholds, output_settings, sync_config, value
from m3l_ros.polling import Polling
from m3l_ros.publishers import SegmentationPublishers
from m3l_ros.sensor_inputs import leading_topic, transport_parameter

CLOCK_STANDS_S = 2.0
STEPS = ("decode and synchronize", "wait for the worker", "segment", "publish", "total")
"""Where the time goes, from the arrival of a set's last message to the end of publishing."""


class SessionAccount(NamedTuple):
    """What a session has to say for itself, all of the same moment."""

    statuses: list[DiagnosticStatus]
    """One for each modality."""
    values: dict[str, Any]
    """What became of all frames, and how long it took."""
    lost: list[str]
    """Modalities that are LOST."""
    warning: str
    """What is worse than it should be; empty if nothing is."""


class LabellingSession:
    """Begins to label when it is made and ends with ``close``; both in the executor's thread."""

    def __init__(
        self, node: LifecycleNode, segmenter: Segmenter, publishers: SegmentationPublishers, event_log: EventLog
    ) -> None:
        self._node = node
        self._segmenter = segmenter
        self._publishers = publishers
        self._camera_info: CameraInfo | None = None
        self._rectified = is_rectified(node.resolve_topic_name(leading_topic(segmenter.description.image_kinds)))
        self._outputs = output_settings(node)
        self._missed: list[str] = []
        """What those who listen to the outputs miss."""
        self._arrived_s = 0.0
        self._published = 0
        self._errors_overcome = 0
        self._told: set[str] = set()
        """Doubts about the geometry: each is told once."""
        self._misfit = ""
        self._meters = {step: LatencyMeter() for step in STEPS}
        self._load = LoadMeter()
        self._inputs: dict[str, ImageInput] = {}
        self._clock_stood = False
        self._polling = Polling(node)
        self._names = segmenter.description.modality_names
        self._synchronizer = FrameSynchronizer(
            self._names,
            self._offer,
            clock=self._polling.now_ns,
            config=sync_config(node, self._names),
            on_event=event_log,
        )
        with ExitStack() as started:  # what has been started is stopped again if a later step fails
            self._worker = LatestOnlyWorker(self._label, "segmentation worker")
            started.callback(self._worker.close)
            self._subscribe(started)
            self._polling.start(self._synchronizer, self._poll)
            started.callback(self._polling.stop)
            self._running = started.pop_all()

    def close(self) -> None:
        """Unsubscribe, and wait for the frame set that is being labelled."""
        self._running.close()

    def apply_parameters(self) -> None:
        """Take over what the node's parameters have become, as far as they can change while it labels."""
        self._outputs = output_settings(self._node)
        self._synchronizer.reconfigure(sync_config(self._node, self._names))
        for image_input in self._inputs.values():
            image_input.apply_thresholds(health_thresholds(self._node))
        self._polling.arm()

    def _subscribe(self, started: ExitStack) -> None:
        node = self._node
        qos = QoSProfile(
            depth=value(node, "subscription_queue_size"),
            history=qos_profile_sensor_data.history,
            reliability=qos_profile_sensor_data.reliability,
        )
        thresholds = health_thresholds(node)
        for modality in self._segmenter.description.modalities:
            transport = value(node, transport_parameter(modality.name))
            image_input = ImageInput(node, modality, transport, qos, thresholds, self._receive)
            self._inputs[modality.name] = image_input
            started.callback(image_input.destroy)
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

    def describe(self) -> SessionAccount:
        """What has happened until now."""
        node_name = self._node.get_fully_qualified_name()
        reports = self._synchronizer.report()
        statuses = [
            modality_status(node_name, name, report, self._inputs[name].facts()) for name, report in reports.items()
        ]
        lost = [name for name, report in reports.items() if report.state is ModalityState.LOST]
        warnings = (self._overload(), self._standing_clock(), self._misfit, *self._missed)
        return SessionAccount(statuses, self._accounts(reports), lost, "; ".join(filter(None, warnings)))

    def _overload(self) -> str:
        sets = self._synchronizer.complete_sets + self._synchronizer.partial_sets
        return self._load.overload(sets, self._published, self._worker.replaced)

    def _standing_clock(self) -> str:
        """What to say of a simulated clock that stands; the log says it once."""
        stands_for_s = self._polling.stands_for_s()
        if stands_for_s < CLOCK_STANDS_S:
            self._clock_stood = False
            return ""
        number = self._node.count_publishers("/clock")
        text = f"use_sim_time is set and /clock has not ticked for {stands_for_s:.0f} s ({number} publishers)"
        if not self._clock_stood:
            self._clock_stood = True
            self._node.get_logger().warning(f"{text}: waits go on without it")
        return text

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
        self._polling.arm()

    def _receive_camera_info(self, message: CameraInfo) -> None:
        self._camera_info = message

    def _poll(self) -> None:
        self._arrived_s = time.perf_counter()
        self._synchronizer.poll()

    def _offer(self, frames: FrameSet) -> None:
        self._worker.put((frames, self._arrived_s, time.perf_counter()))

    def _label(self, job: tuple[FrameSet, float, float]) -> None:
        """In the worker's thread: one frame set to labels to messages."""
        came, arrived_s, offered_s = job
        begun_s = time.perf_counter()
        frames, outputs = self._fitting(came), self._outputs
        images = frames.reference_frame.data.shape[:2]
        size = outputs.size(images, self._segmenter.description.input_size)
        self._segmenter.min_confidence = outputs.min_confidence
        self._segmenter.horizontal_fov_deg = self._field_of_view_deg(images)
        segmentation = self._segmenter.segment(frames, size)
        segmented_s = time.perf_counter()
        self._missed = self._publishers.publish(frames, segmentation, self._fitted_camera_info(images, size), outputs)
        ended_s = time.perf_counter()
        self._published += 1
        self._errors_overcome = self._worker.errors
        marks = (arrived_s, offered_s, begun_s, segmented_s, ended_s)
        durations = [later - earlier for earlier, later in pairwise(marks)]
        for step, seconds in zip(STEPS, [*durations, ended_s - arrived_s], strict=True):
            self._meters[step].add(seconds * 1e3)

    def _fitting(self, frames: FrameSet) -> FrameSet:
        """Without what cannot lie over the rest, of which it is told."""
        for doubt in registration_doubts(frames).values():
            self._tell_once(doubt)
        fitting = without_misfits(frames)
        left_out = fitting.missing.items() - frames.missing.items()
        self._misfit = "; ".join(misfit for _, misfit in sorted(left_out))
        return fitting

    def _field_of_view_deg(self, images: tuple[int, int]) -> float | None:
        """How wide images of (H, W) see, by a camera_info of the same aspect ratio."""
        info = self._camera_info
        about_them = info is not None and is_same_aspect(image_size(info), images)
        return horizontal_fov_deg(info, self._rectified) if about_them else None

    def _fitted_camera_info(self, images: tuple[int, int], size: tuple[int, int]) -> CameraInfo | None:
        """The camera_info for a mask of (H, W) = ``size`` over such images, if there is one that fits."""
        if (info := self._camera_info) is None:
            return None
        paired = fitted(info, images, size)
        came = image_size(info)
        if came != images:
            what = f"color/camera_info is of {came[1]}x{came[0]}, the images are of {images[1]}x{images[0]}: "
            done = "it is scaled" if paired is not None else "it cannot be scaled to that and is not passed on"
            self._tell_once(f"{what}{done}. Have the driver publish the camera_info of the mode that it streams")
        return paired

    def _tell_once(self, doubt: str) -> None:
        if doubt not in self._told:
            self._told.add(doubt)
            self._node.get_logger().warning(doubt)
