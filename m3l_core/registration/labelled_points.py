"""Labels in space: each pixel of a mask becomes a point, where depth knows how far away it is."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.preprocessing import metric_depth

POINT = np.dtype(
    {
        "names": ["x", "y", "z", "label", "confidence"],
        "formats": ["<f4", "<f4", "<f4", "u1", "u1"],
        "offsets": [0, 4, 8, 12, 13],
        "itemsize": 16,
    }
)
"""One point, in metres in an optical frame (REP 103). Padded, so that the floats of every point are aligned."""


def labelled_points(
    depth: NDArray[Any],
    directions: NDArray[np.float32],
    labels: NDArray[np.uint8],
    confidence: NDArray[np.uint8],
    out: NDArray[np.void] | None = None,
) -> NDArray[np.void]:
    """A point for each pixel of a mask, NaN where depth is invalid.

    Args:
        depth: (h, w) uint16 [mm], 0 = invalid, or float32 [m], NaN, Inf and <= 0 invalid, along the optical axis. It
            shows what the mask shows; if it is of another size, each pixel of the mask takes the nearest of depth's.
        directions: (H, W, 2) float32 x / z and y / z of the mask's pixels: ``CameraModel.directions``.
        labels: (H, W) uint8.
        confidence: (H, W) uint8.
        out: where to write, (H, W) of dtype ``POINT``; fresh memory if None.

    Returns:
        (H, W) of dtype ``POINT``.
    """
    height, width = labels.shape
    if depth.shape != labels.shape:
        depth = cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    z, valid = metric_depth(depth)
    z[~valid] = np.nan
    points = np.zeros((height, width), POINT) if out is None else out
    np.multiply(directions[..., 0], z, out=points["x"])
    np.multiply(directions[..., 1], z, out=points["y"])
    z[np.isnan(points["x"])] = np.nan  # of a pixel without a direction nothing is known
    points["z"], points["label"], points["confidence"] = z, labels, confidence
    return points
