"""The cloud of labelled points, made of a mask, registered depth and the camera_info that goes beside the mask."""

from __future__ import annotations

import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, PointCloud2, PointField

from m3l_core.errors import ImageMessageError, M3LError
from m3l_core.frames import FrameSet
from m3l_core.registration.camera_model import camera_model, is_rectified
from m3l_core.registration.labelled_points import POINT, labelled_points

_DATATYPES = {np.dtype(np.float32): PointField.FLOAT32, np.dtype(np.uint8): PointField.UINT8}
_FIELDS = [
    PointField(name=name, offset=place[1], datatype=_DATATYPES[place[0]], count=1)
    for name, place in (POINT.fields or {}).items()
]


class LabelledCloud:
    """Makes organized clouds of the mask's size; in one thread.

    Args:
        depths: modalities that measure depth; the first that is there counts.
        image_topic: of color, or of depth where there is none; fully qualified. Its name says if the images, and so
            the depth that is registered to them, are rectified: then P of the camera_info holds for them, else K and D.
        info_topic: where a camera_info was expected, for what is told without one.
    """

    def __init__(self, depths: Sequence[str], image_topic: str, info_topic: str) -> None:
        self._depths = depths
        self._rectified = is_rectified(image_topic)
        self._info_topic = info_topic
        self._directions_of: tuple[Any, ...] = ()
        self._directions = np.empty((0, 0, 2), np.float32)
        # Used again for every frame: fresh memory costs several times the arithmetic.
        self._message = PointCloud2(fields=_FIELDS, point_step=POINT.itemsize)
        self._points: NDArray[np.void] = np.empty((0, 0), POINT)

    def message(
        self, frames: FrameSet, ids: NDArray[np.uint8], confidence: NDArray[np.uint8], camera_info: CameraInfo | None
    ) -> PointCloud2:
        """A cloud, of which the caller writes the header; it is written again by the next call.

        Args:
            frames: that lie over each other, in any sizes.
            ids: (H, W) uint8, as the mask has them.
            confidence: (H, W) uint8.
            camera_info: of the mask, if there is one.

        Raises:
            M3LError: there is no depth, or nothing to say where its points lie.
        """
        depth = next((frame for name, frame in frames.frames.items() if name in self._depths), None)
        if depth is None:
            why = "; ".join(frames.missing[name] for name in self._depths if name in frames.missing)
            raise M3LError(f"there is no depth: {why or 'the bundle has no such sensor'}")
        if camera_info is None:
            raise M3LError(f"on {self._info_topic} nothing has come that is about these images")
        self._look(camera_info)
        cloud = self._message
        if self._points.shape != ids.shape:
            cloud.height, cloud.width = ids.shape
            cloud.row_step = cloud.point_step * cloud.width
            cloud.data = array.array("B", bytes(cloud.row_step * cloud.height))
            self._points = np.frombuffer(cloud.data, POINT).reshape(ids.shape)
        labelled_points(depth.data, self._directions, ids, confidence, out=self._points)
        cloud.is_dense = not np.isnan(self._points["z"]).any()
        return cloud

    def _look(self, info: CameraInfo) -> None:
        """Have the directions of a camera's pixels, which cost too much for every frame."""
        numbers = np.concatenate((info.k, info.p, np.array(info.d)))
        roi = info.roi
        cut = (info.binning_y, info.binning_x, roi.y_offset, roi.x_offset, roi.height, roi.width)
        key = (numbers.tobytes(), info.distortion_model, info.height, info.width, *cut)
        if key == self._directions_of:
            return
        try:
            self._directions = camera_model(info, self._rectified).directions().astype(np.float32)
        except ImageMessageError as error:
            raise M3LError(f"of {self._info_topic}: {error}") from error
        self._directions_of = key
