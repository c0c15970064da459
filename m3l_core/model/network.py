"""Linear Fusion SegFormer (M3L, arXiv 2304.10756): a stream per modality, any of which may be missing.

Legend: B batch, M modalities, K classes, H x W input pixels, h x w = H/4 x W/4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from m3l_core.model.decoder import AllMLPHead
from m3l_core.model.efficientnet import EfficientNet
from m3l_core.model.encoder import Encoder
from m3l_core.model.mix_transformer import MixTransformer
from m3l_core.model.norms import ModalityNorm
from m3l_core.model.upsampling import bilinear
from m3l_core.network_config import EfficientNetConfig, MixTransformerConfig, NetworkConfig

_ENCODERS: dict[type, Callable[..., Encoder]] = {MixTransformerConfig: MixTransformer, EfficientNetConfig: EfficientNet}


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
        self.encoder = _ENCODERS[type(encoder)](encoder, config.num_modalities, config.fusion_ratio, drop_path)
        self.joins = config.head == "joint"
        streams = config.num_modalities if self.joins else 1
        widths = [streams * width for width in encoder.grid_widths]
        self.head = AllMLPHead(widths, config.head_width, config.num_classes, dropout)
        self.alpha = nn.Parameter(torch.full((config.num_modalities,), 0.5))
        self.apply(_initialize)
        nn.init.trunc_normal_(self.encoder.mask_token, std=0.02)

    def forward(self, images: Tensor, present: Tensor, kept: Tensor | None = None) -> Tensor:
        """Logits of each stream.

        Args:
            images: (B, M, 3, H, W), normalised; H and W at least 32. What stands where ``present`` is False
                does not matter as long as it is finite.
            present: (B, M) bool, at least one of each sample.
            kept: (B, M, h, w) bool. Where False, the mask token stands for that part of a present modality as well:
                a sensor that fails in part.

        Returns:
            (M, B, K, h, w), where h and w are a quarter of H and W, rounded up. A missing modality's logits are those
            of a stream of mask tokens, which the others inform; with ``no_stream`` they are zeros that no gradient
            passes, to be left out of a loss. With a joint head (1, B, K, h, w): those of all streams.
        """
        if self.config.missing == "mask_token":
            return self.decode(self.encoder(images, present, kept))
        shared = self._modalities_of_all(present)
        if shared is None:
            return self._head_of_present(self.encoder(images, present, kept, sources=present), present)
        kept = None if kept is None else kept[:, shared]
        of_shared = self.head(self.encoder.of_some(shared, images[:, shared], present[:, shared], kept))
        streams: Tensor = of_shared.new_zeros(images.shape[1], *of_shared.shape[1:])
        streams[shared] = of_shared
        return streams

    def decode(self, grids: list[Tensor]) -> Tensor:
        """Logits of each stream, or with a joint head of all: four grids (M, B, H_s, W_s, C_s) -> as ``forward``."""
        if self.joins:
            grids = [torch.cat([*grid], dim=-1)[None] for grid in grids]
        logits: Tensor = self.head(grids)
        return logits

    def _modalities_of_all(self, present: Tensor) -> list[int] | None:
        """The modalities that every sample has, if no sample has another one: the only ones that need computing."""
        # A compiled or exported network takes any presence.
        if torch.compiler.is_compiling() or not bool((present == present[0]).all()):
            return None
        return [index for index, is_present in enumerate(present[0].tolist()) if is_present]

    def _head_of_present(self, grids: list[Tensor], present: Tensor) -> Tensor:
        counted = present.T
        if not self.training:
            return torch.where(counted[..., None, None, None], self.head(grids), 0.0)
        # The head's batch norm must not see the missing streams.
        of_present = self.head([grid[counted][None] for grid in grids])[0]
        streams: Tensor = of_present.new_zeros(*counted.shape, *of_present.shape[1:])
        streams[counted] = of_present
        return streams

    def state_of(self, modalities: list[int]) -> dict[str, Tensor]:
        """The state of a network for some of the modalities alone: their norms and shares, all else as it is."""
        per_modality = {
            f"{name}.{kind}"
            for name, module in self.named_modules()
            if isinstance(module, ModalityNorm)
            for kind in module.state_dict()
        }
        state = {
            name: value[modalities] if name in per_modality or name == "alpha" else value
            for name, value in self.state_dict().items()
        }
        if self.joins:
            for name in self._stage_weights():
                of_each = state[name].unflatten(1, (self.config.num_modalities, -1))
                # As much reaches the fusion as from all.
                state[name] = of_each[:, modalities].flatten(1) * (self.config.num_modalities / len(modalities))
        return state

    def with_joint_head(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state of a network whose head runs on each stream, for this one's: it reads the mean of the streams."""
        number = self.config.num_modalities
        means = {name: torch.cat([state[name] / number] * number, dim=1) for name in self._stage_weights()}
        return {**state, **means}

    def _stage_weights(self) -> list[str]:
        return [f"head.stage_linears.{stage}.weight" for stage in range(len(self.head.stage_linears))]

    def ensemble(self, streams: Tensor, present: Tensor) -> Tensor:
        """Mean of the streams by softmax(alpha), a missing one counted by ``missing_stream_weight``.

        Args:
            streams: (M, B, K, h, w).
            present: (B, M) bool.

        Returns:
            (B, K, h, w); what a joint head gives is that already.
        """
        if self.joins:
            return streams[0]
        availability = torch.where(present, 1.0, self.config.missing_stream_weight)
        weights = torch.softmax(self.alpha.float(), dim=0) * availability
        weights = (weights / weights.sum(dim=1, keepdim=True)).to(streams.dtype)
        return (streams * weights.T[:, :, None, None, None]).sum(dim=0)


def upsample(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, K, h, w) -> (B, K, *size), bilinear with aligned corners as published."""
    return bilinear(logits, size, align_corners=True)


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
