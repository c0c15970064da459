"""Everything the node publishes about a labelled frame set: each only while somebody subscribes to it."""

from __future__ import annotations

import array
import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from m3l_core.bundle_description import BundleDescription
from m3l_core.errors import M3LError
from m3l_core.frames import FrameSet, Segmentation
from m3l_core.overlay import overlay
from m3l_core.streaming.image_messages import fill_image, set_stamp
from m3l_ros.labelled_cloud import LabelledCloud
from m3l_ros.output_settings import OutputSettings
from m3l_ros.sensor_inputs import leading_topic

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:  # the ROS 2 wheels of PyPI lack it
    LabelInfo = None

RELIABLE = QoSProfile(depth=1)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_PNG_OF_MONO8 = "mono8; png compressed "
"""As compressed_image_transport writes it, to the last blank: its subscriber reads the encoding from it."""


class SegmentationPublishers:
    """The topics below ``segmentation/``; create in configure, ``publish`` from one thread."""

    def __init__(self, node: LifecycleNode, description: BundleDescription) -> None:
        self._node = node
        self._labels = description.labels
        self._kinds = description.image_kinds
        self._overrides = QoSOverridingOptions.with_default_policies()
        depths = [name for name, kind in self._kinds.items() if kind == "depth"]
        leading = leading_topic(self._kinds)
        self._cloud = LabelledCloud(depths, *map(node.resolve_topic_name, (leading, "color/camera_info")))
        self._publishers = {
            **self._with_png("mask"),
            **self._with_png("confidence"),
            "camera_info": self._publisher(CameraInfo, "camera_info"),
            **self._with_png("mask_of_interest"),
            "color_mask": self._publisher(Image, "color_mask"),
            "overlay": self._publisher(Image, "overlay"),
            "points": self._publisher(PointCloud2, "points"),
        }
        self._label_info = self._publisher(LabelInfo, "label_info", LATCHED) if LabelInfo else None

    def destroy(self) -> None:
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        if self._label_info is not None:
            self._node.destroy_publisher(self._label_info)

    def publish_label_info(self, settings: OutputSettings) -> None:
        """Tell late comers too which id is which class (read by Nav2's semantic segmentation layer)."""
        if self._label_info is not None:
            ids = settings.class_map(self._labels.names)
            classes = [VisionClass(class_id=class_id, class_name=name) for class_id, name in ids.items()]
            self._label_info.publish(LabelInfo(class_map=classes, threshold=0.0))

    def publish(
        self, frames: FrameSet, segmentation: Segmentation, camera_info: CameraInfo | None, settings: OutputSettings
    ) -> list[str]:
        """Publish what somebody subscribes to, under the stamp and frame of the set's reference.

        Args:
            frames: what was labelled.
            segmentation: its labels, of any size.
            camera_info: of that size, if there is one; its header is written.
            settings: what the node's parameters say.

        Returns:
            What subscribers miss, and why.
        """
        reference = frames.reference_frame
        labels, confidence = segmentation.labels, segmentation.confidence
        remarks: list[str] = []

        @cache
        def ids() -> NDArray[np.uint8]:
            return settings.published_ids(labels)

        @cache
        def interest() -> NDArray[np.uint8]:
            if not any(settings.classes_of_interest):
                remarks.append("segmentation/mask_of_interest is 0 everywhere, as classes_of_interest names no class")
            return settings.interest(self._labels.names)[labels]

        @cache
        def colors() -> NDArray[np.uint8]:
            return self._labels.colorize(labels)

        def blended() -> NDArray[np.uint8]:
            return overlay(reference.data, colors(), settings.overlay_opacity, self._kinds[reference.modality])

        def points() -> PointCloud2 | None:
            try:
                return self._cloud.message(frames, ids(), confidence, camera_info)
            except M3LError as error:
                remarks.append(f"nothing is published on segmentation/points: {error}")
                return None

        makers: dict[str, Callable[[], Any]] = {
            "mask": lambda: _image(ids(), "mono8"),
            "mask/compressed": lambda: _png(ids()),
            "confidence": lambda: _image(confidence, "mono8"),
            "confidence/compressed": lambda: _png(confidence),
            "camera_info": lambda: camera_info,
            "mask_of_interest": lambda: _image(interest(), "mono8"),
            "mask_of_interest/compressed": lambda: _png(interest()),
            "color_mask": lambda: _image(colors(), "rgb8"),
            "overlay": lambda: _image(blended(), "rgb8"),
            "points": points,
        }
        for name, publisher in self._publishers.items():
            if publisher.get_subscription_count() and (message := makers[name]()) is not None:
                message.header.frame_id = reference.frame_id
                set_stamp(message.header.stamp, reference.stamp_ns)
                publisher.publish(message)
        return remarks

    def _with_png(self, name: str) -> dict[str, Any]:
        """Publishers of an image and, beside it wherever it is remapped to, of its png."""
        raw = self._publisher(Image, name)
        return {name: raw, f"{name}/compressed": self._publisher(CompressedImage, f"{raw.topic_name}/compressed")}

    def _publisher(self, message: type, name: str, qos: QoSProfile = RELIABLE) -> Any:
        own_qos = copy.copy(qos)  # rclpy writes the overrides of one topic into the profile it is given
        topic = name if name.startswith("/") else f"segmentation/{name}"
        return self._node.create_lifecycle_publisher(message, topic, own_qos, qos_overriding_options=self._overrides)


def _image(pixels: NDArray[np.uint8], encoding: str) -> Image:
    message = Image()
    fill_image(message, pixels, encoding=encoding, frame_id="", stamp_ns=0)
    return message


def _png(pixels: NDArray[np.uint8]) -> CompressedImage:
    return CompressedImage(format=_PNG_OF_MONO8, data=array.array("B", cv2.imencode(".png", pixels)[1].tobytes()))
