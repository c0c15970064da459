"""How good labels are: against the ground truth, against the run with all sensors, and against the frame before."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.labels import IGNORE
from m3l_core.metrics import ConfusionMatrix

_SAME_SCENE_NS = 1_000_000_000


@dataclass
class Share:
    """Pixels labelled alike of pixels compared."""

    alike: int = 0
    pixels: int = 0
    frames: int = 0

    def add(self, alike: int, pixels: int) -> float | None:
        """Count a frame; returns its own share."""
        self.alike += alike
        self.pixels += pixels
        self.frames += 1
        return alike / pixels if pixels else None

    @property
    def value(self) -> float | None:
        return self.alike / self.pixels if self.pixels else None

    def merge(self, other: Share) -> None:
        self.alike += other.alike
        self.pixels += other.pixels
        self.frames += other.frames


class LabelScores:
    """Counts over label images; one run's or several's."""

    def __init__(self, num_classes: int) -> None:
        self.confusion = ConfusionMatrix(num_classes)
        """Against the ground truth."""
        self.accuracy = Share()
        """The same in one figure."""
        self.agreement = Share()
        """With the labels of the run with all sensors, at the same stamps."""
        self.consistency = Share()
        """With the labels of the set that left before, if that is of the same size and at most a second away."""
        self.labelled = Share()
        """Pixels with a label, of all; the others are 255: less confident than ``min_confidence``."""

    def count(self, ids: NDArray[np.uint8]) -> float | None:
        """Count a label image; returns the share of its pixels that have a label."""
        return self.labelled.add(int(np.count_nonzero(ids != IGNORE)), ids.size)

    def compare_with_truth(self, ids: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float | None:
        """Count a label image; returns the share of right pixels, None if the truth knows none."""
        right, known = int(np.trace(self.confusion.counts)), int(self.confusion.counts.sum())
        self.confusion.add(truth, ids)
        return self.accuracy.add(int(np.trace(self.confusion.counts)) - right, int(self.confusion.counts.sum()) - known)

    def compare_with_full(self, ids: NDArray[np.uint8], full: NDArray[np.uint8]) -> float | None:
        return self.agreement.add(*_alike(ids, full))

    def compare_with_previous(
        self, ids: NDArray[np.uint8], previous: NDArray[np.uint8], distance_ns: int
    ) -> float | None:
        if ids.shape != previous.shape or abs(distance_ns) > _SAME_SCENE_NS:
            return None
        return self.consistency.add(*_alike(ids, previous))

    def merge(self, other: LabelScores) -> None:
        self.confusion.merge(other.confusion)
        self.accuracy.merge(other.accuracy)
        self.agreement.merge(other.agreement)
        self.consistency.merge(other.consistency)
        self.labelled.merge(other.labelled)


def _alike(ids: NDArray[np.uint8], others: NDArray[np.uint8]) -> tuple[int, int]:
    """Pixels labelled alike, and those that both label."""
    both = (ids != IGNORE) & (others != IGNORE)
    return int(np.count_nonzero((ids == others) & both)), int(np.count_nonzero(both))


def resized(ids: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Class ids of (H, W) = ``size`` by the nearest pixel."""
    return (
        ids if ids.shape == size else np.asarray(cv2.resize(ids, size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
    )
