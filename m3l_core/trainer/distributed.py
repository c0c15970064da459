"""One training on several processes (torchrun): who takes which samples, and sums over all of them.

Without torchrun there is one rank, and nothing here communicates.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed, nn

from m3l_core.errors import CheckpointError, M3LError, RecipeError
from m3l_core.model.norms import ModalityBatchNorm
from m3l_core.trainer.losses import PixelSum

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ranks:
    """The processes of a training, and which of them this is."""

    rank: int = 0
    count: int = 1

    @classmethod
    def join(cls) -> Ranks:
        """Join the process group that torchrun's environment describes, if there is one.

        Raises:
            M3LError: this process has no GPU for itself.
        """
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count > 1 and (gpus := torch.cuda.device_count()):
            local = int(os.environ.get("LOCAL_RANK", "0"))
            if local >= gpus:
                raise M3LError(
                    f"process {local + 1} of this machine has no GPU: start at most {gpus} (--nproc-per-node)"
                )
            torch.cuda.set_device(local)
        if count > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        return cls(distributed.get_rank(), count) if count > 1 else cls()

    @staticmethod
    def leave() -> None:
        """Leave the process group, if there is one."""
        if distributed.is_initialized():
            distributed.destroy_process_group()

    def share(self, samples: Sequence[T]) -> Sequence[T]:
        """This rank's part of a batch, in its order.

        Raises:
            RecipeError: the batch cannot be divided evenly.
        """
        if len(samples) % self.count:
            raise RecipeError(f"a batch of {len(samples)} cannot be shared evenly by {self.count} processes")
        part = len(samples) // self.count
        return samples[self.rank * part : (self.rank + 1) * part]

    @property
    def device(self) -> torch.device:
        """The device of this rank: its GPU, or the CPU."""
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))

    def largest(self, number: int) -> int:
        """Of the ranks' numbers."""
        if self.count == 1:
            return number
        largest = torch.tensor(number, device=self.device)
        distributed.all_reduce(largest, distributed.ReduceOp.MAX)
        return int(largest)

    def check_start(self, iteration: int) -> None:
        """See that all ranks go on from the same iteration.

        Raises:
            CheckpointError: they do not.
        """
        last, first = self.largest(iteration), -self.largest(-iteration)
        if first != last:
            raise CheckpointError(
                f"one process goes on from iteration {first}, another from {last}: machines need one output folder "
                "that all of them see, or a copy of its checkpoint on each"
            )

    def sum(self, values: Tensor) -> Tensor:
        """Add up the ranks' values, without a gradient."""
        total = values.detach().clone()
        if self.count > 1:
            distributed.all_reduce(total)
        return total

    def mean(self, pixels: PixelSum) -> Tensor:
        """The loss of this rank whose average over the ranks is the mean over the pixels of all of them.

        DistributedDataParallel averages the gradients, whatever the number of pixels behind each.
        """
        return pixels.total * self.count / self.sum(pixels.number).clamp(min=1.0)


class _SumOverRanks(torch.autograd.Function):
    """Every rank's loss depends on the values of all, so that gradients are added up as well."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _SumOverRanks.forward(ctx, gradient)


def _sum_over_ranks(values: Tensor) -> Tensor:
    total: Tensor = _SumOverRanks.apply(values)  # type: ignore[no-untyped-call]
    return total


class SynchronizedBatchNorm(nn.BatchNorm2d):
    """Batch statistics over all ranks, on any device (torch.nn.SyncBatchNorm needs GPUs)."""

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            evaluated: Tensor = super().forward(images)
            return evaluated
        cast("Tensor", self.num_batches_tracked).add_(1)
        statistics = cast("Tensor", self.running_mean), cast("Tensor", self.running_var)
        return _normalized(images, self.weight, self.bias, statistics, cast("float", self.momentum), self.eps)


class SynchronizedModalityBatchNorm(ModalityBatchNorm):
    """The same with a copy for each modality; a rank without a sample of it takes part with none."""

    def forward(self, images: Tensor, modality: int, counted: Tensor | None = None) -> Tensor:
        if not self.training:
            return super().forward(images, modality, counted)
        normalized = torch.zeros_like(images)
        samples = slice(None) if counted is None else counted
        statistics = self.running_mean[modality], self.running_var[modality]
        weight, bias = self.weight[modality], self.bias[modality]
        normalized[samples] = _normalized(images[samples], weight, bias, statistics, self.momentum, self.eps)
        return normalized


def _normalized(
    images: Tensor, weight: Tensor, bias: Tensor, statistics: tuple[Tensor, Tensor], momentum: float, eps: float
) -> Tensor:
    """Batch norm of this rank's (B, C, H, W) by the mean and variance of all ranks', which ``statistics`` follow."""
    pixels = images.float()
    # Without the streams that are missing, ranks have batches of different size.
    count = _sum_over_ranks(pixels.new_tensor(images.numel() / images.shape[1]))
    if not count:  # no rank has this modality
        return images
    mean = _sum_over_ranks(pixels.sum((0, 2, 3))) / count
    variance = _sum_over_ranks((pixels - mean[:, None, None]).square().sum((0, 2, 3))) / count
    with torch.no_grad():
        running_mean, running_var = statistics
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(variance * count / (count - 1), momentum)
    scale = weight * torch.rsqrt(variance + eps)
    shift = bias - mean * scale
    return (images * scale[:, None, None] + shift[:, None, None]).to(images.dtype)


def synchronize_norms(module: nn.Module) -> None:
    """Make every batch norm below ``module`` take its statistics over all ranks."""
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            child.__class__ = SynchronizedBatchNorm
        elif isinstance(child, ModalityBatchNorm):
            child.__class__ = SynchronizedModalityBatchNorm
