"""Is this frame worth using?

A driver keeps publishing when the lens is covered, the projector is off or its USB buffer hangs. Such a frame
is worse than a missing one, which the model was trained for.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from m3l_core.frames import Frame, ImageKind

_SAMPLES = 20_000
"""Pixels looked at, about: enough for shares of 1%, and well below a millisecond at any image size."""
_SATURATED_LEVEL = 250
_BLACK_SHARE = 0.01
"""Share of values that may lie above ``black_level`` in a black image: hot pixels, a leak of light."""


@dataclass(frozen=True, slots=True)
class HealthThresholds:
    """When a frame counts as missing. Each check can be switched off by itself."""

    min_valid_depth: float = 0.05
    """Smallest share of valid depth pixels, 0..1; 0 = off."""
    black_level: int = 8
    """A color image, or one of 8 bits, is black if 99% of its values are at or below this level, 0..254; -1 = off."""
    saturated_share: float = 0.95
    """Such an image is saturated if this share of its pixels is >= 250 in all channels, 0..1; 0 = off."""
    frozen_frames: int = 30
    """The same bytes this many times in a row are a frozen sensor, 2 or more; 0 = off, as for simulated
    cameras, which have no noise: there a robot that stands still sees the same bytes."""
    size_change_frames: int = 10
    """Frames of another size or encoding are refused until this many in a row agree; 0 = off."""
    max_megapixels: int = 64
    """A compressed image that says it has more is not decoded, 1 or more: a few bytes can hold any number."""

    def __post_init__(self) -> None:
        limits = {"min_valid_depth": (0, 1), "black_level": (-1, 254), "saturated_share": (0, 1)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be between {low} and {high}, got {getattr(self, name)}")
        if self.frozen_frames < 0 or self.frozen_frames == 1:
            raise ValueError(f"frozen_frames must be 0 (off) or 2 or more, got {self.frozen_frames}")
        if self.size_change_frames < 0:
            raise ValueError(f"size_change_frames must be 0 (off) or more, got {self.size_change_frames}")
        if self.max_megapixels < 1:
            raise ValueError(f"max_megapixels must be 1 or more, got {self.max_megapixels}")


class SensorHealth:
    """Checks the frames of one subscription in the order of their arrival; not thread safe."""

    def __init__(self, modality_kind: ImageKind, thresholds: HealthThresholds | None = None) -> None:
        if modality_kind not in get_args(ImageKind):
            raise ValueError(f"modality_kind must be one of {', '.join(get_args(ImageKind))}, got {modality_kind!r}")
        self._kind = modality_kind
        self.thresholds = thresholds or HealthThresholds()
        """May be replaced; what has been seen until then still counts."""
        self._previous: tuple[NDArray[Any], NDArray[Any]] | None = None
        self._same_count = 1
        self._promised: tuple[str, str] | None = None
        self._latest: tuple[str, str] | None = None
        self._alike_count = 0

    def check(self, frame: Frame) -> str | None:
        """Why the frame counts as missing, or None if it is healthy: in a few words, of few kinds, to be counted by.

        ``frame.data`` is (H, W, 3) uint8, or (H, W) uint8, uint16 or float32, as `Frame` says. It is kept until the
        next call and must not be written into meanwhile.
        """
        image = frame.data
        sample = _subsample(image)
        # All three look at every frame: a black frame, too, may be frozen or of the new size.
        frozen = self._frozen(image, sample)
        changed = self._changed(image, frame.encoding)
        return changed or self._worthless(sample) or frozen

    def _worthless(self, sample: NDArray[Any]) -> str | None:
        if not sample.size:
            return "empty image"
        limits = self.thresholds
        if self._kind in ("depth", "height"):
            # NaN and -Inf fail the first comparison, +Inf the second (REP 117); a height in metres may be below 0.
            least = -np.inf if self._kind == "height" and sample.dtype == np.float32 else 0
            valid = np.count_nonzero((sample > least) & (sample < np.inf)) / sample.size
            if valid < limits.min_valid_depth:
                needed = f"{limits.min_valid_depth * 100:g}% needed"
                return f"{math.floor(valid * 100)}% of the {self._kind} is valid, {needed}"
            return None
        if sample.dtype == np.uint16:  # of a thermal camera: its counts may begin and end anywhere
            return None if np.ptp(sample) else "image without contrast"
        if np.count_nonzero(sample > limits.black_level) <= _BLACK_SHARE * sample.size:
            return "black image"
        if limits.saturated_share > 0:
            # Channel by channel: numpy's min over a last axis of three takes ten times as long.
            darkest = functools.reduce(np.minimum, np.moveaxis(sample, 2, 0)) if sample.ndim == 3 else sample
            if np.count_nonzero(darkest >= _SATURATED_LEVEL) >= limits.saturated_share * darkest.size:
                return "saturated image"
        return None

    def _frozen(self, image: NDArray[Any], sample: NDArray[Any]) -> str | None:
        if not self.thresholds.frozen_frames:
            return None
        previous, self._previous = self._previous, (image, sample)
        # A look at the subsample first spares reading two whole images for each new frame.
        same = previous is not None and _same(previous[1], sample) and _same(previous[0], image)
        self._same_count = self._same_count + 1 if same else 1
        if self._same_count < self.thresholds.frozen_frames:
            return None
        return f"same image {self.thresholds.frozen_frames} or more times in a row"

    def _changed(self, image: NDArray[Any], encoding: str) -> str | None:
        came = (f"{image.shape[1]}x{image.shape[0]}", encoding)
        self._alike_count = self._alike_count + 1 if came == self._latest else 1
        self._latest = came
        if self._promised is None or self._alike_count >= self.thresholds.size_change_frames:
            self._promised = came
        if came == self._promised:
            return None
        what, index = ("size", 0) if came[0] != self._promised[0] else ("encoding", 1)
        return f"{what} {self._promised[index]} became {came[index]}"


def _subsample(image: NDArray[Any]) -> NDArray[Any]:
    step = max(1, round(math.sqrt(image.shape[0] * image.shape[1] / _SAMPLES)))
    return np.ascontiguousarray(image[::step, ::step])  # a copy, of which all that follows is several times faster


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Same bytes."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    bits = np.dtype(f"u{one.dtype.itemsize}")  # NaN differs from itself, its bits do not
    return np.array_equal(one.view(bits), other.view(bits))
