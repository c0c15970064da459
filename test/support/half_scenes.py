"""Frames of which every figure is known by hand, and an engine that labels them without a network.

The left half is class 0, the right half class 1. Color is black and white accordingly. Depth is near and far
accordingly, but near in the whole lower half.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from support.rooms import write_images

from m3l_core.bundle import BundleDescription
from m3l_core.datasets.folder import Sample
from m3l_core.frames import ModelInput, Segmentation
from m3l_core.labels import LabelSet, SemanticClass
from m3l_core.modalities import ColorModality, DepthModality, Modality
from m3l_core.network_config import NetworkConfig

COLOR_AND_DEPTH = (ColorModality(), DepthModality())
IOU = {"color+depth": (1.0, 1.0), "color": (1.0, 1.0), "depth": (2 / 3, 1 / 2)}
"""Subset -> IoU of the two classes that occur, where nothing of a missing modality is seen."""
CONFIDENCE = 204


def describe(modalities: Sequence[Modality] = COLOR_AND_DEPTH) -> BundleDescription:
    """Three classes, of which the last never occurs."""
    classes = [
        SemanticClass(name=name, color=color)
        for name, color in (("left", (200, 30, 30)), ("right", (30, 200, 30)), ("nowhere", (30, 30, 200)))
    ]
    return BundleDescription(
        name="halves",
        network=NetworkConfig(encoder="mit_b0", num_modalities=len(modalities), num_classes=len(classes)),
        labels=LabelSet(classes=tuple(classes)),
        modalities=tuple(modalities),
        input_height=64,
        input_width=96,
    )


class SumEngine:
    """Class 1 where the first channels that are there sum to more than 0, with color twice as loud as depth."""

    name = "sum"
    precision = "fp32"

    def __init__(self) -> None:
        self.inputs: list[ModelInput] = []

    def infer(self, model_input: ModelInput, size: tuple[int, int]) -> Segmentation:
        self.inputs.append(model_input)
        loudness = model_input.present[0] / 2.0 ** np.arange(model_input.present.size)
        total = np.tensordot(loudness, model_input.images[0, :, 0], 1)
        rows, columns = (np.arange(wanted) * had // wanted for wanted, had in zip(size, total.shape, strict=True))
        labels = (total[np.ix_(rows, columns)] > 0).astype(np.uint8)
        return Segmentation(labels, np.full(size, CONFIDENCE, np.uint8))


def write_frames(
    folder: Path, count: int, size: tuple[int, int] = (64, 96), modalities: Sequence[str] = ("color", "depth")
) -> list[Sample]:
    """Frames of (H, W) = ``size``, even numbers; every modality that is not color shows the depth."""
    height, width = size
    label = np.zeros(size, np.uint8)
    label[:, width // 2 :] = 1
    color = np.repeat(label[..., None] * 255, 3, axis=2).astype(np.uint8)
    depth = np.where(label == 1, 7900, 500).astype(np.uint16)
    depth[height // 2 :] = 500
    samples = []
    for number in range(count):
        entry = write_images(folder, f"{number}", color, depth, label)
        images = {name: folder / entry["color" if name == "color" else "depth"] for name in modalities}
        samples.append(Sample(images, folder / entry["label"], "halves"))
    return samples
