"""How the frames of a robot lie to each other, as /tf_static of its recording says."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3l_core.bags.reader import Bag, deserialize
from m3l_core.errors import DatasetError, ImageMessageError

_TYPE, _TOPIC = "tf2_msgs/msg/TFMessage", "/tf_static"
_Link = tuple[str, NDArray[np.float64]]


class StaticTransforms:
    """A tree of coordinate frames.

    Args:
        links: frame -> its parent, and the (4, 4) [m] that takes points from the frame to the parent.
    """

    def __init__(self, links: Mapping[str, _Link]) -> None:
        self._links = links

    def between(self, source: str, target: str) -> NDArray[np.float64] | None:
        """(4, 4) [m] that takes points from ``source`` to ``target``; None if no chain of links joins them."""
        from_source, from_target = self._ancestors(source), self._ancestors(target)
        for frame, pose in from_source.items():
            if frame in from_target:
                return np.asarray(np.linalg.inv(from_target[frame]) @ pose)
        return None

    def _ancestors(self, frame: str) -> dict[str, NDArray[np.float64]]:
        """A frame and all above it, the nearest first -> what takes points of the frame there."""
        poses = {frame: np.eye(4)}
        while frame in self._links:
            parent, pose = self._links[frame]
            if parent in poses:  # two publishers that contradict each other
                break
            poses[parent] = pose @ poses[frame]
            frame = parent
        return poses


def read_static_transforms(bag: Bag) -> StaticTransforms:
    """All static transforms of a bag, whatever namespace they were recorded in; of several for one frame the last.

    What is damaged is left out: that the bag is, comes to light where its images are read.
    """
    topics = [name for name, info in bag.topics.items() if info.msgtype == _TYPE and name.endswith(_TOPIC)]
    links: dict[str, _Link] = {}
    with suppress(DatasetError):
        for recorded in bag.messages(topics):
            transforms = []
            with suppress(ImageMessageError):
                transforms = deserialize(recorded).transforms
            for each in transforms:
                if (pose := _pose(each.transform)) is not None:
                    links[frame_name(each.child_frame_id)] = (frame_name(each.header.frame_id), pose)
    return StaticTransforms(links)


def frame_name(frame_id: str) -> str:
    """Without the slash that ROS 1 had before it."""
    return frame_id.lstrip("/")


def _pose(transform: Any) -> NDArray[np.float64] | None:
    """geometry_msgs/Transform -> (4, 4); None if its rotation is none."""
    turn = transform.rotation
    quaternion = np.array([turn.w, turn.x, turn.y, turn.z], np.float64)
    length = np.linalg.norm(quaternion)
    if not length > 0:
        return None
    w, axis = quaternion[0] / length, quaternion[1:] / length
    across = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    pose = np.eye(4)
    pose[:3, :3] += 2 * (w * across + across @ across)
    pose[:3, 3] = transform.translation.x, transform.translation.y, transform.translation.z
    return pose
