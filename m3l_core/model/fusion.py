"""What the streams exchange, and what stands in for a missing one.

Legend: M modalities, B batch, H x W tokens, C channels; token grids are (M, B, H, W, C).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def linear_fusion(tokens: Tensor, ratio: float, present: Tensor | None = None) -> Tensor:
    """x_i' = ratio * x_i + (1 - ratio) * mean of the others (M3L, section 3.1); (M, B, ...) -> (M, B, ...).

    Args:
        present: (B, M) bool; a stream takes in the others that are present, or keeps what it has if none is. What
            becomes of a missing stream means nothing. Without it, all count.
    """
    num_modalities = tokens.shape[0]
    if num_modalities == 1:
        return tokens
    if present is None:
        from_each = (1.0 - ratio) / (num_modalities - 1)
        return torch.add((ratio - from_each) * tokens, tokens.sum(dim=0, keepdim=True), alpha=from_each)
    counted = present.T.reshape(*tokens.shape[:2], *[1] * (tokens.dim() - 2))
    total = torch.where(counted, tokens, 0.0).sum(dim=0, keepdim=True)
    num_present = counted.sum(dim=0, keepdim=True).to(tokens.dtype)
    # The same sum written as a step towards the others' mean, which is none for a stream that is alone.
    return tokens + (1.0 - ratio) / (num_present - 1).clamp(min=1) * (total - num_present * tokens)


def fuse_streams(streams: Sequence[Tensor], ratio: float, present: Tensor | None = None) -> list[Tensor]:
    """``linear_fusion`` of streams that are tensors of their own, each (B, ...)."""
    if len(streams) == 1:
        return list(streams)
    if present is None:
        from_each = (1.0 - ratio) / (len(streams) - 1)
        total = torch.stack([*streams]).sum(dim=0) if len(streams) > 2 else streams[0] + streams[1]
        return [torch.add((ratio - from_each) * stream, total, alpha=from_each) for stream in streams]
    return list(linear_fusion(torch.stack([*streams]), ratio, present))


def mask_missing(tokens: Tensor, present: Tensor, mask_token: Tensor, kept: Tensor | None = None) -> Tensor:
    """Replace every token of a missing modality by the learnt mask token (M3L, section 3.2).

    Args:
        tokens: (M, B, H, W, C).
        present: (B, M) bool.
        mask_token: (C,).
        kept: (B, M, H, W) bool; where False, the token of a present modality is replaced as well.
    """
    visible = present.T[:, :, None, None, None]
    if kept is not None:
        visible = visible & kept.transpose(0, 1)[..., None]
    return torch.where(visible, tokens, mask_token.to(tokens.dtype))
