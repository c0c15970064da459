"""SegFormer's all-MLP head, computed the cheap way.

The published order is: per stage a linear layer, upsampling to the first stage's size, concatenation, a 1x1
convolution, a norm. All of it up to the norm is linear, and 1x1 maps commute with bilinear upsampling. So each stage
gets one folded map, runs it at its own resolution, and the results are upsampled and added: the same numbers without
the wide concatenation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from m3l_core.model.upsampling import bilinear


class AllMLPHead(nn.Module):
    """Four token grids (M, B, H_s, W_s, C_s) -> logits (M, B, K, H_1, W_1), one copy run on each stream."""

    def __init__(self, grid_widths: Sequence[int], width: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.stage_linears = nn.ModuleList(nn.Linear(stage_width, width) for stage_width in grid_widths)
        self.fuse = nn.Linear(len(grid_widths) * width, width, bias=False)
        """Takes the stages in the published order: last stage first."""
        self.norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(width, num_classes, 1)

    def _folded_maps(self) -> list[tuple[Tensor, Tensor]]:
        """Per stage, weight (width, C_s) and bias (width,) of linear + slice of ``fuse`` (+ norm in eval mode)."""
        linears = cast("list[nn.Linear]", list(self.stage_linears))
        width = len(self.fuse.weight)
        maps = []
        for index, linear in enumerate(linears):
            begin = (len(linears) - 1 - index) * width
            part = self.fuse.weight[:, begin : begin + width]
            maps.append((part @ linear.weight, part @ linear.bias))
        if self.training:
            return maps
        running_mean, running_var = self.norm.running_mean, self.norm.running_var
        assert running_mean is not None and running_var is not None
        scale = self.norm.weight * torch.rsqrt(running_var + self.norm.eps)
        shift = self.norm.bias - running_mean * scale
        maps = [(weight * scale[:, None], bias * scale) for weight, bias in maps]
        return [(maps[0][0], maps[0][1] + shift), *maps[1:]]

    def forward(self, grids: list[Tensor]) -> Tensor:
        num_modalities, batch, height, width = grids[0].shape[:4]
        mapped = [
            functional.conv2d(grid.flatten(0, 1).permute(0, 3, 1, 2), weight[:, :, None, None], bias)
            for grid, (weight, bias) in zip(grids, self._folded_maps(), strict=True)
        ]
        fused = mapped[0]
        for coarse in mapped[1:]:
            # In place: these are the largest tensors of the network, and fresh memory costs more than the sum.
            fused += bilinear(coarse, (height, width), align_corners=False)
        if self.training:
            fused = self.norm(fused)
        logits: Tensor = self.classify(self.dropout(functional.relu(fused, inplace=True)))
        return logits.view(num_modalities, batch, -1, height, width)
