"""Fits the temperatures of a trained network on frames that it has not learnt from."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from m3l_core.datasets.folder import Sample, read_sample
from m3l_core.labels import IGNORE
from m3l_core.metrics import subset_key, subsets
from m3l_core.modalities import Modality
from m3l_core.model.network import LinearFusionSegFormer
from m3l_core.trainer.evaluator import logits_of_subsets

_CANDIDATES = torch.logspace(-0.5, 0.7, 61)
"""0.32 to 5, in steps of 5 percent."""


@torch.no_grad()
def fit_temperatures(
    network: LinearFusionSegFormer,
    samples: Sequence[Sample],
    modalities: Sequence[Modality],
    size: tuple[int, int],
    mixed_precision: bool = False,
) -> dict[str, float]:
    """The temperature of each subset of the modalities at which the labels are most likely (arXiv 1706.04599, 4.2).

    Confidence is what engines give: that of the network's own grid, to whose places the labels are brought.

    Args:
        network: in eval mode.
        samples: labelled; those that lack a modality count for the subsets without it.
        modalities: of the network.
        size: (H, W) of its input.
        mixed_precision: run in bfloat16 where that is safe.

    Returns:
        Subset, such as ``color+depth`` -> temperature; without subsets that no sample has.
    """
    unlikelihood: dict[str, torch.Tensor] = {}
    for sample in samples:
        images, label = read_sample(sample, modalities, network.config.num_classes)
        if label is None:
            continue
        whole = {subset_key(subset) for subset in subsets([m.name for m in modalities]) if set(subset) <= images.keys()}
        fov_deg = sample.horizontal_fov_deg(images)
        found = logits_of_subsets(network, images, modalities, size, mixed_precision, fov_deg)
        for key, logits in zip(*found, strict=True):
            if key not in whole:
                continue
            small = cv2.resize(label, (logits.shape[2], logits.shape[1]), interpolation=cv2.INTER_NEAREST)
            known = torch.from_numpy(np.flatnonzero(small != IGNORE)).to(logits.device)
            truth = torch.from_numpy(small.astype(np.int64)).to(logits.device).flatten()[known]
            of_pixels = logits.flatten(1)[:, known]
            losses = [torch.nn.functional.cross_entropy((of_pixels / t).T, truth, reduction="sum") for t in _CANDIDATES]
            unlikelihood[key] = unlikelihood.get(key, torch.zeros(len(losses))) + torch.stack(losses).cpu()
    return {key: round(float(_CANDIDATES[sums.argmin()]), 3) for key, sums in unlikelihood.items()}
