"""What labelling tools give back, whatever their format: images of class ids under the names the tools know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m3l_core.errors import DatasetError
from m3l_core.labels import IGNORE, LabelSet

_MOST_PIXELS = 1 << 28
"""Of an image: what an export says of its size is checked against the image only once it is drawn."""
Region = tuple[str, NDArray[np.bool_]]
"""Name of a class, (H, W) where it was drawn."""


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """One frame as an annotator left it."""

    name: str
    """What the tool calls the image: a file name, with folders or without."""
    ids: NDArray[np.uint8]
    """(H, W) class ids, 255 where nothing was drawn."""
    origin: str
    """Where it was read, for messages."""


@dataclass(frozen=True, slots=True)
class Annotations:
    """What one export holds; the images are read as they are asked for."""

    format: str
    classes: tuple[str, ...] | None
    """What the annotators could choose from; None where the format does not tell."""
    images: Iterator[AnnotatedImage]


def paint(size: tuple[int, int], regions: Iterable[Region], labels: LabelSet, origin: str) -> NDArray[np.uint8]:
    """(H, W) class ids of regions that were drawn one over the other, 255 where there is none.

    Raises:
        DatasetError: a region is of a class that is not among ``labels``, or no image has that size.
    """
    if size[0] * size[1] > _MOST_PIXELS:
        raise DatasetError(
            f"{origin} is said to have {size[1]}x{size[0]} pixels, more than any image here: export it again"
        )
    ids = np.full(size, IGNORE, np.uint8)
    for name, inside in regions:
        ids[inside] = class_id(labels, name, origin)
    return ids


def class_id(labels: LabelSet, name: str, origin: str) -> int:
    """Id of a class.

    Raises:
        DatasetError: there is no such class.
    """
    if name not in labels.names:
        raise DatasetError(
            f"{origin} uses the class '{name}', expected one of {', '.join(labels.names)}: rename it in the labelling "
            "tool and export again, or give the classes that were labelled"
        )
    return labels.names.index(name)
