"""What a sensor saw, as a picture for people."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.modalities import ColorModality, HeightModality, IntensityModality, Modality
from m3l_core.preprocessing import height_above_lowest, metric_depth, scaled_intensity


def false_color(modality: Modality, image: NDArray[Any]) -> NDArray[np.uint8]:
    """Color as it is; depth and height in false colors, near or high is red, black where invalid; intensity in gray.

    Args:
        modality: its range spans the colors.
        image: (H, W, 3) uint8 RGB, (H, W) uint16 [mm] or float32 [m], or (H, W) uint8 or uint16 of intensity.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    if isinstance(modality, ColorModality):
        return image
    if isinstance(modality, IntensityModality):
        gray = (255 * scaled_intensity(modality, image)).astype(np.uint8)
        return np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB), np.uint8)
    if isinstance(modality, HeightModality):
        height_m, valid = height_above_lowest(image)
        redness = height_m / modality.max_m
    else:
        depth_m, valid = metric_depth(image)
        redness = (modality.far_m - depth_m) / (modality.far_m - modality.near_m)
    scaled = (255 * redness.clip(0, 1)).astype(np.uint8)
    picture = cv2.cvtColor(cv2.applyColorMap(scaled, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB).astype(np.uint8)
    picture[~valid] = 0
    return picture
