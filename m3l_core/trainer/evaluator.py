"""mIoU of a network for every subset of its modalities."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from m3l_core.datasets.folder import Sample, read_sample
from m3l_core.frames import Frame, FrameSet
from m3l_core.metrics import ConfusionMatrix, subset_key, subsets
from m3l_core.modalities import Modality
from m3l_core.model.network import LinearFusionSegFormer, winning_classes
from m3l_core.preprocessing import prepare


@torch.no_grad()
def evaluate(
    network: LinearFusionSegFormer,
    samples: Sequence[Sample],
    modalities: Sequence[Modality],
    size: tuple[int, int],
    mixed_precision: bool = False,
) -> dict[str, ConfusionMatrix]:
    """Label every sample with each subset present (missing: learnt mask token), at the size of its label.

    Returns:
        Subset, such as ``color+depth`` -> confusion matrix over all samples.
    """
    was_training = network.training
    network.eval()
    names = [modality.name for modality in modalities]
    chosen = subsets(names)
    present = torch.tensor([[name in subset for name in names] for subset in chosen])
    matrices = [ConfusionMatrix(network.config.num_classes) for _ in chosen]
    for sample in samples:
        images, label = read_sample(sample)
        frames = FrameSet(names[0], {name: Frame(name, 0, image) for name, image in images.items()})
        model_input = torch.from_numpy(prepare(frames, modalities, size).images)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed_precision):
            streams = network(model_input.expand(len(chosen), -1, -1, -1, -1), present)
        ensemble = network.ensemble(streams.float(), present)
        predicted = winning_classes(ensemble, (label.shape[0], label.shape[1])).to(torch.uint8).numpy()
        for matrix, labels in zip(matrices, predicted, strict=True):
            matrix.add(label, labels)
    network.train(was_training)
    return {subset_key(subset): matrix for subset, matrix in zip(chosen, matrices, strict=True)}
