"""A picture of some frames, to see with one's own eyes what a training would be fed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.datasets.folder import Kind, Sample, kind_of, read_image
from m3l_core.errors import DatasetError
from m3l_core.false_color import false_color
from m3l_core.labels import IGNORE, LabelSet
from m3l_core.modalities import ColorModality, Modality
from m3l_core.overlay import BACKGROUND, class_legend, write

CELL = (150, 200)
"""(H, W) of one image in the sheet."""
CAPTION = 24
"""Height of a line of text."""
_Rgb = NDArray[np.uint8]


def draw_sheet(
    samples: Sequence[Sample], modalities: Sequence[Modality], labels: LabelSet | None, rows: int = 8
) -> _Rgb:
    """Frames from all over the list, one a row: every modality, then the label over the color, and the file's name.

    Above stands what each column is, below what the colors of the labels mean.

    Args:
        samples: at least one.
        modalities: what to show of each; near is red, far is blue, invalid is black.
        labels: colors of the classes; gray levels where there is none.
        rows: at most so many frames.

    Returns:
        (H, W, 3) uint8 RGB; what is missing or cannot be read is gray and says so.
    """
    chosen = [samples[number] for number in sorted({*np.linspace(0, len(samples) - 1, rows).round().astype(int)})]
    titles = np.concatenate([_caption(title) for title in (*(each.name for each in modalities), "label")], axis=1)
    legend = [] if labels is None else [class_legend(labels, titles.shape[1])]
    return np.concatenate([titles, *(_row(sample, modalities, labels) for sample in chosen), *legend])


def _row(sample: Sample, modalities: Sequence[Modality], labels: LabelSet | None) -> _Rgb:
    cells: list[_Rgb] = []
    under: _Rgb | None = None
    for modality in modalities:
        image = _read(sample.images.get(modality.name), kind_of(modality))
        cells.append(_note(f"no {modality.name}") if image is None else _fit(false_color(modality, image)))
        if under is None and image is not None and isinstance(modality, ColorModality):
            under = cells[-1]
    label = _read(sample.label, "label")
    if label is not None and sample.class_map is not None:
        label = sample.class_map.apply(label)
    cells.append(_note("no label") if label is None else _overlay(_fit(label), under, labels))
    pictures = np.concatenate(cells, axis=1)
    strip = np.full((CAPTION, pictures.shape[1], 3), BACKGROUND, np.uint8)
    file = next(iter(sample.images.values()))
    write(strip, f"{sample.recording}: {file.name}", (8, CAPTION - 8))
    return np.concatenate([pictures, strip])


def _caption(text: str) -> _Rgb:
    caption = np.full((CAPTION, CELL[1], 3), BACKGROUND, np.uint8)
    write(caption, text, (8, CAPTION - 8))
    return caption


def _read(path: Path | None, kind: Kind) -> NDArray[Any] | None:
    if path is None or not path.is_file():
        return None
    try:
        return read_image(path, kind)
    except DatasetError:
        return None


def _overlay(label: NDArray[np.uint8], under: _Rgb | None, labels: LabelSet | None) -> _Rgb:
    colors = np.repeat(label[..., None], 3, axis=-1) * np.uint8(20) if labels is None else labels.colorize(label)
    below = np.zeros_like(colors) if under is None else under
    mixed = np.where((label != IGNORE)[..., None], below * 0.4 + colors * 0.6, below)
    return mixed.astype(np.uint8)


def _fit(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scale into a cell, the rest black, or unlabelled."""
    factor = min(CELL[0] / image.shape[0], CELL[1] / image.shape[1])
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    cell = np.full((*CELL, *image.shape[2:]), IGNORE if image.ndim == 2 else 0, np.uint8)
    cell[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)
    return cell


def _note(text: str) -> _Rgb:
    cell = np.full((*CELL, 3), 90, np.uint8)
    write(cell, text, (10, CELL[0] // 2))
    return cell
