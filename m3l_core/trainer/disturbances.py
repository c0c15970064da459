"""What cameras and depth sensors do to images, drawn from a generator that is passed in.

A color image suffers from exposure and focus, a depth image from holes, noise and calibration. Heights above ground
(surveys, not sensors of a robot) and three channels that are no photograph suffer only holes.
"""

from __future__ import annotations

from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from m3l_core.modalities import ColorModality, DepthModality, Modality
from m3l_core.preprocessing import metric_depth
from m3l_core.trainer.augmentation import no_measurement

_Share = Annotated[float, Field(ge=0, le=1)]
_GRAY = np.array([0.299, 0.587, 0.114], np.float32)


class StrongView(BaseModel):
    """How hard the student's view of an unlabelled instant is disturbed; the teacher's is not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    color_jitter: _Share = 0.5
    """Largest relative change of brightness, contrast and saturation."""
    gray: _Share = 0.1
    """Share of the color images without color."""
    blur: _Share = 0.3
    """Share of the color images out of focus."""
    depth_holes: _Share = 0.5
    """Share of the depth images with rectangles of no return."""
    depth_noise: _Share = 0.01
    """Largest standard deviation of the depth, relative to it."""
    depth_jitter: _Share = 0.1
    """Largest relative change of the depth's scale."""


def jitter(
    modality: Modality, image: NDArray[Any], color: float, depth: float, random: np.random.Generator
) -> NDArray[Any]:
    """Another exposure, contrast and saturation of a color image; another scale of a depth image [m].

    Args:
        color: largest relative change of a photograph's brightness, contrast and saturation.
        depth: largest relative change of depth.
    """
    if is_photograph(modality):
        brightness, contrast, saturation = random.uniform(1.0 - color, 1.0 + color, 3)
        pixels = image.astype(np.float32) * np.float32(brightness)
        gray = pixels @ _GRAY
        pixels = gray[..., None] + (pixels - gray[..., None]) * np.float32(saturation)
        pixels = gray.mean() + (pixels - gray.mean()) * np.float32(contrast)
        jittered: NDArray[np.uint8] = pixels.clip(0, 255).astype(np.uint8)
        return jittered
    if not isinstance(modality, DepthModality):
        return image
    depth_m, _ = metric_depth(image)
    depth_m *= np.float32(random.uniform(1.0 - depth, 1.0 + depth))
    return depth_m


def disturb(modality: Modality, image: NDArray[Any], view: StrongView, random: np.random.Generator) -> NDArray[Any]:
    """The student's view of an image: (H, W, 3) uint8 stays that, depth becomes (H, W) float32 [m]."""
    image = jitter(modality, image, view.color_jitter, view.depth_jitter, random)
    if is_photograph(modality):
        if random.random() < view.gray:
            image = np.repeat((image @ _GRAY).astype(np.uint8)[..., None], 3, axis=2)
        if random.random() < view.blur:
            image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.3, 1.5))
        return image
    if isinstance(modality, DepthModality):
        image *= random.normal(1.0, random.uniform(0.0, view.depth_noise), image.shape).astype(np.float32)
    if random.random() < view.depth_holes:
        image = image.copy()
        for _ in range(random.integers(1, 5)):
            top, left, height, width = random_box(image.shape, (0.02, 0.15), random)
            image[top : top + height, left : left + width] = no_measurement(modality, image)
    return image


def degrade(modality: Modality, image: NDArray[Any], random: np.random.Generator) -> NDArray[Any]:
    """An image of a sensor that fails: values are missing, or salt, pepper and Gaussian noise lie on them.

    These are the conditions RMM and NM of arXiv 2503.18445, up to half of the values and to NM-Mid.

    Args:
        image: (H, W, 3) uint8, (H, W) float32 [m], where what was not measured stays so, or uint8 or uint16.

    Returns:
        A new one of the same shape and dtype.
    """
    strength, nothing = random.random(), no_measurement(modality, image)
    if random.random() < 0.5:
        return np.where(random.random(image.shape, np.float32) < 0.5 * strength, image.dtype.type(nothing), image)
    measured = np.isfinite(image) & ((image.ndim == 3) | (image != nothing))
    values = image[measured]
    if not values.size:
        return image.copy()
    noisy = image.astype(np.float32)
    noisy[measured] += random.normal(0.0, 0.2 * strength * float(values.std()), values.size).astype(np.float32)
    salt = random.random(image.shape, np.float32)
    noisy[salt < 0.05 * strength] = values.min()
    noisy[salt > 1 - 0.05 * strength] = values.max()
    return noisy.clip(0, np.iinfo(image.dtype).max).astype(image.dtype) if image.dtype.kind == "u" else noisy


def is_photograph(modality: Modality) -> bool:
    """Whether a modality is what a camera sees, which suffers from exposure and focus."""
    return isinstance(modality, ColorModality) and modality.photometric


def random_box(
    size: tuple[int, ...], area: tuple[float, float], random: np.random.Generator
) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a box inside (H, W) = ``size`` that covers a share of it within ``area``."""
    share, stretch = random.uniform(*area), np.exp(random.uniform(-0.7, 0.7))
    height = int(np.clip(size[0] * np.sqrt(share * stretch), 1, size[0]))
    width = int(np.clip(size[1] * np.sqrt(share / stretch), 1, size[1]))
    return int(random.integers(size[0] - height + 1)), int(random.integers(size[1] - width + 1)), height, width


def add_noise(channels: NDArray[np.float32], random: np.random.Generator) -> None:
    """Salt, pepper and Gaussian noise of random strength on a network input (3, H, W), in place.

    The strongest are those of the NM-High condition (arXiv 2503.18445).
    """
    channels += random.normal(0.0, random.uniform(0.0, 0.5), channels.shape).astype(np.float32)
    hit = random.random(channels.shape[1:]) < random.uniform(0.0, 0.2)
    salt = random.random(channels.shape[1:]) < 0.5
    lowest, highest = channels.min(), channels.max()
    channels[:, hit] = np.where(salt[hit], highest, lowest)
