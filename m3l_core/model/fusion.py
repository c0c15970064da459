"""What the streams exchange, and what stands in for a missing one.

Legend: M modalities, B batch, H x W tokens, C channels; token grids are (M, B, H, W, C).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def linear_fusion(tokens: Tensor, ratio: float) -> Tensor:
    """x_i' = ratio * x_i + (1 - ratio) * mean of the others (M3L, section 3.1); (M, ...) -> (M, ...)."""
    num_modalities = tokens.shape[0]
    if num_modalities == 1:
        return tokens
    from_each = (1.0 - ratio) / (num_modalities - 1)
    return torch.add((ratio - from_each) * tokens, tokens.sum(dim=0, keepdim=True), alpha=from_each)


def mask_missing(tokens: Tensor, present: Tensor, mask_token: Tensor) -> Tensor:
    """Replace every token of a missing modality by the learnt mask token (M3L, section 3.2).

    Args:
        tokens: (M, B, H, W, C).
        present: (B, M) bool.
        mask_token: (C,).
    """
    return torch.where(present.T[:, :, None, None, None], tokens, mask_token.to(tokens.dtype))


class ModalityLayerNorm(nn.Module):
    """LayerNorm over C with its own weight and bias for each modality; (M, B, ..., C) -> the same."""

    def __init__(self, num_modalities: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_modalities, width))
        self.bias = nn.Parameter(torch.zeros(num_modalities, width))

    def forward(self, tokens: Tensor) -> Tensor:
        # One normalisation for all streams, then one pass that scales and shifts each by its own.
        num_modalities, width = self.weight.shape
        per_stream = (num_modalities, *[1] * (tokens.dim() - 2), width)
        normalized = functional.layer_norm(tokens, (width,), eps=1e-6)
        return torch.addcmul(self.bias.view(per_stream), normalized, self.weight.view(per_stream))
