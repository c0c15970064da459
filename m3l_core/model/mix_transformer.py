"""Mix Transformer encoder with one token stream per modality (SegFormer, arXiv 2105.15203; M3L, arXiv 2304.10756).

Legend: M modalities, B batch, H x W tokens, C channels; token grids are (M, B, H, W, C).

Convolutions and linear layers are shared by the modalities, so all streams run through them as one batch of M * B.
A token grid seen as (M * B, C, H, W) is an image in channels-last layout: convolutions take it without a transpose.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from m3l_core.model.encoder import DropPath, Encoder
from m3l_core.model.fusion import linear_fusion, mask_missing
from m3l_core.model.norms import ModalityLayerNorm
from m3l_core.network_config import MixTransformerConfig


def convolve(convolution: nn.Conv2d, tokens: Tensor) -> Tensor:
    """Run a convolution over a token grid (M, B, H, W, C) -> (M, B, H', W', C')."""
    images = tokens.flatten(0, 1).permute(0, 3, 1, 2)
    convolved: Tensor = convolution(images)
    return convolved.permute(0, 2, 3, 1).view(*tokens.shape[:2], *convolved.shape[2:], -1)


def project(linear: nn.Linear, tokens: Tensor) -> Tensor:
    """Run a linear layer over a token grid (M, B, H, W, C) -> (M, B, H, W, C').

    As a 1x1 convolution: on a CPU that adds the bias while it multiplies, the linear layer in a pass of its own.
    """
    images = tokens.flatten(0, 1).permute(0, 3, 1, 2)
    projected = functional.conv2d(images, linear.weight[:, :, None, None], linear.bias)
    return projected.permute(0, 2, 3, 1).view(*tokens.shape[:-1], -1)


class PatchEmbedding(nn.Module):
    """Overlapping patches: a strided convolution and a norm; (M, B, H, W, C) -> (M, B, H/s, W/s, C')."""

    def __init__(self, num_modalities: int, in_width: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(in_width, width, kernel, stride, padding=kernel // 2)
        self.norm = ModalityLayerNorm(num_modalities, width)

    def forward(self, tokens: Tensor) -> Tensor:
        embedded: Tensor = self.norm(convolve(self.projection, tokens))
        return embedded


class ReducedAttention(nn.Module):
    """Self-attention within each stream, over keys and values reduced by ``reduction`` in height and width."""

    def __init__(self, num_modalities: int, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.projection = nn.Linear(width, width)
        self.reduction = nn.Conv2d(width, width, reduction, reduction) if reduction > 1 else None
        self.norm = ModalityLayerNorm(num_modalities, width) if reduction > 1 else None

    def _split_heads(self, tokens: Tensor) -> Tensor:
        """(M, B, H, W, C) -> (M * B, heads, H * W, C / heads)."""
        streams, width = tokens.shape[0] * tokens.shape[1], tokens.shape[-1]
        return tokens.reshape(streams, -1, self.heads, width // self.heads).transpose(1, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        source = tokens
        if self.reduction is not None and self.norm is not None:
            source = self.norm(convolve(self.reduction, tokens))
        key, value = project(self.key_value, source).chunk(2, dim=-1)
        attended = functional.scaled_dot_product_attention(
            self._split_heads(project(self.query, tokens)), self._split_heads(key), self._split_heads(value)
        )
        return project(self.projection, attended.transpose(1, 2).flatten(2).view(tokens.shape))


class MixFeedForward(nn.Module):
    """Linear, 3x3 depthwise convolution, GELU, linear: the convolution tells tokens where they are."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        hidden = width * ratio
        self.expand = nn.Linear(width, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.contract = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return project(self.contract, functional.gelu(convolve(self.depthwise, project(self.expand, tokens))))


class Block(nn.Module):
    """Attention whose output the streams exchange, then feed-forward; both residual."""

    def __init__(
        self,
        num_modalities: int,
        width: int,
        heads: int,
        reduction: int,
        ratio: int,
        drop: float,
        fusion: float,
    ) -> None:
        super().__init__()
        self.fusion_ratio = fusion
        self.attention_norm = ModalityLayerNorm(num_modalities, width)
        self.attention = ReducedAttention(num_modalities, width, heads, reduction)
        self.feed_forward_norm = ModalityLayerNorm(num_modalities, width)
        self.feed_forward = MixFeedForward(width, ratio)
        self.drop_path = DropPath(drop)

    def forward(self, tokens: Tensor, sources: Tensor | None = None) -> Tensor:
        attended = linear_fusion(self.attention(self.attention_norm(tokens)), self.fusion_ratio, sources)
        tokens = tokens + self.drop_path(attended)
        refined: Tensor = tokens + self.drop_path(self.feed_forward(self.feed_forward_norm(tokens)))
        return refined


class Stage(nn.Module):
    """Patch embedding, blocks, norm: one resolution of the encoder."""

    def __init__(self, embedding: PatchEmbedding, blocks: list[Block], norm: ModalityLayerNorm) -> None:
        super().__init__()
        self.embedding = embedding
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm

    def transform(self, tokens: Tensor, sources: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens, sources)
        normalized: Tensor = self.norm(tokens)
        return normalized


class MixTransformer(Encoder):
    """Tokens and attention in four stages."""

    def __init__(
        self, config: MixTransformerConfig, num_modalities: int, fusion_ratio: float, drop_path: float
    ) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.zeros(config.widths[0]))
        num_blocks = sum(config.depths)
        drop_rates = (drop_path * index / max(1, num_blocks - 1) for index in range(num_blocks))
        self.stages = nn.ModuleList()
        in_width = 3
        for index, width in enumerate(config.widths):
            kernel, stride = (7, 4) if index == 0 else (3, 2)
            shape = (width, config.heads[index], config.reductions[index], config.mlp_ratios[index])
            self.stages.append(
                Stage(
                    PatchEmbedding(num_modalities, in_width, width, kernel, stride),
                    [
                        Block(num_modalities, *shape, drop=next(drop_rates), fusion=fusion_ratio)
                        for _ in range(config.depths[index])
                    ],
                    ModalityLayerNorm(num_modalities, width),
                )
            )
            in_width = width

    def forward(
        self, images: Tensor, present: Tensor, kept: Tensor | None = None, sources: Tensor | None = None
    ) -> list[Tensor]:
        tokens = images.permute(1, 0, 3, 4, 2)
        grids = []
        for index, stage in enumerate(cast("Iterable[Stage]", self.stages)):
            tokens = stage.embedding(tokens)
            if index == 0:
                tokens = mask_missing(tokens, present, self.mask_token, kept)
            tokens = stage.transform(tokens, sources)
            grids.append(tokens)
        return grids
