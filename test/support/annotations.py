"""Classes, masks and exports to label and to read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from m3l_core.annotation.annotated import AnnotatedImage
from m3l_core.annotation.reading import read_export
from m3l_core.errors import DatasetError
from m3l_core.labels import IGNORE, LabelSet, SemanticClass

Mask = NDArray[np.uint8]

LABELS = LabelSet(
    classes=tuple(
        SemanticClass(name=name, color=color)
        # One is black, as what is unlabelled, and two have the same color.
        for name, color in (("floor", (0, 0, 0)), ("wall", (9, 8, 7)), ("arm chair", (9, 8, 7)), ("lamp", (128, 0, 0)))
    )
)
MASKS = arrays.arrays(
    np.uint8,
    arrays.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.sampled_from([*range(len(LABELS)), IGNORE]),
)
"""(H, W) class ids of LABELS, and pixels without one."""


def read_all(path: Path, labels: LabelSet = LABELS) -> dict[str, Mask]:
    """What is in an export, by the names of the images without their suffix."""
    with read_export(path, labels) as annotations:
        images = list(annotations.images)
    for image in images:
        if isinstance(image, DatasetError):
            raise image
    drawn = [(image.name, image.size, image.draw()) for image in images if isinstance(image, AnnotatedImage)]
    assert all(ids.shape == size for _, size, ids in drawn)
    found = {name.rpartition(".")[0] or name: ids for name, _, ids in drawn}
    assert len(found) == len(images)
    return found


def polygon_pixels(corners: Sequence[tuple[float, float]], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W): the centres of which pixels lie inside, each found by the corners' edges to its left."""
    inside = np.zeros(size, np.bool_)
    for row, column in np.ndindex(size):
        x, y = column + 0.5, row + 0.5
        crossed = [
            (x1, y1, x2, y2)
            for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True)
            if (y1 > y) != (y2 > y)
        ]
        inside[row, column] = sum(x1 + (y - y1) * (x2 - x1) / (y2 - y1) <= x for x1, y1, x2, y2 in crossed) % 2
    return inside


def write_files(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def write_zip(path: Path, files: Mapping[str, bytes | str]) -> Path:
    with ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def unzip(path: Path) -> dict[str, bytes]:
    with ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
