"""From images as sensors deliver them to the network's input; robot and trainer share these functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.frames import FrameSet, ModelInput
from m3l_core.modalities import ColorModality, DepthModality, Modality


def resize(modality: Modality, data: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Resize an image of a modality to (H, W) pixels.

    Depth takes the nearest pixel: a mean of valid and invalid pixels, or across an edge, would be a depth that
    is nowhere in the scene.
    """
    if data.shape[:2] == size:
        return data
    if isinstance(modality, DepthModality):
        interpolation = cv2.INTER_NEAREST
    else:
        interpolation = cv2.INTER_AREA if size[0] < data.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(data, size[::-1], interpolation=interpolation)


def normalize(modality: Modality, data: NDArray[Any]) -> NDArray[np.float32]:
    """Scale an image to network input.

    Args:
        data: color (H, W, 3) uint8 RGB, or depth (H, W) uint16 [mm] or float32 [m].

    Returns:
        (3, H, W) float32, finite whatever the input.
    """
    if isinstance(modality, ColorModality):
        return _normalize_color(modality, data)
    depth_m, valid = metric_depth(data)
    if modality.normalization == "min_max":
        return _min_max(depth_m)
    depth_m = np.clip(depth_m, modality.near_m, modality.far_m)
    nearness, least, most = 1.0 / depth_m, 1.0 / modality.far_m, 1.0 / modality.near_m
    channels = np.empty((3, *data.shape), np.float32)
    channels[0] = (depth_m - modality.near_m) * (2.0 / (modality.far_m - modality.near_m)) - 1.0
    channels[1] = (nearness - least) * (2.0 / (most - least)) - 1.0
    channels[2] = 1.0
    channels *= valid
    return channels


def metric_depth(data: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(H, W) uint16 [mm] or float32 [m] -> depth in metres with 0 where invalid, and validity, both (H, W)."""
    if data.dtype == np.uint16:
        return data * np.float32(0.001), data > 0
    valid = np.isfinite(data) & (data > 0)
    return np.where(valid, data, np.float32(0.0)), valid


def _normalize_color(modality: ColorModality, data: NDArray[np.uint8]) -> NDArray[np.float32]:
    gain = (1.0 / (255.0 * np.asarray(modality.std))).astype(np.float32)
    offset = (np.asarray(modality.mean) / np.asarray(modality.std)).astype(np.float32)
    channels = np.empty((3, *data.shape[:2]), np.float32)
    np.multiply(data.transpose(2, 0, 1), gain[:, None, None], out=channels)
    channels -= offset[:, None, None]
    return channels


def _min_max(depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
    """The paper's depth input: invalid pixels count as depth 0; a frame without contrast would divide 0 by 0."""
    least, most = float(depth_m.min(initial=np.inf)), float(depth_m.max(initial=-np.inf))
    scaled = (depth_m - least) / (most - least) if most > least else np.zeros_like(depth_m)
    return np.repeat(scaled[None].astype(np.float32), 3, axis=0)


def prepare(frames: FrameSet, modalities: Sequence[Modality], size: tuple[int, int]) -> ModelInput:
    """A frame set -> network input of ``size`` (H, W), with zeros where a modality is missing."""
    images = np.zeros((1, len(modalities), 3, *size), np.float32)
    present = np.zeros((1, len(modalities)), np.bool_)
    for index, modality in enumerate(modalities):
        frame = frames.frames.get(modality.name)
        if frame is not None:
            images[0, index] = normalize(modality, resize(modality, frame.data, size))
            present[0, index] = True
    return ModelInput(images, present)
