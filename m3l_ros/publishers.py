"""Everything the node publishes about a labelled frame set. Pictures are drawn only while somebody looks."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image

from m3l_core.bundle_description import BundleDescription
from m3l_core.frames import FrameSet, Segmentation
from m3l_core.overlay import overlay
from m3l_core.streaming.image_messages import fill_image, set_stamp

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:  # the ROS 2 wheels of PyPI lack it
    LabelInfo = None

RELIABLE = QoSProfile(depth=1)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class SegmentationPublishers:
    """The topics below ``segmentation/``; create in configure, ``publish`` from any thread."""

    def __init__(self, node: LifecycleNode, description: BundleDescription) -> None:
        self._node = node
        self._labels = description.labels
        self._kinds = {modality.name: modality.kind for modality in description.modalities}
        self._overrides = QoSOverridingOptions.with_default_policies()
        self._mask = self._publisher(Image, "mask")
        self._confidence = self._publisher(Image, "confidence")
        self._camera_info = self._publisher(CameraInfo, "camera_info")
        self._color_mask = self._publisher(Image, "color_mask")
        self._overlay = self._publisher(Image, "overlay")
        self._label_info = self._publisher(LabelInfo, "label_info", LATCHED) if LabelInfo else None

    def destroy(self) -> None:
        for publisher in (self._mask, self._confidence, self._camera_info, self._color_mask, self._overlay):
            self._node.destroy_publisher(publisher)
        if self._label_info is not None:
            self._node.destroy_publisher(self._label_info)

    def publish_label_info(self) -> None:
        """Tell late comers too which id is which class (read by Nav2's semantic segmentation layer)."""
        if self._label_info is not None:
            classes = [VisionClass(class_id=i, class_name=name) for i, name in enumerate(self._labels.names)]
            self._label_info.publish(LabelInfo(class_map=classes, threshold=0.0))

    def publish(
        self, frames: FrameSet, segmentation: Segmentation, camera_info: CameraInfo | None, opacity: float
    ) -> None:
        """Publish labels under the stamp and frame of the set's reference, and what else is listened to.

        ``camera_info`` is of the labels' size; its header is written.
        """
        reference = frames.reference_frame
        header = {"frame_id": reference.frame_id, "stamp_ns": reference.stamp_ns}
        self._mask.publish(_image(segmentation.labels, "mono8", header))
        self._confidence.publish(_image(segmentation.confidence, "mono8", header))
        if camera_info is not None:
            camera_info.header.frame_id = reference.frame_id
            set_stamp(camera_info.header.stamp, reference.stamp_ns)
            self._camera_info.publish(camera_info)
        watched = [publisher for publisher in (self._color_mask, self._overlay) if publisher.get_subscription_count()]
        if watched:
            colors = self._labels.colorize(segmentation.labels)
            if self._color_mask in watched:
                self._color_mask.publish(_image(colors, "rgb8", header))
            if self._overlay in watched:
                picture = overlay(reference.data, colors, opacity, self._kinds[reference.modality])
                self._overlay.publish(_image(picture, "rgb8", header))

    def _publisher(self, message: type, name: str, qos: QoSProfile = RELIABLE) -> Any:
        own_qos = copy.copy(qos)  # rclpy writes the overrides of one topic into the profile it is given
        return self._node.create_lifecycle_publisher(
            message, f"segmentation/{name}", own_qos, qos_overriding_options=self._overrides
        )


def _image(array: np.ndarray, encoding: str, header: dict[str, Any]) -> Image:
    message = Image()
    fill_image(message, array, encoding=encoding, **header)
    return message
