"""A few validation frames as a network labels them: what figures do not tell."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.datasets.folder import Sample, read_sample
from m3l_core.false_color import false_color
from m3l_core.trainer.evaluator import label_subsets
from m3l_core.trainer.trainer import Trainer

Image = NDArray[np.uint8]
"""(H, W, 3) RGB."""
TRUTH = "ground truth"
_CAPTION_HEIGHT = 22


def examples(trainer: Trainer, count: int = 4, width: int = 320) -> list[dict[str, Image]]:
    """Label validation frames, evenly spread, with every subset of the modalities by the averaged network.

    Returns:
        Of each frame: its modalities, ``ground truth`` and ``labels: SUBSET`` -> picture, at most ``width`` wide;
        without the modalities that the frame lacks, and the subsets of which it has nothing.
    """
    samples = trainer.data.validation
    places = np.unique(np.linspace(0, len(samples) - 1, count).round().astype(int))
    network = trainer.averaged_network
    was_training = network.training
    network.eval()
    pictures = [_example(trainer, samples[place], width) for place in places]
    network.train(was_training)
    return pictures


def strip(example: dict[str, Image]) -> Image:
    """All pictures of a frame side by side, under their names."""
    columns = []
    for name, picture in example.items():
        caption = np.full((_CAPTION_HEIGHT, picture.shape[1], 3), 32, np.uint8)
        cv2.putText(caption, name, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (240, 240, 240), 1, cv2.LINE_AA)
        columns.append(np.vstack([caption, picture]))
    return np.hstack(columns)


def _example(trainer: Trainer, sample: Sample, width: int) -> dict[str, Image]:
    recipe, network = trainer.recipe, trainer.averaged_network
    images, label = read_sample(sample, recipe.modalities)
    assert label is not None
    size = _shrunk((label.shape[0], label.shape[1]), width)
    pictures = {
        modality.name: _resized(false_color(modality, images[modality.name]), size, cv2.INTER_AREA)
        for modality in recipe.modalities
        if modality.name in images
    }
    pictures[TRUTH] = _resized(recipe.labels.colorize(label), size, cv2.INTER_NEAREST)
    input_size = (recipe.input_height, recipe.input_width)
    modalities, fov_deg = recipe.network_modalities, sample.horizontal_fov_deg(images)
    labelled = label_subsets(network, images, modalities, input_size, size, recipe.mixed_precision, fov_deg)
    return pictures | {f"labels: {subset}": recipe.labels.colorize(labels) for subset, labels in labelled.items()}


def _shrunk(size: tuple[int, int], width: int) -> tuple[int, int]:
    """(H, W) at most ``width`` wide."""
    return (round(size[0] * width / size[1]), width) if size[1] > width else size


def _resized(image: NDArray[Any], size: tuple[int, int], interpolation: int) -> Image:
    return cv2.resize(image, size[::-1], interpolation=interpolation).astype(np.uint8, copy=False)
