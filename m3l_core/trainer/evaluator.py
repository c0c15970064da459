"""What a network makes of every subset of its modalities: labels, and their mIoU."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from m3l_core.datasets.folder import Sample, classes_of, read_sample
from m3l_core.frames import Frame, FrameSet
from m3l_core.metrics import ConfusionMatrix, subset_key, subsets
from m3l_core.modalities import Modality
from m3l_core.model.network import LinearFusionSegFormer, winning_classes
from m3l_core.preprocessing import prepare
from m3l_core.trainer.distributed import Ranks


@torch.no_grad()
def label_subsets(
    network: LinearFusionSegFormer,
    images: Mapping[str, NDArray[Any]],
    modalities: Sequence[Modality],
    input_size: tuple[int, int],
    size: tuple[int, int],
    mixed_precision: bool = False,
    horizontal_fov_deg: float | None = None,
) -> dict[str, NDArray[np.uint8]]:
    """Label one frame with each subset of its modalities present; missing: learnt mask token.

    Args:
        network: in eval mode.
        images: as sensors deliver them, by modality; those that the frame lacks are left out.
        modalities: of the network.
        input_size: (H, W) of the network's input.
        size: (H, W) of the labels.
        mixed_precision: run in bfloat16 where that is safe.
        horizontal_fov_deg: of the frame's camera, if it is known.

    Returns:
        Subset, such as ``color+depth`` -> (H, W) uint8; without the subsets of which the frame has nothing.
    """
    keys, logits = logits_of_subsets(network, images, modalities, input_size, mixed_precision, horizontal_fov_deg)
    if not keys:
        return {}
    labels = winning_classes(logits, size).to(torch.uint8).cpu().numpy()
    return dict(zip(keys, labels, strict=True))


@torch.no_grad()
def logits_of_subsets(
    network: LinearFusionSegFormer,
    images: Mapping[str, NDArray[Any]],
    modalities: Sequence[Modality],
    input_size: tuple[int, int],
    mixed_precision: bool = False,
    horizontal_fov_deg: float | None = None,
) -> tuple[list[str], torch.Tensor]:
    """What ``label_subsets`` reads the labels from: the subsets S of which the frame has something, and their logits.

    Returns:
        Subsets, such as ``color+depth``, and (S, K, h, w) float32.
    """
    names = [modality.name for modality in modalities]
    chosen = subsets(names)
    frames = FrameSet(names[0], {name: Frame(name, 0, image) for name, image in images.items()})
    prepared = prepare(frames, modalities, input_size, horizontal_fov_deg=horizontal_fov_deg)
    present = torch.tensor([[name in subset for name in names] for subset in chosen])
    present &= torch.from_numpy(prepared.present)
    usable = present.any(dim=1).nonzero().flatten().tolist()
    if not usable:
        return [], torch.empty(0)
    device = network.alpha.device
    present = present[usable].to(device)
    batch = torch.from_numpy(prepared.images).to(device).expand(len(usable), -1, -1, -1, -1)
    with torch.autocast(device.type, torch.bfloat16, enabled=mixed_precision):
        streams = network(batch, present)
    return [subset_key(chosen[index]) for index in usable], network.ensemble(streams.float(), present)


def evaluate(
    network: LinearFusionSegFormer,
    samples: Sequence[Sample],
    modalities: Sequence[Modality],
    size: tuple[int, int],
    mixed_precision: bool = False,
    ranks: Ranks | None = None,
) -> dict[str, ConfusionMatrix]:
    """Label every sample with each subset present, at the size of its label.

    The ranks take turns with the samples and sum their counts, so the figures are those of one process. Classes that
    the samples' sets do not have are not measured.

    Returns:
        Subset, such as ``color+depth`` -> confusion matrix over all samples.
    """
    ranks = ranks or Ranks()
    was_training = network.training
    network.eval()
    keys = [subset_key(subset) for subset in subsets([modality.name for modality in modalities])]
    measured = classes_of(samples)
    matrices = {key: ConfusionMatrix(network.config.num_classes, measured) for key in keys}
    for sample in samples[ranks.rank :: ranks.count]:
        images, label = read_sample(sample, modalities, network.config.num_classes)
        assert label is not None
        label_size = (label.shape[0], label.shape[1])
        fov_deg = sample.horizontal_fov_deg(images)
        labelled = label_subsets(network, images, modalities, size, label_size, mixed_precision, fov_deg)
        for key, labels in labelled.items():
            matrices[key].add(label, labels)
    network.train(was_training)
    for matrix in matrices.values():
        matrix.counts = ranks.sum(torch.from_numpy(matrix.counts).to(network.alpha.device)).cpu().numpy()
    return matrices


def evaluate_sets(
    network: LinearFusionSegFormer,
    samples: Sequence[Sample],
    modalities: Sequence[Modality],
    size: tuple[int, int],
    mixed_precision: bool = False,
    ranks: Ranks | None = None,
) -> dict[str, Any]:
    """Evaluate each data set by itself.

    Returns:
        ``miou`` by subset, the mean over the sets; ``iou`` by subset and class, the mean over the sets that have the
        class, None where there is none; where there are several sets, ``sets`` with the same of each.
    """
    of_sets: dict[str, list[Sample]] = {}
    for sample in samples:
        of_sets.setdefault(sample.data_set, []).append(sample)
    matrices = [evaluate(network, each, modalities, size, mixed_precision, ranks) for each in of_sets.values()]
    figures = [_figures([each]) for each in matrices]
    whole = _figures(matrices)
    return whole | {"sets": dict(zip(of_sets, figures, strict=True))} if len(of_sets) > 1 else whole


def _figures(of_sets: Sequence[Mapping[str, ConfusionMatrix]]) -> dict[str, Any]:
    """Means over the sets that have something of a subset, or of a class."""
    miou = {key: _mean(of_set[key].mean_iou() for of_set in of_sets) for key in of_sets[0]}
    iou = {key: map(_mean, np.transpose([of_set[key].iou() for of_set in of_sets])) for key in of_sets[0]}
    return {
        "miou": {key: round(value, 4) for key, value in miou.items()},
        "iou": {key: rounded_shares(values) for key, values in iou.items()},
    }


def _mean(values: Iterable[float]) -> float:
    """Of those that are there; NaN if there are none."""
    known = [float(value) for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def rounded_shares(values: Iterable[float]) -> list[float | None]:
    """For people, with None where JSON has no NaN."""
    return [round(value, 4) if math.isfinite(value) else None for value in values]
