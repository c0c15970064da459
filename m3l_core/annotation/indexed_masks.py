"""One png a frame, of class ids or of the classes' colors: what any image editor, and many a tool, writes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from m3l_core.annotation.annotated import AnnotatedImage, Annotations, read_each
from m3l_core.annotation.export_files import ExportFiles
from m3l_core.annotation.mask_images import (
    UNLABELLED,
    class_colors,
    decode_mask,
    has_only_colors,
    ids_of_colors,
    mask_size,
)
from m3l_core.errors import DatasetError
from m3l_core.labels import IGNORE, LabelSet


def read_indexed_masks(files: ExportFiles, labels: LabelSet) -> Annotations | None:
    """Masks whose gray values or palette indexes are class ids, or whose colors are those of the classes.

    Returns:
        None if there is no png in the export.
    """
    names = files.ending_with(".png")
    images = read_each(names, lambda name: _image(files, name, labels))
    return Annotations("mask images", None, images) if names else None


def _image(files: ExportFiles, name: str, labels: LabelSet) -> Iterator[AnnotatedImage]:
    origin, content = files.place(name), files.read(name)
    yield AnnotatedImage(name, mask_size(content, origin), partial(_read_ids, content, labels, origin), origin)


def _read_ids(content: bytes, labels: LabelSet, origin: str) -> NDArray[np.uint8]:
    mask = decode_mask(content, origin)
    known = {color: number for number, color in enumerate(class_colors(labels))} | {UNLABELLED: IGNORE}
    if mask.values is None:
        assert mask.colors is not None
        return ids_of_colors(mask.colors, known, origin)
    by_color = None
    if mask.colors is not None and has_only_colors(mask.colors, known):
        by_color = ids_of_colors(mask.colors, known, origin)
    # A program that orders the palette anew keeps the colors and changes the indexes.
    if by_color is not None and (mask.values != by_color).any():
        raise DatasetError(
            f"{origin}: its palette has the colors of other classes than its indexes say; save it without a palette, "
            "as gray class ids or as RGB"
        )
    if (unknown := mask.values[(mask.values >= len(labels)) & (mask.values != IGNORE)]).size:
        raise DatasetError(
            f"{origin} has the class id {unknown.max()}, but there are {len(labels)} classes: expected 0 to "
            f"{len(labels) - 1}, and {IGNORE} where nothing is labelled"
        )
    return mask.values
