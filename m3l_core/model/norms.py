"""Norms with one copy a modality: what lets streams of such different inputs share all other weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ModalityNorm(nn.Module):
    """Weight and bias (M, C): a row for each modality."""

    def __init__(self, num_modalities: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_modalities, width))
        self.bias = nn.Parameter(torch.zeros(num_modalities, width))


class ModalityLayerNorm(ModalityNorm):
    """LayerNorm over C with its own weight and bias for each modality; (M, B, ..., C) -> the same."""

    def forward(self, tokens: Tensor) -> Tensor:
        # One normalisation for all streams, then one pass that scales and shifts each by its own.
        num_modalities, width = self.weight.shape
        per_stream = (num_modalities, *[1] * (tokens.dim() - 2), width)
        normalized = functional.layer_norm(tokens, (width,), eps=1e-6)
        return torch.addcmul(self.bias.view(per_stream), normalized, self.weight.view(per_stream))


class ModalityBatchNorm(ModalityNorm):
    """BatchNorm with weight, bias and statistics of its own for each modality; eps is EfficientNet's."""

    running_mean: Tensor
    running_var: Tensor
    eps = 1e-3
    momentum = 0.1

    def __init__(self, num_modalities: int, width: int) -> None:
        super().__init__(num_modalities, width)
        self.register_buffer("running_mean", torch.zeros(num_modalities, width))
        self.register_buffer("running_var", torch.ones(num_modalities, width))

    def forward(self, images: Tensor, modality: int, counted: Tensor | None = None) -> Tensor:
        """(B, C, H, W) of one modality -> the same.

        Args:
            counted: (B,) bool; while training the other samples have no part in the statistics, and become 0.
        """
        if self.training and counted is not None and not bool(counted.all()):
            normalized = torch.zeros_like(images)
            if bool(counted.any()):
                normalized[counted] = self.of_batch(images[counted], modality).to(images.dtype)
            return normalized
        return self.of_batch(images, modality)

    def of_batch(self, images: Tensor, modality: int) -> Tensor:
        """The same, where every sample counts."""
        if not self.training:
            # One scale and one shift, which engines fold into the convolution before. Folded here, the weights of an
            # exported graph would no longer be those in the bundle's file, and be stored once more for each modality.
            scale = self.weight[modality] * torch.rsqrt(self.running_var[modality] + self.eps)
            shift = self.bias[modality] - self.running_mean[modality] * scale
            return torch.addcmul(shift[:, None, None], images, scale[:, None, None])
        return functional.batch_norm(
            images,
            self.running_mean[modality],
            self.running_var[modality],
            self.weight[modality],
            self.bias[modality],
            self.training,
            self.momentum,
            self.eps,
        )
