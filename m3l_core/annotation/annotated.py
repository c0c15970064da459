"""What labelling tools give back, whatever their format: images of class ids under the names the tools know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from m3l_core.errors import DatasetError
from m3l_core.labels import IGNORE, LabelSet
from m3l_core.pictures import MOST_PIXELS

Region = tuple[str, NDArray[np.bool_]]
"""Name of a class, (H, W) where it was drawn."""
Drawing = Callable[[], NDArray[np.uint8]]
"""Gives (H, W) class ids, 255 where nothing was drawn, or raises a DatasetError with a line for each mistake."""
State = Literal["labelled", "draft", "empty", "skipped"]
"""Of a frame: something was submitted; it was only saved; nothing was drawn; the annotator passed it over."""
_Item = TypeVar("_Item")
_MOST_LISTED = 100


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """One frame as an annotator left it; nothing is drawn until it is asked for."""

    name: str
    """What the tool calls the image: a file name, with folders or without."""
    size: tuple[int, int]
    """(H, W) that the export says it has."""
    draw: Drawing
    origin: str
    """Where it was read, for messages."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one annotator made of one frame."""

    name: str
    """What the tool calls the image."""
    state: State
    annotator: str = ""
    date: str = ""
    """As the tool writes it."""


@dataclass(frozen=True, slots=True)
class Annotations:
    """What one export holds; the images are read as they are asked for."""

    format: str
    classes: tuple[str, ...] | None
    """What the annotators could choose from; None where the format does not tell."""
    images: Iterator[AnnotatedImage | DatasetError]
    """In the place of an image that cannot be read stands why."""
    work: tuple[Work | DatasetError, ...] | None = None
    """Who did what, or why that cannot be told; None where the format does not tell."""


def listed(problems: Sequence[str]) -> str:
    """In one list, a line each."""
    lines = [*problems[:_MOST_LISTED]]
    if len(problems) > _MOST_LISTED:
        lines.append(f"and {len(problems) - _MOST_LISTED} more")
    return "".join(f"\n  {line}" for line in lines)


def read_each(
    items: Iterable[_Item], read: Callable[[_Item], Iterable[AnnotatedImage]]
) -> Iterator[AnnotatedImage | DatasetError]:
    """The images of every item; one that cannot be read does not keep the others back."""
    for item in items:
        try:
            yield from read(item)
        except DatasetError as error:
            yield error


def paint(
    size: tuple[int, int], regions: Iterable[Callable[[], Region]], labels: LabelSet, origin: str
) -> NDArray[np.uint8]:
    """(H, W) class ids of regions that were drawn one over the other, 255 where there is none.

    Raises:
        DatasetError: no image has that size; or, with a line for each region, it cannot be drawn or is of a class that
            is not among ``labels``.
    """
    if size[0] * size[1] > MOST_PIXELS:
        raise DatasetError(
            f"{origin} is said to have {size[1]}x{size[0]} pixels, more than any image here: export it again"
        )
    ids = np.full(size, IGNORE, np.uint8)
    problems: dict[str, None] = {}
    for draw in regions:
        try:
            name, inside = draw()
            ids[inside] = class_id(labels, name, origin)
        except DatasetError as error:
            problems[str(error)] = None
    if problems:
        raise DatasetError("\n".join(problems))
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
