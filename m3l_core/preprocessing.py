"""From images as sensors deliver them to the network's input; robot and trainer share these functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.depth_geometry import Focal, surface_geometry
from m3l_core.frames import FrameSet, ModelInput
from m3l_core.modalities import ColorModality, DepthModality, HeightModality, IntensityModality, Modality

_TALLEST_M = 3.0
"""Heights above the floor that a network tells apart."""


def needs_whole_image(modality: Modality) -> bool:
    """Whether ``normalize`` compares pixels far apart, so that a part of an image is no image of its own."""
    if isinstance(modality, IntensityModality):
        return modality.normalization == "percentile"
    return isinstance(modality, DepthModality) and modality.normalization == "geometry"


def resize(modality: Modality, data: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Resize an image of a modality to (H, W) pixels.

    Depth and height take the nearest pixel: a mean of valid and invalid pixels, or across an edge, would be a depth
    that is nowhere in the scene.
    """
    if data.shape[:2] == size:
        return data
    if isinstance(modality, DepthModality | HeightModality):
        interpolation = cv2.INTER_NEAREST
    else:
        interpolation = cv2.INTER_AREA if size[0] < data.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(data, size[::-1], interpolation=interpolation)


def focal_of(modality: Modality, size: tuple[int, int], horizontal_fov_deg: float | None = None) -> Focal | None:
    """The focal length of the camera of a modality, where it counts.

    Args:
        modality: its own field of view stands in where none is known.
        size: (H, W) of the images as the sensor delivers them, of square pixels.
        horizontal_fov_deg: of the camera that the images are registered to, if it is known.
    """
    if not isinstance(modality, DepthModality):
        return None
    return Focal.of_view(modality.horizontal_fov_deg if horizontal_fov_deg is None else horizontal_fov_deg, size)


def normalize(
    modality: Modality,
    data: NDArray[Any],
    out: NDArray[np.float32] | None = None,
    focal: Focal | None = None,
) -> NDArray[np.float32]:
    """Scale an image to network input.

    Args:
        data: color (H, W, 3) uint8 RGB, depth or height (H, W) uint16 [mm] or float32 [m], or intensity (H, W) uint8 or
            uint16.
        out: where to write, (3, H, W) float32; fresh memory if None.
        focal: of the camera; None: as ``focal_of`` has it for images of this size.

    Returns:
        (3, H, W) float32, finite whatever the input.
    """
    channels = np.empty((3, *data.shape[:2]), np.float32) if out is None else out
    if isinstance(modality, ColorModality):
        _normalize_color(modality, data, channels)
    elif isinstance(modality, HeightModality):
        _normalize_height(modality, data, channels)
    elif isinstance(modality, IntensityModality):
        channels[...] = 2.0 * scaled_intensity(modality, data) - 1.0
    elif modality.normalization == "min_max":
        _normalize_min_max(data, channels)
    elif modality.normalization == "geometry":
        _normalize_geometry(modality, data, focal or Focal.of_view(modality.horizontal_fov_deg, data.shape), channels)
    else:
        _normalize_metric(modality, data, channels)
    return channels


