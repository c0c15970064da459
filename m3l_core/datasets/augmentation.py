"""Random views of a sample, drawn from a generator that is passed in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.labels import IGNORE
from m3l_core.modalities import ColorModality, Modality
from m3l_core.preprocessing import metric_depth, resize

Images = Mapping[str, NDArray[Any]]


def random_view(
    images: Images,
    label: NDArray[np.uint8],
    modalities: Mapping[str, Modality],
    crop: tuple[int, int],
    scale: tuple[float, float],
    flip: float,
    random: np.random.Generator,
) -> tuple[dict[str, NDArray[Any]], NDArray[np.uint8]]:
    """Scale, cut or pad to ``crop`` (H, W) and perhaps mirror: the same for every image and the label.

    What lies outside the image is 0 (color black, depth invalid) and labelled 255.
    """
    factor = random.uniform(*scale)
    size = (max(1, round(label.shape[0] * factor)), max(1, round(label.shape[1] * factor)))
    top = int(random.integers(0, max(0, size[0] - crop[0]) + 1))
    left = int(random.integers(0, max(0, size[1] - crop[1]) + 1))
    mirrored = random.random() < flip

    def view(image: NDArray[Any], outside: int) -> NDArray[Any]:
        cut = image[top : top + crop[0], left : left + crop[1]]
        padding = [(0, crop[0] - cut.shape[0]), (0, crop[1] - cut.shape[1]), (0, 0)][: cut.ndim]
        padded = np.pad(cut, padding, constant_values=outside)
        return np.ascontiguousarray(padded[:, ::-1] if mirrored else padded)

    views = {name: view(resize(modalities[name], image, size), 0) for name, image in images.items()}
    return views, view(cv2.resize(label, size[::-1], interpolation=cv2.INTER_NEAREST), IGNORE)


def jitter(
    modality: Modality, image: NDArray[Any], color: float, depth: float, random: np.random.Generator
) -> NDArray[Any]:
    """Another exposure, contrast and saturation of a color image; another scale of a depth image [m]."""
    if isinstance(modality, ColorModality):
        brightness, contrast, saturation = random.uniform(1.0 - color, 1.0 + color, 3)
        pixels = image.astype(np.float32) * np.float32(brightness)
        gray = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
        pixels = gray[..., None] + (pixels - gray[..., None]) * np.float32(saturation)
        pixels = gray.mean() + (pixels - gray.mean()) * np.float32(contrast)
        jittered: NDArray[np.uint8] = pixels.clip(0, 255).astype(np.uint8)
        return jittered
    depth_m, _ = metric_depth(image)
    depth_m *= np.float32(random.uniform(1.0 - depth, 1.0 + depth))
    return depth_m
