"""What a stereo depth camera makes of a scene whose depth is known everywhere.

Rendered and in-painted depth has no holes, no noise and sharp edges; a network that saw only such depth has not seen
what a robot has. The model is that of a rectified pair with a matching window (as a RealSense D400's): what the second
camera does not see is lost, errors are errors of disparity, so that they grow with the square of the distance, and what
is dark, shiny, grazing or far is lost or matched wrongly. A Kinect's projector is such a second camera.

Its constants were set against the holes of a RealSense on a robot: training/experiments/depth_holes.py prints both.
Of the disparities here the unit is a pixel of a sensor that is 640 wide.
"""

from __future__ import annotations

import functools
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_Image = NDArray[np.float32]

_SENSOR_WIDTH = 640
_FOCAL_LENGTH = 0.96 * _SENSOR_WIDTH
"""In pixels: 55 degrees, as most depth cameras have when they are registered to color."""
_BASELINE_M = (0.05, 0.1)
_NOISE, _STEP = 0.8, 1 / 32
"""Of disparity: from the least to the most, and what it is rounded to."""
_LEAST_JUMP = np.float32(1.5)
"""Of disparity, at an edge."""
_LEAST_JUMP_M = 0.1
"""Of depth, at an edge: smaller steps are those of a set's own quantisation."""
_WINDOW = 9
"""Within which matching smooths, in pixels of the image."""
_EDGE, _BLED = 0.3, 0.3
"""How probable a hole is at an edge at strength 1, and that it bleeds."""
_LOST = {"dark": 0.15, "shiny": 0.15, "grazing": 0.1, "far": 0.05}
"""How probable it is that what is so is lost in a frame."""
_DARK, _SHINY = 35, 245
_GRAZING = 0.05
"""Relative change of depth from pixel to pixel."""
_FAR_M = (3.5, 8.0)
"""Where wrong matches begin, and where there are no more of them."""
_WRONG = 0.6
_SHIFT = 3.0
"""Of the registration to color, at most, in pixels of the sensor."""
_BAND, _COVERED = (0.02, 0.06), 0.05
"""Of the width that the second camera does not see, from and to; how often a part of another side is covered."""
_MOST_HOLES_BEFORE = 0.01


def comes_from_a_sensor(depth: NDArray[Any]) -> bool:
    """Whether depth (H, W) has holes already, so that a sensor, or a model of one, has seen it."""
    # So that NaN is a hole, too.
    return bool(np.count_nonzero(depth > 0) < (1 - _MOST_HOLES_BEFORE) * depth.size)


def sense(
    depth_m: _Image, color: NDArray[np.uint8] | None, width: int, strength: float, random: np.random.Generator
) -> _Image:
    """Depth as a camera would have given it.

    Args:
        depth_m: (H, W) float32 [m], 0 = invalid; perhaps a part of an image.
        color: (H, W, 3) uint8 RGB of the same part; None: it is not known what is dark or shiny.
        width: of the whole image in pixels.
        strength: 1 has as many holes and as much noise as the sensor, on average; 0 has none.
        random: where chance comes from.

    Returns:
        (H, W) float32 [m], 0 = invalid.
    """
    severity = np.float32(strength * random.uniform(0.5, 1.5))
    pixel_metres = np.float32(_FOCAL_LENGTH * random.uniform(*_BASELINE_M))
    scale = width / _SENSOR_WIDTH
    side = 1 if random.random() < 0.5 else -1
    known = depth_m > 0
    disparity = np.zeros_like(depth_m)
    np.divide(pixel_metres, depth_m, out=disparity, where=known)
    jump = disparity * disparity
    jump *= np.float32(_LEAST_JUMP_M) / pixel_metres
    np.maximum(jump, _LEAST_JUMP, out=jump)
    window = np.ones((3, 3), np.uint8)
    front = cv2.dilate(disparity, window)
    edge = front - cv2.erode(disparity, window) > jump

    holes = _unseen(disparity, jump, scale, side)
    fine, coarse = _blobs(depth_m.shape, 3, random), _blobs(depth_m.shape, 20, random)
    holes |= edge & (fine < severity * np.float32(_EDGE))
    holes |= _lost(disparity, color, severity, random) & (coarse < 0.7)
    holes[:, : round(severity * random.uniform(*_BAND) * depth_m.shape[1])][:, ::side] = True
    if random.random() < _COVERED * severity:
        _cover(holes, random)

    # What lies in front of something grows over it, as far as the matching window reaches, here more and there less.
    near_edge = cv2.dilate(edge.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.bool_)
    smooth: _Image = cv2.blur(disparity, (_WINDOW, _WINDOW)).astype(np.float32, copy=False)
    np.copyto(smooth, disparity, where=near_edge)
    np.copyto(smooth, front, where=edge & (coarse > 1 - severity * np.float32(_BLED)))
    disparity = smooth
    noise = _blobs(depth_m.shape, 5, random) - np.float32(0.5)
    noise *= severity * np.float32(_NOISE)
    disparity += noise
    nearness = disparity / pixel_metres
    beyond = ((1 / _FAR_M[0] - nearness) / np.float32(1 / _FAR_M[0] - 1 / _FAR_M[1])).clip(0, 1)
    wrong = _blobs(depth_m.shape, 10, random) < severity * np.float32(_WRONG) * beyond
    disparity[wrong] *= np.float32(0.1) + np.float32(0.8) * coarse[wrong]
    disparity = np.rint(disparity * np.float32(1 / _STEP)) * np.float32(_STEP)
    known &= ~holes & (disparity > 0)
    sensed = np.zeros_like(depth_m)
    np.divide(pixel_metres, disparity, out=sensed, where=known)
    return _shifted(sensed, random.uniform(-_SHIFT, _SHIFT, 2) * severity * scale)


