"""The same network computed in the order of the published code: what our order is measured against.

Modalities one after the other through every layer, tokens transposed around each convolution, attention in its parts,
and a head that upsamples every stage before it concatenates and fuses. It runs on the weights of our network, so both
give the same logits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from m3l_core.model.decoder import AllMLPHead
from m3l_core.model.mix_transformer import Block, MixFeedForward, ReducedAttention, Stage
from m3l_core.model.network import LinearFusionSegFormer
from m3l_core.model.norms import ModalityLayerNorm


class PublishedOrder(nn.Module):
    """Takes and gives what ``LinearFusionSegFormer`` does; stream tokens are lists of (B, N, C)."""

    def __init__(self, network: LinearFusionSegFormer) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, present: Tensor) -> Tensor:
        """(B, M, 3, H, W), (B, M) -> (M, B, K, h, w)."""
        network = self.network
        streams = list(images.unbind(1))
        grids: list[list[Tensor]] = [[] for _ in streams]
        for number, stage in enumerate(cast("Iterable[Stage]", network.encoder.stages)):
            streams = [stage.embedding.projection(stream) for stream in streams]
            height, width = streams[0].shape[-2:]
            tokens = _normalize(stage.embedding.norm, [stream.flatten(2).transpose(1, 2) for stream in streams])
            if number == 0:
                mask = network.encoder.mask_token
                tokens = [torch.where(present[:, i, None, None], x, mask) for i, x in enumerate(tokens)]
            for block in cast("Iterable[Block]", stage.blocks):
                tokens = _block(block, tokens, height, width)
            streams = [_to_image(x, height, width) for x in _normalize(stage.norm, tokens)]
            for grid, stream in zip(grids, streams, strict=True):
                grid.append(stream)
        return torch.stack([_head(network.head, grid) for grid in grids])


def _normalize(norm: ModalityLayerNorm, tokens: list[Tensor]) -> list[Tensor]:
    width = tokens[0].shape[-1]
    return [
        functional.layer_norm(x, (width,), norm.weight[index], norm.bias[index], 1e-6) for index, x in enumerate(tokens)
    ]


def _to_image(tokens: Tensor, height: int, width: int) -> Tensor:
    return tokens.transpose(1, 2).reshape(len(tokens), -1, height, width).contiguous()


def _block(block: Block, tokens: list[Tensor], height: int, width: int) -> list[Tensor]:
    attended = _attend(block.attention, _normalize(block.attention_norm, tokens), height, width)
    total, others = sum(attended[1:], attended[0]), max(1, len(attended) - 1)
    ratio = block.fusion_ratio if len(attended) > 1 else 1.0
    tokens = [x + ratio * a + (1 - ratio) * (total - a) / others for x, a in zip(tokens, attended, strict=True)]
    normalized = _normalize(block.feed_forward_norm, tokens)
    return [x + _feed_forward(block.feed_forward, n, height, width) for x, n in zip(tokens, normalized, strict=True)]


def _attend(attention: ReducedAttention, tokens: list[Tensor], height: int, width: int) -> list[Tensor]:
    sources = tokens
    if attention.reduction is not None and attention.norm is not None:
        reduced = [attention.reduction(_to_image(x, height, width)) for x in tokens]
        sources = _normalize(attention.norm, [x.flatten(2).transpose(1, 2) for x in reduced])
    results = []
    for x, source in zip(tokens, sources, strict=True):
        batch, number, channels = x.shape
        heads, depth = attention.heads, channels // attention.heads
        query = attention.query(x).reshape(batch, number, heads, depth).permute(0, 2, 1, 3)
        both = attention.key_value(source).reshape(batch, -1, 2, heads, depth).permute(2, 0, 3, 1, 4)
        scores = (query @ both[0].transpose(-2, -1)) * depth**-0.5
        mixed = (scores.softmax(dim=-1) @ both[1]).transpose(1, 2).reshape(batch, number, channels)
        results.append(attention.projection(mixed))
    return results


def _feed_forward(feed_forward: MixFeedForward, tokens: Tensor, height: int, width: int) -> Tensor:
    hidden = feed_forward.depthwise(_to_image(feed_forward.expand(tokens), height, width))
    contracted: Tensor = feed_forward.contract(functional.gelu(hidden.flatten(2).transpose(1, 2)))
    return contracted


def _head(head: AllMLPHead, grids: list[Tensor]) -> Tensor:
    size = grids[0].shape[-2:]
    mapped = []
    for linear, grid in zip(head.stage_linears, grids, strict=True):
        image = _to_image(linear(grid.flatten(2).transpose(1, 2)), *grid.shape[-2:])
        mapped.append(functional.interpolate(image, size, mode="bilinear", align_corners=False))
    fused = functional.conv2d(torch.cat(mapped[::-1], dim=1), head.fuse.weight[:, :, None, None])
    logits: Tensor = head.classify(head.dropout(functional.relu(head.norm(fused))))
    return logits
