"""Intersection over union, from one confusion matrix summed over a data set."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from m3l_core.labels import IGNORE


class ConfusionMatrix:
    """Counts of (true class, predicted class); sums are exact, so parts can be merged."""

    def __init__(self, num_classes: int) -> None:
        self.counts: NDArray[np.int64] = np.zeros((num_classes, num_classes), np.int64)

    def add(self, truth: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
        """Count two label images of one shape; pixels that are 255 in ``truth`` are left out.

        Raises:
            ValueError: shapes differ, or a class id is outside the matrix.
        """
        if truth.shape != labels.shape:
            raise ValueError(f"labels {labels.shape} and ground truth {truth.shape} differ in shape")
        known = truth != IGNORE
        classes = len(self.counts)
        pairs = truth[known].astype(np.int64) * classes + labels[known]
        if pairs.size and (truth[known].max() >= classes or labels[known].max() >= classes):
            raise ValueError(f"class ids must be below {classes} (or {IGNORE} in the ground truth)")
        self.counts += np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)

    def merge(self, other: ConfusionMatrix) -> None:
        self.counts += other.counts

    def iou(self) -> NDArray[np.float64]:
        """(K,) intersection over union; NaN for a class that neither occurs nor is predicted."""
        hits = np.diag(self.counts).astype(np.float64)
        union = self.counts.sum(0) + self.counts.sum(1) - hits
        with np.errstate(invalid="ignore"):
            iou: NDArray[np.float64] = hits / union
        return iou

    def mean_iou(self) -> float:
        """Mean over the classes that occur or are predicted; NaN if there are none."""
        iou = self.iou()
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")


def subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Every non-empty subset of the modalities, the full one first."""
    return [chosen for size in range(len(names), 0, -1) for chosen in combinations(names, size)]


def subset_key(names: Sequence[str]) -> str:
    """How a subset is written in files and tables: ``color+depth``."""
    return "+".join(names)
