"""How a camera maps directions to pixels, as its sensor_msgs/CameraInfo says.

Coordinates are those of an optical frame (REP 103): x right, y down, z forward. A pixel's center has whole
coordinates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.depth_geometry import fov_deg
from m3l_core.errors import ImageMessageError

EQUIDISTANT = "equidistant"
_COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), EQUIDISTANT: (4,)}
"""Distortion model, by ROS's names -> how many numbers it may have; in the order of OpenCV."""
_TO_THE_END = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-10)
_NOT_MOVED_PX = 0.05
_UNDONE_PX = 0.5
_RECTIFIED = re.compile(r"(^|[/_])rect(ified)?($|[/_])")
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
        found = self._projected(flat)
        with np.errstate(invalid="ignore"):
            moved_px = np.abs(self.rays(found) - flat).max(axis=1) * self.matrix[0, 0]
            # The farther from the axis, the less a pixel moves with the direction.
            seen = moved_px <= _NOT_MOVED_PX * (1 + np.square(flat).sum(axis=1))
        return np.where(seen[:, None], found, np.nan)

    def _projected(self, flat: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 2) directions -> (N, 2), where the formula of the distortion puts them."""
        assert self.distortion is not None
        points = np.column_stack((flat, np.ones(len(flat)))).reshape(-1, 1, 3)
        project = cv2.fisheye.projectPoints if self.model == EQUIDISTANT else cv2.projectPoints
        found = project(points, np.zeros(3), np.zeros(3), self.matrix, self.distortion)[0]
        return np.asarray(found, np.float64).reshape(-1, 2)

    def directions(self) -> NDArray[np.float64]:
        """(H, W, 2) x / z and y / z of each pixel, NaN where no direction is known.

        The formula of a distortion cannot be undone everywhere: not in the corners of some lenses.
        """
        height, width = self.size
        pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)
        rays = self.rays(pixels)
        if self.distortion is not None:
            rays[~(np.abs(self._projected(rays) - pixels).max(axis=1) < _UNDONE_PX)] = np.nan
        return rays.reshape(height, width, 2)

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
    size = image_size(info)
    whole, projection = image_matrices(info)
    rectified = rectified and projection[0, 0] > 0
    matrix = projection[:, :3].copy() if rectified else whole
    if not (matrix[0, 0] > 0 and matrix[1, 1] > 0 and np.isfinite(matrix).all() and all(size)):
        raise ImageMessageError("the camera is not calibrated: K is zero, or not finite")
    baseline = float(projection[0, 3])
    if rectified:
        return CameraModel(size, matrix, baseline_px=baseline)
    rotation = np.array(info.r, np.float64).reshape(3, 3)
    rotation = rotation if rotation.any() else np.eye(3)  # an unset one is zero
    numbers = np.array(info.d, np.float64)
    # The polynomial of a fisheye lens is about the angle: of zeros it is an ideal fisheye, and no pinhole.
    if not numbers.any() and (info.distortion_model != EQUIDISTANT or not numbers.size):
        return CameraModel(size, matrix, rotation=rotation, baseline_px=baseline)
    if not np.isfinite(numbers).all() or numbers.size not in _COEFFICIENTS.get(info.distortion_model, ()):
        known = ", ".join(f"{name} of {' or '.join(map(str, counts))}" for name, counts in _COEFFICIENTS.items())
        raise ImageMessageError(
            f"the distortion is '{info.distortion_model}' of {numbers.size} coefficients, expected {known}, all finite"
        )
    return CameraModel(size, matrix, info.distortion_model, numbers, rotation, baseline)


def horizontal_fov_deg(info: Any, rectified: bool) -> float | None:
    """How wide the images of a sensor_msgs/CameraInfo see; None if the camera is not calibrated.

    Args:
        info: the message.
        rectified: as ``camera_model`` has it. Without, K counts as that of a pinhole.
    """
    whole, projection = image_matrices(info)
    matrix = projection if rectified and projection[0, 0] > 0 else whole
    return fov_deg(matrix[0, 0], image_size(info)[1])


def image_size(info: Any) -> tuple[int, int]:
    """(H, W) of the images that a camera_info is about: width and height are of the whole sensor."""
    roi = info.roi
    height, width = (roi.height, roi.width) if roi.height and roi.width else (info.height, info.width)
    return height // max(info.binning_y, 1), width // max(info.binning_x, 1)


def image_matrices(info: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(3, 3) K and (3, 4) P of the images that a camera_info is about, cut and binned as image_geometry does it."""
    matrices = np.array(info.k, np.float64).reshape(3, 3), np.array(info.p, np.float64).reshape(3, 4)
    for matrix in matrices:
        if info.roi.width and info.roi.height:
            matrix[:2, 2] -= info.roi.x_offset, info.roi.y_offset
        matrix[:2] /= [[max(info.binning_x, 1)], [max(info.binning_y, 1)]]
    return matrices


def resized(matrix: NDArray[np.float64], size: tuple[int, int], target: tuple[int, int]) -> NDArray[np.float64]:
    """K or P of images of (H, W) = ``size``, for the same images resized to ``target``.

    A pixel's center has whole coordinates, so its corners keep their place: u' + 0.5 = (u + 0.5) W' / W.
    """
    scales = np.array(target, np.float64)[::-1] / size[::-1]
    found = matrix.copy()
    found[:2] *= scales[:, None]
    found[:2, 2] += (scales - 1.0) / 2.0
    return found


def is_rectified(topic: str) -> bool:
    """Whether the images of a topic are without distortion, by its name, such as ``color/image_rect``."""
    return _RECTIFIED.search(topic) is not None