def metric_depth(data: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(H, W) uint16 [mm] or float32 [m] -> a copy in metres with 0 where invalid, and validity, both (H, W)."""
    if data.dtype == np.uint16:
        return data * np.float32(0.001), data > 0
    valid = np.isfinite(data) & (data > 0)
    return np.where(valid, data, np.float32(0.0)), valid


def height_above_lowest(data: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(H, W) uint16 [mm], 0 invalid, or float32 [m], NaN and infinities invalid -> height and validity, both (H, W).

    The height is in metres above the lowest valid pixel, 0 where invalid.
    """
    if data.dtype == np.uint16:
        height_m, valid = data * np.float32(0.001), data > 0
    else:
        height_m, valid = data, np.isfinite(data)
    lowest = height_m.min(initial=np.inf, where=valid) if valid.any() else np.float32(0.0)
    with np.errstate(over="ignore"):  # the ends of float32 lie further apart than it reaches
        return np.where(valid, height_m, lowest) - lowest, valid


def scaled_intensity(modality: IntensityModality, data: NDArray[Any]) -> NDArray[np.float32]:
    """(H, W) uint8 or uint16 -> (H, W) in [0, 1] over the modality's range; 0.5 in a frame without contrast."""
    calibrated = modality.normalization == "range"
    low, high = (modality.low, modality.high) if calibrated else np.percentile(data, (1, 99))
    if low >= high:
        return np.full(data.shape, 0.5, np.float32)
    return ((data - np.float32(low)) / np.float32(high - low)).clip(0.0, 1.0)


def prepare(
    frames: FrameSet,
    modalities: Sequence[Modality],
    size: tuple[int, int],
    out: NDArray[np.float32] | None = None,
    horizontal_fov_deg: float | None = None,
) -> ModelInput:
    """A frame set -> network input of ``size`` (H, W), with zeros where a modality is missing.

    Args:
        out: where to write the images, (1, M, 3, H, W) float32; fresh memory if None.
        horizontal_fov_deg: of the camera that the images are registered to; None: what the modality has.
    """
    images = np.empty((1, len(modalities), 3, *size), np.float32) if out is None else out
    present = np.zeros((1, len(modalities)), np.bool_)
    for index, modality in enumerate(modalities):
        frame = frames.frames.get(modality.name)
        if frame is None:
            images[0, index] = 0.0
        else:
            focal = focal_of(modality, frame.data.shape[:2], horizontal_fov_deg)
            normalize(modality, resize(modality, frame.data, size), images[0, index], focal)
            present[0, index] = True
    return ModelInput(images, present)


def _normalize_color(modality: ColorModality, data: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    gain = (1.0 / (255.0 * np.asarray(modality.std))).astype(np.float32)
    offset = (np.asarray(modality.mean) / np.asarray(modality.std)).astype(np.float32)
    # Planes of their own: half the time of a transposed view.
    for plane, scale, shift, channel in zip(cv2.split(data), gain, offset, out, strict=True):
        np.multiply(plane, scale, out=channel, dtype=np.float32)
        channel -= shift


def _normalize_metric(modality: DepthModality, data: NDArray[Any], out: NDArray[np.float32]) -> None:
    # In place throughout: on a large image fresh memory costs several times the arithmetic.
    near, far = modality.near_m, modality.far_m
    depth_m, valid = metric_depth(data)
    np.clip(depth_m, near, far, out=depth_m)
    scaled, inverse, validity = out
    validity[...] = valid
    gain = 2.0 / (far - near)
    np.multiply(depth_m, gain, out=scaled)
    scaled -= gain * near + 1.0
    inverse_gain = 2.0 / (1.0 / near - 1.0 / far)
    np.divide(inverse_gain, depth_m, out=inverse)
    inverse -= inverse_gain / far + 1.0
    scaled *= validity
    inverse *= validity


def _normalize_geometry(modality: DepthModality, data: NDArray[Any], focal: Focal, out: NDArray[np.float32]) -> None:
    depth_m, valid = metric_depth(data)
    geometry = surface_geometry(depth_m, valid, focal)
    logarithm, height, upness = out
    np.clip(depth_m, modality.near_m, modality.far_m, out=depth_m)
    np.log(depth_m, out=logarithm)
    gain = 2.0 / math.log(modality.far_m / modality.near_m)
    logarithm *= gain
    logarithm -= gain * math.log(modality.near_m) + 1.0
    np.minimum(geometry.height_m, _TALLEST_M, out=height)
    height *= 2.0 / _TALLEST_M
    height -= 1.0
    upness[...] = geometry.upness
    out[:2] *= valid


def _normalize_height(modality: HeightModality, data: NDArray[Any], out: NDArray[np.float32]) -> None:
    height_m, valid = height_above_lowest(data)
    np.clip(height_m, 0.0, modality.max_m, out=height_m)
    scaled, logarithm, validity = out
    validity[...] = valid
    np.multiply(height_m, 2.0 / modality.max_m, out=scaled)
    np.log1p(height_m, out=logarithm)
    logarithm *= 2.0 / np.log1p(modality.max_m)
    out[:2] -= 1.0
    out[:2] *= validity


def _normalize_min_max(data: NDArray[Any], out: NDArray[np.float32]) -> None:
    """The paper's depth input: invalid pixels count as depth 0; a frame without contrast would divide 0 by 0."""
    depth_m, _ = metric_depth(data)
    least, most = float(depth_m.min(initial=np.inf)), float(depth_m.max(initial=-np.inf))
    out[...] = (depth_m - least) / (most - least) if most > least else 0.0
