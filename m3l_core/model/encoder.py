"""What every encoder is: a stream of token grids for each modality, which the streams inform in every block.

Legend: M modalities, B batch, H x W tokens, C channels; token grids are (M, B, H, W, C).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.func import functional_call

from m3l_core.model.norms import ModalityNorm


class Encoder(nn.Module, ABC):
    """(B, M, 3, H, W) images and (B, M) presence -> four token grids at 1/4, 1/8, 1/16, 1/32."""

    mask_token: nn.Parameter
    """(C,): stands for every token of a missing modality, behind the first convolution."""

    @abstractmethod
    def forward(
        self, images: Tensor, present: Tensor, kept: Tensor | None = None, sources: Tensor | None = None
    ) -> list[Tensor]:
        """The arguments are those of the network; ``sources`` (B, M) bool: the streams that others take in."""

    def of_some(self, modalities: list[int], images: Tensor, present: Tensor, kept: Tensor | None) -> list[Tensor]:
        """The grids of some of the modalities alone, whose images, presence and kept tokens these are.

        Only their norms are used; all else is shared.
        """
        norms = {name: module for name, module in self.named_modules() if isinstance(module, ModalityNorm)}
        rows = {
            f"{name}.{kind}": value[modalities]
            for name, norm in norms.items()
            for kind, value in norm.state_dict(keep_vars=True).items()
        }
        grids: list[Tensor] = functional_call(self, rows, (images, present, kept))
        if self.training:
            for name, norm in norms.items():
                for kind, statistic in norm.named_buffers():
                    statistic[modalities] = rows[f"{name}.{kind}"]
        return grids


class DropPath(nn.Module):
    """Stochastic depth: a residual branch is left out, per sample and stream (arXiv 1603.09382).

    Args:
        rate: share of the branches that are left out while training.
        dimensions: of the branch, which tell sample and stream apart; they come first.
    """

    def __init__(self, rate: float, dimensions: int = 2) -> None:
        super().__init__()
        self.rate, self.dimensions = rate, dimensions

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return branch
        shape = *branch.shape[: self.dimensions], *[1] * (branch.dim() - self.dimensions)
        keep = torch.empty(shape, dtype=branch.dtype, device=branch.device)
        return branch * keep.bernoulli_(1.0 - self.rate).div_(1.0 - self.rate)
