"""Losses over label images, 255 ignored."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from m3l_core.labels import IGNORE


def ohem_cross_entropy(logits: Tensor, label: Tensor, threshold: float, least_kept: float = 1 / 16) -> Tensor:
    """Cross-entropy over the hard pixels (online hard example mining, arXiv 1604.03540).

    Args:
        logits: (B, K, H, W) float32.
        label: (B, H, W) int64.
        threshold: a pixel counts if its true class has at most this probability.
        least_kept: share of the pixels that count even if they are easier, the hardest first.

    Returns:
        Mean over the pixels that count; 0 (with a gradient) if every pixel is ignored.
    """
    losses = functional.cross_entropy(logits, label, ignore_index=IGNORE, reduction="none")
    losses = losses[label != IGNORE]
    if losses.numel() == 0:
        return logits.sum() * 0.0
    hardest = losses.detach().topk(max(1, int(losses.numel() * least_kept))).values[-1]
    easiest_loss = losses.new_tensor(threshold).log().neg()
    easier = losses.detach() < easiest_loss.minimum(hardest)
    return losses[~easier].mean()  # so that a NaN is not left out
