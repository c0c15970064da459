"""Training samples as a function of (seed, position): the order and every view survive a restart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from m3l_core.datasets.augmentation import jitter, random_view
from m3l_core.datasets.folder import Sample, read_sample
from m3l_core.preprocessing import normalize
from m3l_core.trainer.recipe import Phase, Recipe

Batch = tuple[Tensor, Tensor, Tensor]
"""images (B, M, 3, H, W) float32, present (B, M) bool, label (B, H, W) int64."""


class TrainingSamples(Dataset[Batch]):
    """An endless shuffled stream of augmented samples, addressed by position."""

    def __init__(self, samples: Sequence[Sample], recipe: Recipe, phase: Phase) -> None:
        self.samples = samples
        self.recipe = recipe
        self.phase = phase
        self.modalities = {modality.name: modality for modality in recipe.modalities}

    def __getitem__(self, position: int) -> Batch:
        recipe = self.recipe
        epoch, place = divmod(position, len(self.samples))
        order = np.random.default_rng([recipe.seed, 0, epoch]).permutation(len(self.samples))
        random = np.random.default_rng([recipe.seed, 1, position])
        images, label = read_sample(self.samples[order[place]])
        change = recipe.augmentation
        images, label = random_view(
            images, label, self.modalities, self.phase.crop, self.phase.scale, change.flip, random
        )
        stacked = [
            normalize(modality, jitter(modality, images[name], change.color_jitter, change.depth_jitter, random))
            for name, modality in self.modalities.items()
        ]
        present = np.ones(len(stacked), np.bool_)
        if len(stacked) > 1 and random.random() < recipe.modality_dropout:
            present[random.integers(len(stacked))] = False
        return torch.from_numpy(np.stack(stacked)), torch.from_numpy(present), torch.from_numpy(label).long()


def training_batches(samples: Sequence[Sample], recipe: Recipe, start: int, workers: int) -> Iterator[Batch]:
    """Batches of iteration ``start`` and after, phase by phase."""
    position = 0
    for phase in recipe.phases:
        skipped = min(start, phase.iterations)
        start -= skipped
        positions = range(position + skipped * phase.batch, position + phase.iterations * phase.batch)
        position += phase.iterations * phase.batch
        if positions:
            dataset = TrainingSamples(samples, recipe, phase)
            # A generator of its own: else every start of a loader draws from the one that drives the training.
            yield from DataLoader(
                dataset, phase.batch, sampler=positions, num_workers=workers, generator=torch.Generator()
            )
