"""Losses of one output over its pixels, as sums, so that ranks of any size add up exactly.

Legend: B samples, K classes, H x W pixels. Every loss takes log-probabilities, which are worth computing once.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from m3l_core.labels import IGNORE


class PixelSum(NamedTuple):
    """A loss summed over pixels, and how many pixels that were; both scalars."""

    total: Tensor
    number: Tensor


def ohem_cross_entropy(
    log_probabilities: Tensor, label: Tensor, threshold: float, least_kept: float = 1 / 16
) -> PixelSum:
    """Cross-entropy over the hard pixels (online hard example mining, arXiv 1604.03540).

    Args:
        log_probabilities: (B, K, H, W) float32.
        label: (B, H, W) int64, 255 ignored.
        threshold: a pixel counts if its true class has at most this probability; 1 counts all.
        least_kept: share of the labelled pixels that count even if they are easier, the hardest first.
    """
    losses = functional.nll_loss(log_probabilities, label, ignore_index=IGNORE, reduction="none")
    known = label != IGNORE
    if threshold < 1.0 and known.any():
        hardness = losses.detach()[known]
        hardest = hardness.topk(max(1, int(hardness.numel() * least_kept))).values[-1]
        easiest_loss = losses.new_tensor(threshold).log().neg()
        known &= ~(losses.detach() < easiest_loss.minimum(hardest))  # so that a NaN is not left out
    return PixelSum((losses * known).sum(), known.sum().float())


def pseudo_cross_entropy(log_probabilities: Tensor, classes: Tensor, weight: Tensor, counted: Tensor) -> PixelSum:
    """Cross-entropy to pseudo labels, each pixel by its weight.

    Pixels that count for little still divide: where the teacher is unsure, it teaches less.

    Args:
        log_probabilities: (B, K, H, W) float32.
        classes: (B, H, W) int64.
        weight: (B, H, W) float32, 0 where ``counted`` is False.
        counted: (B, H, W) bool.
    """
    losses = functional.nll_loss(log_probabilities, classes, reduction="none")
    return PixelSum((losses * weight).sum(), counted.sum().float())


def divergence(log_probabilities: Tensor, teacher: Tensor, weight: Tensor, counted: Tensor) -> PixelSum:
    """Kullback-Leibler divergence of the student from the teacher (arXiv 1503.02531).

    Args:
        log_probabilities: (B, K, H, W) float32 of the student.
        teacher: (B, K, H, W) float32, log-probabilities as well.
        weight: (B, H, W) float32, 0 where ``counted`` is False.
        counted: (B, H, W) bool.
    """
    losses = functional.kl_div(log_probabilities, teacher, reduction="none", log_target=True).sum(dim=1)
    return PixelSum((losses * weight).sum(), counted.sum().float())