def _unseen(disparity: _Image, jump: _Image, scale: float, side: int) -> NDArray[np.bool_]:
    """What the second camera, at that side, does not see: what is behind the edge of something in front of it."""
    seen_at = np.arange(disparity.shape[1], dtype=np.float32) / np.float32(scale) - disparity[:, ::side]
    nearest = np.minimum.accumulate(seen_at[:, ::-1], axis=1)[:, ::-1]
    nearest += jump[:, ::side]
    return (seen_at > nearest)[:, ::side]


def _lost(
    disparity: _Image, color: NDArray[np.uint8] | None, severity: np.float32, random: np.random.Generator
) -> NDArray[np.bool_]:
    """What is dark, shiny, grazing or far, each in some frames and not in others."""
    befalls = {cause: random.random() < chance * severity for cause, chance in _LOST.items()}
    lost = np.zeros(disparity.shape, np.bool_)
    if color is not None and (befalls["dark"] or befalls["shiny"]):
        gray = cv2.cvtColor(color, cv2.COLOR_RGB2GRAY)
        if befalls["dark"]:
            lost |= gray < _DARK
        if befalls["shiny"]:
            lost |= gray > _SHINY
    if befalls["grazing"]:
        slope = np.zeros_like(disparity)
        slope[1:] = np.abs(np.diff(disparity, axis=0))
        lost |= cv2.blur(slope, (_WINDOW, _WINDOW)) > np.float32(_GRAZING) * disparity
    if befalls["far"]:
        lost |= disparity < np.quantile(disparity[::4, ::4], 0.1)
    return lost


def _cover(holes: NDArray[np.bool_], random: np.random.Generator) -> None:
    lost = round(random.uniform(0.02, 0.1) * holes.shape[0])
    holes[slice(lost) if random.random() < 0.5 else slice(holes.shape[0] - lost, None)] = True


def _shifted(depth_m: _Image, by: NDArray[np.float64]) -> _Image:
    """Registered to color a little beside it."""
    down, right = np.rint(by)
    if not down and not right:
        return depth_m
    matrix = np.array([[1, 0, right], [0, 1, down]])
    moved = cv2.warpAffine(depth_m, matrix, depth_m.shape[::-1], flags=cv2.INTER_NEAREST)
    return moved.astype(np.float32, copy=False)


def _blobs(size: tuple[int, ...], pixels: int, random: np.random.Generator) -> _Image:
    """(H, W) float32 that is even in [0, 1] and alike within so many pixels."""
    texture = _texture(pixels, 512 * -(-max(size) // 384))
    top, left = (int(random.integers(texture.shape[0] - side + 1)) for side in size)
    return texture[top : top + size[0], left : left + size[1]]


@functools.cache
def _texture(pixels: int, side: int) -> _Image:
    """Blobs to cut from: to draw them anew for each frame would take longer than all the rest."""
    noise = cv2.GaussianBlur(
        np.random.default_rng(pixels).standard_normal((side, side), np.float32), (0, 0), pixels / 2
    )
    ranks = np.empty(noise.size, np.float32)
    ranks[noise.ravel().argsort()] = np.linspace(0, 1, noise.size, dtype=np.float32)
    return ranks.reshape(noise.shape)
