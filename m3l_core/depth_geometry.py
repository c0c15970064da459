"""What depth says of surfaces: how high they lie above the floor, and how steep they are.

After HHA (Gupta et al., "Learning Rich Features from RGB-D Images for Object Detection and Segmentation", ECCV 2014),
which takes seconds a frame; this takes less than a millisecond, by planes that are fitted in inverse depth, where every
plane is linear in the pixel's coordinates, on a grid of cells of 4x4 pixels.

Legend: H x W pixels, h x w cells; camera axes: x right, y down, z forward (REP 103).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

_Image = NDArray[np.float32]

_CELL = 4
_BOX = 5
"""Side, in cells, of the boxes that planes are fitted to: smaller ones see the steps of quantised depth."""
_STRIDE = 2
"""Of the cells whose normals vote for the direction of gravity."""
_TOLERANCES_DEG = (45.0, 45.0, 15.0, 15.0)
"""How far a normal may be from up, or from level, to vote; each round starts from the last one's answer."""
_UP = np.array([0.0, -1.0, 0.0], np.float32)
_FOV_DEG = (5.0, 160.0)
"""What a pinhole camera may see from side to side."""
_LOWEST_SHARE = 0.01
"""Share of the pixels that may lie below the floor: noise."""


def fov_deg(focal_px: float, width: int) -> float | None:
    """How wide a pinhole camera sees from side to side, in degrees, by its focal length and the width of its images.

    None where that is more, or less, than a pinhole camera can see: then the focal length is wrong.
    """
    if not (width > 0 and focal_px > 0 and math.isfinite(focal_px)):
        return None
    found = 2 * math.degrees(math.atan(width / (2 * focal_px)))
    return found if _FOV_DEG[0] <= found <= _FOV_DEG[1] else None


class Focal(NamedTuple):
    """The focal length of a pinhole camera, in what does not change when its image is resized."""

    in_widths: float
    in_heights: float

    @classmethod
    def of_view(cls, horizontal_fov_deg: float, size: Sequence[int]) -> Focal:
        """Of a camera whose images are (H, W) square pixels, and so wide, degrees in (0, 180)."""
        in_widths = 0.5 / math.tan(math.radians(horizontal_fov_deg) / 2)
        return cls(in_widths, in_widths * size[1] / size[0])


class SurfaceGeometry(NamedTuple):
    """Of the surfaces that a depth image shows."""

    height_m: _Image
    """(H, W) above the lowest surface in sight, 0 where depth is invalid."""
    upness: _Image
    """(H, W) in [-1, 1]: cosine of the angle between normal and up; floors 1, walls 0, ceilings -1; 0 if invalid."""


def surface_geometry(depth_m: _Image, valid: NDArray[np.bool_], focal: Focal) -> SurfaceGeometry:
    """Heights and slopes, measured along the direction of gravity that the surfaces themselves suggest.

    Args:
        depth_m: (H, W) along the optical axis in metres; anything finite where invalid.
        valid: (H, W).
        focal: of the camera; the optical axis is taken to pass through the middle of the image.
    """
    height, width = depth_m.shape
    x, y = _rays(width, focal.in_widths), _rays(height, focal.in_heights)
    grid = max(1, width // _CELL), max(1, height // _CELL)

    def in_cells(values: _Image) -> _Image:
        return np.asarray(cv2.resize(values, grid, interpolation=cv2.INTER_AREA), np.float32)

    # Two large buffers: fresh memory costs more than the arithmetic.
    weight = valid.astype(np.float32)
    buffer = np.maximum(depth_m, np.float32(1e-3))
    inverse = np.divide(weight, buffer, out=buffer)
    columns, rows = map(_rays, grid, focal)
    normals = _normals(in_cells(inverse), in_cells(weight), columns, rows[:, None])
    up = _direction_up(normals[:, ::_STRIDE, ::_STRIDE].reshape(3, -1))
    elevation = np.add(up[0] * x, (up[1] * y + up[2])[:, None], out=buffer)
    elevation *= depth_m
    elevation -= _lowest(elevation[::_CELL, ::_CELL][valid[::_CELL, ::_CELL]])
    height_m = np.maximum(elevation, 0.0, out=buffer)
    height_m *= weight
    upness = np.asarray(cv2.resize(np.einsum("chw,c->hw", normals, up), (width, height)), np.float32)
    upness *= weight
    return SurfaceGeometry(height_m, upness)


def _rays(pixels: int, focal: float) -> _Image:
    """(pixels,) tangents of the angles from the optical axis to the middles of a row of pixels."""
    return ((np.arange(pixels) - (pixels - 1) / 2) / (focal * pixels)).astype(np.float32)


def _normals(inverse: _Image, weight: _Image, x: _Image, y: _Image) -> _Image:
    """(3, h, w) unit normals towards the camera, 0 where nothing is known; ``inverse`` is weighted by ``weight``.

    A plane n P = 1 has 1/z = n_x x + n_y y + n_z at the ray (x, y, 1): least squares over a box around each pixel.
    """

    def box(values: _Image) -> _Image:
        return np.asarray(cv2.boxFilter(values, -1, (_BOX, _BOX), borderType=cv2.BORDER_CONSTANT), np.float32)

    weighted_x, weighted_y = weight * x, weight * y
    count = np.maximum(box(weight), 1e-6)
    mean_x, mean_y, mean_d = box(weighted_x) / count, box(weighted_y) / count, box(inverse) / count
    var_x = box(weighted_x * x) / count - mean_x * mean_x
    var_y = box(weighted_y * y) / count - mean_y * mean_y
    cov_xy = box(weighted_x * y) / count - mean_x * mean_y
    cov_xd = box(inverse * x) / count - mean_x * mean_d
    cov_yd = box(inverse * y) / count - mean_y * mean_d
    determinant = np.maximum(var_x * var_y - cov_xy * cov_xy, 1e-12)
    normals = np.empty((3, *inverse.shape), np.float32)
    normals[0] = (var_y * cov_xd - cov_xy * cov_yd) / determinant
    normals[1] = (var_x * cov_yd - cov_xy * cov_xd) / determinant
    normals[2] = mean_d - normals[0] * mean_x - normals[1] * mean_y
    length = np.sqrt(np.einsum("chw,chw->hw", normals, normals))
    normals *= -np.sign(weight) / np.maximum(length, 1e-6)
    return normals


def _direction_up(normals: _Image) -> _Image:
    """(3,) the direction that most normals (3, N) are parallel or perpendicular to, near the camera's own up."""
    normals = normals[:, np.einsum("cn,cn->n", normals, normals) > 0.5]
    up = _UP
    for tolerance in _TOLERANCES_DEG:
        along = np.abs(up @ normals)
        parallel = normals[:, along > math.cos(math.radians(tolerance))]
        level = normals[:, along < math.sin(math.radians(tolerance))]
        if parallel.shape[1] + level.shape[1] < 16:
            break
        _, directions = np.linalg.eigh(level @ level.T - parallel @ parallel.T)
        found = directions[:, 0]
        up = (found if found @ up > 0 else -found).astype(np.float32)
    return up


def _lowest(elevations: _Image) -> float:
    if not elevations.size:
        return 0.0
    place = int(_LOWEST_SHARE * elevations.size)
    return float(np.partition(elevations, place)[place])
