"""EfficientNet-lite encoder with one stream per modality (arXiv 1905.11946; M3L, arXiv 2304.10756).

Legend: M modalities, B batch, C channels, H x W pixels of a feature map.

Convolutions are shared by the modalities, each batch norm has a copy for each. A stream is a tensor of its own,
(B, C, H, W) in channels-last layout, so that a stream's norms can be folded into its convolutions by whatever engine
runs the exported graph.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from m3l_core.model.encoder import DropPath, Encoder
from m3l_core.model.fusion import fuse_streams
from m3l_core.model.norms import ModalityBatchNorm
from m3l_core.network_config import EfficientNetConfig

_KERNELS = (3, 3, 5, 3, 5, 5, 3)
_STRIDES = (1, 2, 2, 2, 1, 2, 1)
_GRID_GROUPS = (1, 2, 4, 6)
"""The groups whose results are the token grids."""


class NormedConvolution(nn.Module):
    """A convolution without bias, a norm, and ReLU6 unless it is a projection; one stream at a time."""

    def __init__(
        self,
        num_modalities: int,
        widths: tuple[int, int],
        kernel: int,
        stride: int = 1,
        depthwise: bool = False,
        activated: bool = True,
    ) -> None:
        super().__init__()
        groups = widths[0] if depthwise else 1
        self.convolution = nn.Conv2d(*widths, kernel, stride, groups=groups, bias=False)
        self.norm = ModalityBatchNorm(num_modalities, widths[1])
        self.activated = activated

    def forward(self, stream: Tensor, modality: int, counted: Tensor | None) -> Tensor:
        convolved = self._convolved(stream)
        normalized: Tensor = self.norm(convolved, modality, counted)
        return functional.relu6(normalized, inplace=True) if self.activated else normalized

    def _convolved(self, stream: Tensor) -> Tensor:
        kernel, stride = self.convolution.kernel_size[0], self.convolution.stride[0]
        padded = _padded(stream, kernel, stride)
        depthwise = self.convolution.groups > 1
        if self.training and depthwise and padded.device.type == "cpu" and (kernel > 3 or stride > 1):
            # Their gradients take a CPU two to ten times as long in bfloat16.
            with torch.autocast("cpu", enabled=False):
                convolved: Tensor = self.convolution(padded.float())
                return convolved
        convolved = self.convolution(padded)
        return convolved


def _padded(images: Tensor, kernel: int, stride: int) -> Tensor:
    """Zeros at the edges as TensorFlow's ``SAME`` has them: one more at the end where their number is odd."""
    if kernel == 1:
        return images
    height, width = images.shape[-2:]
    rows, columns = (max(0, (-(-side // stride) - 1) * stride + kernel - side) for side in (height, width))
    return functional.pad(images, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))


class InvertedResidual(nn.Module):
    """Expand, depthwise convolution, project; what the projections give is exchanged by the streams."""

    def __init__(
        self,
        num_modalities: int,
        widths: tuple[int, int],
        expansion: int,
        kernel: int,
        stride: int,
        drop: float,
        fusion: float,
    ) -> None:
        super().__init__()
        inside = widths[0] * expansion
        self.expand = NormedConvolution(num_modalities, (widths[0], inside), 1) if expansion > 1 else None
        self.depthwise = NormedConvolution(num_modalities, (inside, inside), kernel, stride, depthwise=True)
        self.project = NormedConvolution(num_modalities, (inside, widths[1]), 1, activated=False)
        self.is_residual = stride == 1 and widths[0] == widths[1]
        self.drop_path = DropPath(drop, dimensions=1)
        self.fusion_ratio = fusion

    def forward(self, streams: list[Tensor], sources: Tensor | None) -> list[Tensor]:
        counted = [None] * len(streams) if sources is None else sources.unbind(1)
        branches = []
        for modality, (stream, samples) in enumerate(zip(streams, counted, strict=True)):
            expanded = stream if self.expand is None else self.expand(stream, modality, samples)
            branches.append(self.project(self.depthwise(expanded, modality, samples), modality, samples))
        fused = fuse_streams(branches, self.fusion_ratio, sources)
        if not self.is_residual:
            return fused
        return [stream + self.drop_path(branch) for stream, branch in zip(streams, fused, strict=True)]


class EfficientNet(Encoder):
    """Inverted residuals in seven groups."""

    def __init__(self, config: EfficientNetConfig, num_modalities: int, fusion_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.zeros(config.stem_width))
        self.stem = NormedConvolution(num_modalities, (3, config.stem_width), 3, 2)
        num_blocks = sum(config.group_depths)
        drop_rates = (drop_path * index / max(1, num_blocks - 1) for index in range(num_blocks))
        self.groups = nn.ModuleList()
        in_width = config.stem_width
        for group, (width, depth) in enumerate(zip(config.group_widths, config.group_depths, strict=True)):
            blocks = nn.ModuleList()
            for index in range(depth):
                blocks.append(
                    InvertedResidual(
                        num_modalities,
                        (in_width, width),
                        config.expansion if group else 1,
                        _KERNELS[group],
                        1 if index else _STRIDES[group],
                        next(drop_rates),
                        fusion_ratio,
                    )
                )
                in_width = width
            self.groups.append(blocks)

    def forward(
        self, images: Tensor, present: Tensor, kept: Tensor | None = None, sources: Tensor | None = None
    ) -> list[Tensor]:
        streams = []
        for modality, stream in enumerate(images.unbind(1)):
            stream = stream.contiguous(memory_format=torch.channels_last)
            stem = self.stem(stream, modality, None if sources is None else sources[:, modality])
            streams.append(self._masked(stem, present[:, modality], None if kept is None else kept[:, modality]))
        grids = []
        for index, group in enumerate(cast("Iterable[Iterable[InvertedResidual]]", self.groups)):
            for block in group:
                streams = block(streams, sources)
            if index in _GRID_GROUPS:
                grids.append(torch.stack([stream.permute(0, 2, 3, 1) for stream in streams]))
        return grids

    def _masked(self, stem: Tensor, present: Tensor, kept: Tensor | None) -> Tensor:
        """The mask token for what is missing: (B, C, H/2, W/2), (B,) and (B, H/4, W/4) bool."""
        visible = present[:, None, None, None]
        if kept is not None:
            fine = kept[:, None].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            visible = visible & fine[..., : stem.shape[2], : stem.shape[3]]
        return torch.where(visible, stem, self.mask_token.to(stem.dtype)[:, None, None])
