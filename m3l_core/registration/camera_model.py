"""How a camera maps directions to pixels, as its sensor_msgs/CameraInfo says.

Coordinates are those of an optical frame (REP 103): x right, y down, z forward. A pixel's center has whole
coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.errors import ImageMessageError

EQUIDISTANT = "equidistant"
_COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), EQUIDISTANT: (4,)}
"""Distortion model, by ROS's names -> how many numbers it may have; in the order of OpenCV."""
_TO_THE_END = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-10)
_NOT_MOVED_PX = 0.05
_WIDEST = 6.0
"""Tangent of the angle to the optical axis, some 80 degrees: beyond, a plane cannot show what a lens sees."""


@dataclass(frozen=True, eq=False, slots=True)
class CameraModel:
    """Of the images of one topic."""

    size: tuple[int, int]
    """(H, W) of the images."""
    matrix: NDArray[np.float64]
    """(3, 3), of these images."""
    model: str = ""
    """Of the distortion; empty if there is none."""
    distortion: NDArray[np.float64] | None = None
    rotation: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    """(3, 3), from the camera to its optical frame: what rectifies a raw image turns it as well."""
    baseline_px: float = 0.0
    """Focal length times the shift to the first camera of a stereo pair: its P[0, 3]."""

    @property
    def intrinsics(self) -> dict[str, Any]:
        """In words that a file can hold."""
        fx, fy, cx, cy = (float(self.matrix[place]) for place in ((0, 0), (1, 1), (0, 2), (1, 2)))
        height, width = self.size
        bent = [] if self.distortion is None else self.distortion.tolist()
        sizes = {"width": width, "height": height, "fx": fx, "fy": fy, "cx": cx, "cy": cy}
        return sizes | {"distortion_model": self.model, "distortion": bent}

    def same_grid(self, other: CameraModel) -> bool:
        """Whether both have the same pixels, as where a driver has registered one to the other."""
        return (
            self.size == other.size
            and np.allclose(self.matrix, other.matrix, rtol=1e-3)
            and bool(np.isclose(self.baseline_px, other.baseline_px, rtol=1e-3))
        )

    def rays(self, pixels: NDArray[Any]) -> NDArray[np.float64]:
        """(N, 2) pixels -> (N, 2) directions x / z and y / z, without distortion."""
        points = np.asarray(pixels, np.float64).reshape(-1, 1, 2)
        if self.distortion is None:
            flat = points.reshape(-1, 2) - self.matrix[:2, 2]
            return np.asarray(flat / self.matrix.diagonal()[:2])
        if self.model == EQUIDISTANT:
            found = cv2.fisheye.undistortPoints(points, self.matrix, self.distortion)
        else:
            # Before OpenCV 5 only this one takes criteria, and five steps are too few near the corners.
            undistort = getattr(cv2, "undistortPointsIter", cv2.undistortPoints)
            found = undistort(points, self.matrix, self.distortion, R=None, P=None, criteria=_TO_THE_END)
        return np.asarray(found, np.float64).reshape(-1, 2)

    def pixels(self, rays: NDArray[Any]) -> NDArray[np.float64]:
        """(N, 2) directions -> (N, 2) pixels, with distortion; NaN where the camera does not look.

        A polynomial that describes a lens turns back beyond its field of view, so that what is far outside would
        appear in the image.
        """
        flat = np.asarray(rays, np.float64).reshape(-1, 2)
        if self.distortion is None:
            return np.asarray(flat * self.matrix.diagonal()[:2] + self.matrix[:2, 2])
        points = np.column_stack((flat, np.ones(len(flat)))).reshape(-1, 1, 3)
        project = cv2.fisheye.projectPoints if self.model == EQUIDISTANT else cv2.projectPoints
        found = np.asarray(project(points, np.zeros(3), np.zeros(3), self.matrix, self.distortion)[0]).reshape(-1, 2)
        with np.errstate(invalid="ignore"):
            moved_px = np.abs(self.rays(found) - flat).max(axis=1) * self.matrix[0, 0]
            # The farther from the axis, the less a pixel moves with the direction.
            seen = moved_px <= _NOT_MOVED_PX * (1 + np.square(flat).sum(axis=1))
        return np.where(seen[:, None], found, np.nan)

    def view(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The least and the greatest (x / z, y / z) that the image shows."""
        height, width = self.size
        across, down = np.arange(-1, width + 1), np.arange(-1, height + 1)
        border = [(x, y) for x in across for y in (-1, height)] + [(x, y) for y in down for x in (-1, width)]
        directions = self.rays(np.array(border)).clip(-_WIDEST, _WIDEST)
        return directions.min(axis=0), directions.max(axis=0)


def camera_model(info: Any, rectified: bool) -> CameraModel:
    """The camera of a sensor_msgs/CameraInfo.

    Args:
        info: the message.
        rectified: the images are without distortion and described by P, as those of an ``image_rect``; else by K and D.

    Raises:
        ImageMessageError: the camera is not calibrated, or its distortion model is none of ROS's.
    """
    across, down = max(info.binning_x, 1), max(info.binning_y, 1)
    cut = info.roi if info.roi.width and info.roi.height else None
    width, height = (info.width, info.height) if cut is None else (cut.width, cut.height)
    projection = np.array(info.p, np.float64).reshape(3, 4)
    rectified = rectified and projection[0, 0] > 0
    matrix = projection[:, :3].copy() if rectified else np.array(info.k, np.float64).reshape(3, 3)
    if matrix[0, 0] <= 0 or matrix[1, 1] <= 0 or not width or not height:
        raise ImageMessageError("the camera is not calibrated: K is zero")
    if cut is not None:
        matrix[:2, 2] -= cut.x_offset, cut.y_offset
    matrix[0] /= across
    matrix[1] /= down
    size = (height // down, width // across)
    baseline = float(projection[0, 3]) / across
    if rectified:
        return CameraModel(size, matrix, baseline_px=baseline)
    rotation = np.array(info.r, np.float64).reshape(3, 3)
    rotation = rotation if rotation.any() else np.eye(3)  # an unset one is zero
    numbers = np.array(info.d, np.float64)
    if not numbers.any():
        return CameraModel(size, matrix, rotation=rotation, baseline_px=baseline)
    if numbers.size not in _COEFFICIENTS.get(info.distortion_model, ()):
        known = ", ".join(f"{name} of {' or '.join(map(str, counts))}" for name, counts in _COEFFICIENTS.items())
        raise ImageMessageError(
            f"the distortion is '{info.distortion_model}' of {numbers.size} coefficients, expected {known}"
        )
    return CameraModel(size, matrix, info.distortion_model, numbers, rotation, baseline)
