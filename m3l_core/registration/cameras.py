"""The cameras of a recording, and whether its depth is registered to its color."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3l_core.bags.reader import Bag, deserialize
from m3l_core.bags.topics import choose_topics
from m3l_core.errors import DatasetError, ImageMessageError
from m3l_core.registration.camera_model import (
    CameraModel,
    camera_model,
    horizontal_fov_deg,
    image_size,
    is_rectified,
)
from m3l_core.registration.depth_registration import DepthRegistration
from m3l_core.registration.static_transforms import frame_name, read_static_transforms
from m3l_core.streaming.frame_decoding import decode_frame
from m3l_core.streaming.registration import is_same_aspect

_CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
_TRANSPORT = re.compile(r"/(compressedDepth|compressed)$")
_TRIED = 30
"""So many messages of a camera_info are looked at for a calibrated one."""
_ONE_PLACE = 1e-3
"""Metres, and radians: cameras that lie closer are one, of which two frames were named."""
_IN_THE_DRIVER = (
    "Have the driver register it: RealSense with align_depth.enable:=true, on aligned_depth_to_color/image_raw; ZED on "
    "depth/depth_registered; OAK with stereo.i_align_depth: true; others by depth_image_proc's register node"
)


@dataclass(frozen=True, slots=True)
class RecordedCamera:
    """Of one image topic."""

    topic: str
    frame_id: str
    size: tuple[int, int]
    """(H, W) of its images."""
    model: CameraModel | None = None
    lacking: str = ""
    """Why there is no model."""
    info: Any = None
    """Its camera_info, if one was recorded."""

    @property
    def info_topic(self) -> str:
        return _beside(self.topic)

    @property
    def horizontal_fov_deg(self) -> float | None:
        """How wide its images see, if a camera_info that is about them says it."""
        about_them = self.info is not None and is_same_aspect(image_size(self.info), self.size)
        return horizontal_fov_deg(self.info, is_rectified(_base(self.topic))) if about_them else None

    def __str__(self) -> str:
        return f"{self.topic} (frame '{self.frame_id}', {self.size[1]}x{self.size[0]})"


@dataclass(frozen=True, slots=True)
class RecordedCameras:
    """Of a recording."""

    by_modality: Mapping[str, RecordedCamera] = field(default_factory=dict)
    """Those whose topic has an image."""
    registration: DepthRegistration | None = None
    """What registers depth to color; None if it is so already."""

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W) of the images, registered; None if they differ."""
        color = self.by_modality.get("color") if self.registration is not None else None
        sizes = {camera.size for camera in ([*self.by_modality.values()] if color is None else [color])}
        return sizes.pop() if len(sizes) == 1 else None

    def described(self) -> dict[str, Any]:
        """In words that a file can hold."""
        content: dict[str, Any] = {
            name: {"frame_id": camera.frame_id, **({} if camera.model is None else camera.model.intrinsics)}
            for name, camera in self.by_modality.items()
        }
        if self.registration is not None:
            content["depth_to_color"] = self.registration.depth_to_color.tolist()
        return content


def read_cameras(bag: Bag, topics: Mapping[str, str], depth_as_is: bool = False) -> RecordedCameras:
    """Look at the first readable image of each topic, at their camera_info and, if need be, at the static transforms.

    Depth counts as registered where it has the pixels of color (size and K) and no transform that says it was seen from
    another place, or its frame_id and size while a camera_info is lacking.

    Args:
        bag: an open bag.
        topics: modality (color, depth) -> topic.
        depth_as_is: depth is taken for registered.

    Raises:
        DatasetError: depth is not registered and the bag lacks what it takes to do that, or the bag is damaged.
    """
    cameras = _cameras(bag, topics)
    color, depth = cameras.get("color"), cameras.get("depth")
    if color is None or depth is None or depth_as_is:
        return RecordedCameras(cameras)
    pose = _pose(bag, color, depth)
    if _registered(color, depth, pose):
        return RecordedCameras(cameras)
    lacking = [camera.lacking for camera in (color, depth) if camera.model is None]
    lacking += [_wrong_size(camera) for camera in (color, depth) if camera.model and camera.model.size != camera.size]
    if pose is None:
        lacking.append(f"no chain of transforms on /tf_static joins '{depth.frame_id}' and '{color.frame_id}'")
    if lacking or pose is None or color.model is None or depth.model is None:
        raise _not_registered(bag.path, color, depth, lacking)
    pose = np.linalg.inv(_in_frame(color.model)) @ pose @ _in_frame(depth.model)
    return RecordedCameras(cameras, DepthRegistration(depth.model, color.model, pose))


def unregistered_depth(bag: Bag, topics: Mapping[str, str]) -> str | None:
    """What to tell of a bag whose depth does not lie over its color, by the rule of ``read_cameras``; None if it does.

    Raises:
        DatasetError: the bag is damaged.
    """
    cameras = _cameras(bag, topics)
    color, depth = cameras.get("color"), cameras.get("depth")
    if color is None or depth is None or _registered(color, depth, _pose(bag, color, depth)):
        return None
    return f"depth on {depth} is not registered to color on {color}. {_IN_THE_DRIVER}"


