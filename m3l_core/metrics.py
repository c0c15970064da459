"""What is measured of labels: intersection over union, its means over subsets of the modalities, calibration.

Counts are summed over a data set as integers, so parts can be merged exactly.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from m3l_core.labels import IGNORE


class ConfusionMatrix:
    """Counts of (true class, predicted class); sums are exact, so parts can be merged.

    Args:
        num_classes: of the labels.
        measured: the classes that the ground truth can have; None: all. Another one is wrong wherever it is predicted,
            but has no IoU of its own.
    """

    def __init__(self, num_classes: int, measured: Collection[int] | None = None) -> None:
        self.counts: NDArray[np.int64] = np.zeros((num_classes, num_classes), np.int64)
        self._unmeasured = [] if measured is None else sorted({*range(num_classes)} - {*measured})

    def add(self, truth: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
        """Count two label images of one shape; pixels that are 255 in either are left out.

        Raises:
            ValueError: shapes differ, or a class id is outside the matrix.
        """
        if truth.shape != labels.shape:
            raise ValueError(f"labels {labels.shape} and ground truth {truth.shape} differ in shape")
        known = (truth != IGNORE) & (labels != IGNORE)
        classes = len(self.counts)
        pairs = truth[known].astype(np.int64) * classes + labels[known]
        if pairs.size and (truth[known].max() >= classes or labels[known].max() >= classes):
            raise ValueError(f"class ids must be below {classes} (or {IGNORE}, unlabelled)")
        self.counts += np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)

    def merge(self, other: ConfusionMatrix) -> None:
        self.counts += other.counts

    def iou(self) -> NDArray[np.float64]:
        """(K,) intersection over union; NaN for a class that is not measured, or neither occurs nor is predicted."""
        hits = np.diag(self.counts).astype(np.float64)
        union = self.counts.sum(0) + self.counts.sum(1) - hits
        with np.errstate(invalid="ignore"):
            iou: NDArray[np.float64] = hits / union
        iou[self._unmeasured] = np.nan
        return iou

    def mean_iou(self) -> float:
        """Mean over the measured classes that occur or are predicted; NaN if there are none."""
        iou = self.iou()
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")


def subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Every non-empty subset of the modalities, the full one first."""
    return [chosen for size in range(len(names), 0, -1) for chosen in combinations(names, size)]


def subset_key(names: Sequence[str]) -> str:
    """How a subset is written in files and tables: ``color+depth``."""
    return "+".join(names)


def mm_robust(miou: Mapping[str, float]) -> float:
    """Plain mean of the mIoU of all subsets; NaN if one of them is.

    MM-Robust of M3L (arXiv 2304.10756) and mIoU^Avg_EMM of arXiv 2503.18445, equation 1.
    """
    return sum(miou.values()) / len(miou)


def worst_subset(miou: Mapping[str, float]) -> str:
    """The subset of the least mIoU; one whose mIoU is NaN counts as the least."""
    return list(miou)[int(np.argmin(list(miou.values())))]


def subset_weights(modalities: Sequence[str], p: float) -> dict[str, float]:
    """How probable each subset is where every modality fails with probability ``p``, independently, but never all.

    p^m (1-p)^(N-m) with m of N modalities failed, over the sum of these (arXiv 2503.18445, equation 4).

    Raises:
        ValueError: ``p`` is not in [0, 1).
    """
    if not 0.0 <= p < 1.0:
        raise ValueError(f"the probability that a modality fails must be in [0, 1), got {p}")
    chosen = subsets(modalities)
    weights = [p ** (len(modalities) - len(names)) * (1.0 - p) ** len(names) for names in chosen]
    return {subset_key(names): weight / sum(weights) for names, weight in zip(chosen, weights, strict=True)}


def expected_miou(miou: Mapping[str, float], modalities: Sequence[str], p: float) -> float:
    """EMM-E(p): the mean of the subsets' mIoU by ``subset_weights`` (arXiv 2503.18445, equation 4)."""
    return sum(weight * miou[key] for key, weight in subset_weights(modalities, p).items())


@dataclass(frozen=True, slots=True)
class ReliabilityCurve:
    """How often labels of like confidence are right, B bins."""

    pixels: NDArray[np.int64]
    """(B,)."""
    confidence: NDArray[np.float64]
    """(B,) mean confidence in [0, 1]; NaN in a bin without pixels."""
    accuracy: NDArray[np.float64]
    """(B,) share of right labels in [0, 1]; NaN in a bin without pixels."""


class CalibrationError:
    """Counts of (confidence, wrong or right), one row for each of the 256 values an engine gives."""

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros((256, 2), np.int64)

    def add(self, truth: NDArray[np.uint8], labels: NDArray[np.uint8], confidence: NDArray[np.uint8]) -> None:
        """Count images of one shape; pixels that are 255 in ``truth`` are left out.

        Args:
            truth: class ids.
            labels: class ids.
            confidence: probability of ``labels``, 0..255.

        Raises:
            ValueError: shapes differ.
        """
        if not truth.shape == labels.shape == confidence.shape:
            raise ValueError(
                f"labels {labels.shape}, confidence {confidence.shape} and ground truth {truth.shape} differ in shape"
            )
        known = truth != IGNORE
        pairs = confidence[known].astype(np.int64) * 2 + (truth[known] == labels[known])
        self.counts += np.bincount(pairs, minlength=self.counts.size).reshape(self.counts.shape)

    def merge(self, other: CalibrationError) -> None:
        self.counts += other.counts

    def reliability(self, bins: int = 15) -> ReliabilityCurve:
        """Bins of equal width over (0, 1], as in Guo et al., arXiv 1706.04599, section 2; 0 is in the first."""
        values = np.arange(256)
        index = np.maximum(-(-values * bins // 255) - 1, 0)
        counts = self.counts.sum(1)
        pixels = np.bincount(index, counts, bins)
        with np.errstate(invalid="ignore"):
            confidence = np.bincount(index, counts * values / 255.0, bins) / pixels
            accuracy = np.bincount(index, self.counts[:, 1], bins) / pixels
        return ReliabilityCurve(pixels.astype(np.int64), confidence, accuracy)

    def ece(self, bins: int = 15) -> float:
        """Expected calibration error in [0, 1] (arXiv 1706.04599, equation 3); NaN if nothing was counted."""
        curve = self.reliability(bins)
        counted = curve.pixels > 0
        if not counted.any():
            return float("nan")
        gap = np.abs(curve.accuracy - curve.confidence)[counted]
        return float(np.average(gap, weights=curve.pixels[counted]))
