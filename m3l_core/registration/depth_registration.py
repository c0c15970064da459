"""Depth as the color camera would have measured it: every pixel moved to where color shows its point."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.registration.camera_model import CameraModel

_OVERLAP = 1.2
"""By how much the patch of a pixel is larger than the pixel: on a slanted surface patches would leave cracks between
them. Below 2 a pixel that falls on a pixel covers that one alone."""
_LARGEST_PATCH_PX = 16.0
_NOWHERE, _FAR_PX = -1e9, 1e5
"""So far away that a pixel between two is told even where it counts for a thousandth."""


class DepthRegistration:
    """Registers depth images of one camera to another camera's images.

    Each pixel is a small patch that faces the camera; where several cover a pixel of color, the nearest wins, and
    where none does the depth is invalid (what only the color camera sees, behind edges). So a finer grid of color is
    filled, and no depth arises that was not measured.

    Args:
        depth: the depth camera.
        color: the color camera.
        depth_to_color: (4, 4) [m]: takes points from the optical frame of depth to that of color.
    """

    def __init__(self, depth: CameraModel, color: CameraModel, depth_to_color: NDArray[np.float64]) -> None:
        self.depth, self.color, self.depth_to_color = depth, color, depth_to_color
        # The formula of a distortion costs too much for every frame: its pixels stand in a table.
        self._table: NDArray[np.float32] | None = None
        plane = color.matrix
        if color.distortion is not None:
            self._table, plane = _table(color)
        self._plane = plane @ depth_to_color[:3, :3]
        self._shift_mm = (plane @ depth_to_color[:3, 3] * 1000.0).astype(np.float32)
        height, width = depth.size
        grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)
        self._directions = self._of(depth.directions().reshape(-1, 2))
        """(3, H * W): of depth's pixels; two by the third are a place in the image of color, or in the table."""
        far = self._far(self._directions)
        sides = [np.abs(self._far(self._of(depth.rays(grid + step))) - far) for step in ((1, 0), (0, 1))]
        half = (sides[0] + sides[1]) * (_OVERLAP / 2)
        # Where the far is out of color's sight, the near may be in it.
        known = half[:, np.isfinite(half).all(axis=0)]
        usual = np.median(known, axis=1) if known.size else np.full(2, _OVERLAP / 2)
        self._half_patches = np.where(np.isfinite(half), half, usual[:, None]).astype(np.float32)
        """(2, H * W): half the width and half the height [pixels of color] of what a far pixel of depth covers."""

    def __call__(self, depth: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Register an image.

        Args:
            depth: of the size of the depth camera, uint16 [mm], 0 = invalid.

        Returns:
            Of the size of the color camera, uint16 [mm] along its optical axis, 0 = invalid.
        """
        along = depth.ravel().astype(np.float32)
        points = self._directions * along
        points += self._shift_mm[:, None]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            places = self._pixels(points[:2] / points[2])
            # What is nearer to color than to depth looks larger there.
            half = self._half_patches * (1.0 - self._shift_mm[2] / points[2])
        half = half.clip(0.0, _LARGEST_PATCH_PX, out=half)
        first, end = places - half, places + half
        (height, width), z = self.color.size, points[2]
        # NaN fails every comparison.
        shown = (end > 0).all(axis=0) & (first[0] < width) & (first[1] < height) & (z >= 1.0) & (along > 0)
        seen = np.flatnonzero(shown)
        bounds = np.array([[width], [height]])
        start, stop = (np.ceil(edge.take(seen, axis=1)).clip(0, bounds).astype(np.intp) for edge in (first, end))
        return self._nearest(start, stop, z[seen])

    def _nearest(
        self, start: NDArray[np.intp], stop: NDArray[np.intp], distance: NDArray[np.float32]
    ) -> NDArray[np.uint16]:
        """Of patches from (column, row) ``start`` to before ``stop``, both (2, N), and their distances (N,) [mm]."""
        height, width = self.color.size
        nearest = np.full(height * width, np.inf, np.float32)
        sizes, corner = stop - start, start[1] * width + start[0]
        for down in range(int(sizes[1].max(initial=0))):
            for across in range(int(sizes[0].max(initial=0))):
                covers = np.flatnonzero((sizes[0] > across) & (sizes[1] > down))
                np.minimum.at(nearest, corner[covers] + (down * width + across), distance[covers])
        nearest[nearest > np.iinfo(np.uint16).max] = 0.0
        return np.rint(nearest).astype(np.uint16).reshape(height, width)

    def _pixels(self, places: NDArray[np.float32]) -> NDArray[np.float32]:
        """(2, N): columns and rows; not finite or far away where color does not look."""
        if self._table is None:
            return places
        # OpenCV takes no picture with a side of more than 32767.
        count = places.shape[1]
        padded = np.zeros((2, -(-count // 1024) * 1024), np.float32)
        padded[:, :count] = np.nan_to_num(places, nan=-2.0)
        columns, rows = padded.reshape(2, -1, 1024)
        nowhere = (_NOWHERE, _NOWHERE)
        found = cv2.remap(
            self._table, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=nowhere
        )
        return np.asarray(found.reshape(-1, 2)[:count].T, np.float32)

    def _of(self, rays: NDArray[np.float64]) -> NDArray[np.float32]:
        """(N, 2) directions in depth's frame -> (3, N) in color's, on its plane."""
        return np.asarray(self._plane @ np.vstack((rays.T, np.ones(len(rays)))), np.float32)

    def _far(self, directions: NDArray[np.float32]) -> NDArray[np.float32]:
        """(2, N): where color shows what is far away; NaN if nowhere."""
        z = directions[2]
        with np.errstate(divide="ignore", invalid="ignore"):
            places = self._pixels(directions[:2] / z)
        return np.where((z > 0) & (np.abs(places) < _FAR_PX).all(axis=0), places, np.float32(np.nan))


def _table(camera: CameraModel) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """(H, W, 2) pixels by direction, over what the camera sees, and the (3, 3) plane of directions that it lies on."""
    height, width = camera.size
    (left, top), (right, bottom) = camera.view()
    directions = np.meshgrid(np.linspace(left, right, width), np.linspace(top, bottom, height))
    pixels = np.nan_to_num(camera.pixels(np.stack(directions, axis=-1)), nan=_NOWHERE)
    across, down = (width - 1) / (right - left), (height - 1) / (bottom - top)
    plane = np.array([[across, 0.0, -left * across], [0.0, down, -top * down], [0.0, 0.0, 1.0]])
    return np.asarray(pixels.reshape(height, width, 2), np.float32), plane