def seeing_camera(bag: Bag, topics: Mapping[str, str]) -> RecordedCamera | None:
    """Whose view color and registered depth share, whichever of them is used; None if no camera_info tells how wide.

    None also where the bag is damaged, which is for who reads its frames to tell.
    """
    with suppress(DatasetError):
        cameras = _cameras(bag, topics)
        known = next((camera for camera in cameras.values() if camera.horizontal_fov_deg is not None), None)
        if known is not None or "color" in topics:
            return known
        color = _camera(bag, "color", choose_topics(bag.topics, {"color": None})["color"])
        depth = cameras.get("depth")
        if color is not None and depth is not None and is_same_aspect(color.size, depth.size):
            return color if color.horizontal_fov_deg is not None else None
    return None


def field_of_view_deg(bag: Bag, topics: Mapping[str, str]) -> float | None:
    """How wide that camera sees from side to side, if it is known."""
    camera = seeing_camera(bag, topics)
    return None if camera is None else camera.horizontal_fov_deg


def _cameras(bag: Bag, topics: Mapping[str, str]) -> dict[str, RecordedCamera]:
    """Of color, then of depth."""
    used = {name: topics[name] for name in ("color", "depth") if name in topics}
    return {name: camera for name, topic in used.items() if (camera := _camera(bag, name, topic)) is not None}


def _pose(bag: Bag, color: RecordedCamera, depth: RecordedCamera) -> NDArray[np.float64] | None:
    """(4, 4): takes points from depth's frame to color's; None if nothing joins them."""
    if color.frame_id == depth.frame_id:
        return np.eye(4)
    return read_static_transforms(bag).between(depth.frame_id, color.frame_id)


def _camera(bag: Bag, modality: str, topic: str) -> RecordedCamera | None:
    for recorded in bag.messages((topic,)):
        try:
            frame, unreadable = decode_frame(modality, deserialize(recorded))
        except ImageMessageError:
            continue
        if unreadable is None:
            height, width = frame.data.shape[:2]
            info, why = _info(bag, topic)
            model = why if info is None else _model(info, topic)
            known = (model, "", info) if isinstance(model, CameraModel) else (None, model, info)
            return RecordedCamera(topic, frame_name(frame.frame_id), (height, width), *known)
    return None


def _info(bag: Bag, topic: str) -> tuple[Any, str]:
    """The first calibrated camera_info of an image topic, else the first; or None and why there is none."""
    beside = _beside(topic)
    if beside not in bag.topics or bag.topics[beside].msgtype != _CAMERA_INFO:
        return None, f"{beside} was not recorded"
    first, why = None, f"{beside} has no message"
    for recorded in islice(bag.messages((beside,)), _TRIED):
        try:
            info = deserialize(recorded)
        except ImageMessageError as error:
            why = f"{beside}: {error}"
            continue
        if info.k[0] > 0:
            return info, ""
        first = info if first is None else first
    return first, why


def _model(info: Any, topic: str) -> CameraModel | str:
    """The camera of an image topic, or why it is not known."""
    try:
        return camera_model(info, rectified=is_rectified(_base(topic)))
    except ImageMessageError as error:
        return f"{_beside(topic)}: {error}"


def _beside(topic: str) -> str:
    """Where image_transport has the camera_info of an image topic."""
    return f"{_base(topic).rpartition('/')[0]}/camera_info"


def _base(topic: str) -> str:
    """Without its transport."""
    return _TRANSPORT.sub("", topic)


def _registered(color: RecordedCamera, depth: RecordedCamera, pose: NDArray[np.float64] | None) -> bool:
    if color.model is not None and depth.model is not None:
        in_one_place = pose is None or np.allclose(pose, np.eye(4), atol=_ONE_PLACE)
        return color.model.same_grid(depth.model) and in_one_place
    return color.frame_id == depth.frame_id and color.size == depth.size


def _in_frame(camera: CameraModel) -> NDArray[np.float64]:
    """(4, 4): takes points from the camera to its optical frame."""
    pose = np.eye(4)
    pose[:3, :3] = camera.rotation
    return pose


def _wrong_size(camera: RecordedCamera) -> str:
    height, width = (0, 0) if camera.model is None else camera.model.size
    return f"the camera_info beside {camera.topic} is of images of {width}x{height}"


def _not_registered(path: Path, color: RecordedCamera, depth: RecordedCamera, lacking: list[str]) -> DatasetError:
    return DatasetError(
        f"{path}: depth on {depth} is not registered to color on {color}, and cannot be: {'; '.join(lacking)}. "
        f"{_IN_THE_DRIVER}. Or record the camera_info of both and /tf_static. --depth-as-is takes it unregistered"
    )
