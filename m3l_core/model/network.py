"""Linear Fusion SegFormer (M3L, arXiv 2304.10756): a stream per modality, any of which may be missing.

Legend: B batch, M modalities, K classes, H x W input pixels, h x w = H/4 x W/4.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from m3l_core.model.config import NetworkConfig
from m3l_core.model.decoder import AllMLPHead
from m3l_core.model.encoder import LinearFusionEncoder


class LinearFusionSegFormer(nn.Module):
    """Images and their presence in, one map of logits per stream out.

    Args:
        drop_path: stochastic depth of the last block while training; the blocks before it have less.
        dropout: of the head while training.
    """

    def __init__(self, config: NetworkConfig, drop_path: float = 0.1, dropout: float = 0.1) -> None:
        super().__init__()
        self.config = config
        encoder = config.encoder_config
        self.encoder = LinearFusionEncoder(encoder, config.num_modalities, config.fusion_ratio, drop_path)
        self.head = AllMLPHead(encoder, config.head_width, config.num_classes, dropout)
        self.alpha = nn.Parameter(torch.full((config.num_modalities,), 0.5))
        self.apply(_initialize)
        nn.init.trunc_normal_(self.encoder.mask_token, std=0.02)

    def forward(self, images: Tensor, present: Tensor) -> Tensor:
        """Logits of each stream.

        Args:
            images: (B, M, 3, H, W), normalised; H and W at least 32. What stands where ``present`` is False
                does not matter as long as it is finite.
            present: (B, M) bool.

        Returns:
            (M, B, K, h, w).
        """
        logits: Tensor = self.head(self.encoder(images, present))
        return logits

    def ensemble(self, streams: Tensor, present: Tensor) -> Tensor:
        """Mean of the streams by softmax(alpha), a missing one counted by ``missing_stream_weight``.

        Args:
            streams: (M, B, K, h, w).
            present: (B, M) bool.

        Returns:
            (B, K, h, w).
        """
        availability = torch.where(present, 1.0, self.config.missing_stream_weight)
        weights = torch.softmax(self.alpha.float(), dim=0) * availability
        weights = (weights / weights.sum(dim=1, keepdim=True)).to(streams.dtype)
        return (streams * weights.T[:, :, None, None, None]).sum(dim=0)


def upsample(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, K, h, w) -> (B, K, *size), bilinear with aligned corners as published."""
    return functional.interpolate(logits, size, mode="bilinear", align_corners=True)


def winning_classes(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, K, h, w) -> (B, *size) int64: the class of the largest upsampled logit."""
    # On a CPU, max over the classes takes a quarter of argmax's time.
    return upsample(logits, size).max(dim=1).indices


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
