"""Labels over what they label, and what their colors mean, as pictures for people."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.false_color import false_color
from m3l_core.frames import ImageKind
from m3l_core.labels import LabelSet
from m3l_core.modalities import IntensityModality
from m3l_core.preprocessing import metric_depth

BACKGROUND = 32
"""Gray level behind texts."""
_FONT, _SCALE, _LINE = cv2.FONT_HERSHEY_SIMPLEX, 0.5, 26


def overlay(
    image: NDArray[Any], colors: NDArray[np.uint8], opacity: float, kind: ImageKind = "depth"
) -> NDArray[np.uint8]:
    """Blend the colors of labels with the reference frame that they belong to.

    Args:
        image: color (h, w, 3) uint8 RGB, or depth (h, w) uint16 [mm] or float32 [m], drawn in gray, near = bright;
            or intensity (h, w) uint8 or uint16, drawn in gray from its darkest to its brightest.
        colors: (H, W, 3) uint8 RGB, as ``LabelSet.colorize`` gives them; the image is resized to them.
        opacity: of the colors, 0..1.
        kind: of an image without colors.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    picture = _picture(image, kind)
    if picture.shape != colors.shape:
        picture = np.asarray(cv2.resize(picture, colors.shape[1::-1], interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.addWeighted(colors, opacity, picture, 1.0 - opacity, 0.0), np.uint8)


def class_legend(labels: LabelSet, width: int) -> NDArray[np.uint8]:
    """The classes' colors and names, in rows of as many as fit.

    Returns:
        (H, width, 3) uint8 RGB, dark.
    """
    widest = max(cv2.getTextSize(name, _FONT, _SCALE, 1)[0][0] for name in labels.names)
    num_rows = -(-len(labels) // max(1, width // (widest + 50)))
    per_row = -(-len(labels) // num_rows)
    picture = np.full((_LINE * num_rows, width, 3), BACKGROUND, np.uint8)
    for number, entry in enumerate(labels.classes):
        x, y = number % per_row * (width // per_row), number // per_row * _LINE
        picture[y + 6 : y + 20, x + 8 : x + 28] = entry.color
        write(picture, entry.name, (x + 36, y + 19))
    return picture


def write(picture: NDArray[np.uint8], text: str, place: tuple[int, int]) -> None:
    """Put a text into a picture; ``place`` is its lower left corner, (x, y)."""
    cv2.putText(picture, text, place, _FONT, _SCALE, (255, 255, 255), 1, cv2.LINE_AA)


def _picture(image: NDArray[Any], kind: ImageKind) -> NDArray[np.uint8]:
    if image.ndim == 3:
        return image
    if kind == "intensity":
        return false_color(IntensityModality(), image)
    depth_m, valid = metric_depth(image)
    farthest = depth_m.max(initial=0.0) or 1.0
    gray = np.where(valid, 255 - depth_m * (215 / farthest), 0).astype(np.uint8)
    return np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB), np.uint8)
