"""ISPRS 2D semantic labelling: orthophotos and surface models of Potsdam and of Vaihingen, cut into tiles.

    2_Ortho_RGB/top_potsdam_2_10_RGB.tif  1_DSM/dsm_potsdam_02_10.tif
    5_Labels_all/top_potsdam_2_10_label.tif  5_Labels_all_noBoundary/top_potsdam_2_10_label_noBoundary.tif

    top/top_mosaic_09cm_area1.tif  dsm/dsm_09cm_matching_area1.tif
    gts_for_participants/top_mosaic_09cm_area1.tif  FOLDER/top_mosaic_09cm_area1_noBoundary.tif

Files are known by their names, wherever they lie. Vaihingen's "color" is near infrared, red and green. The benchmark
trains on whole labels and tests on those without object boundaries, which are black there and so unlabelled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from m3l_core.errors import DatasetError
from m3l_core.labels import IGNORE, LabelSet, SemanticClass
from m3l_core.modalities import ColorModality, HeightModality
from m3l_core.published.layout import Frame, Picture, PublishedSet, read_color, read_surface, wrong_layout

LABELS = LabelSet(
    classes=(
        SemanticClass(name="impervious_surface", color=(255, 255, 255)),
        SemanticClass(name="building", color=(0, 0, 255)),
        SemanticClass(name="low_vegetation", color=(0, 255, 255)),
        SemanticClass(name="tree", color=(0, 255, 0)),
        SemanticClass(name="car", color=(255, 255, 0)),
        SemanticClass(name="clutter", color=(255, 0, 0)),
    )
)
TILE = 512


@dataclass(frozen=True, slots=True)
class City:
    """How its files are called; the groups are the numbers of an area."""

    name: str
    color: str
    height: str
    label: str
    eroded: str
    training: frozenset[str]
    """Areas whose labels the benchmark gave for training; the others are for testing."""


POTSDAM = City(
    "potsdam",
    color=r"top_potsdam_(\d+)_(\d+)_RGB\.tif",
    height=r"dsm_potsdam_(\d+)_(\d+)\.tif",
    label=r"top_potsdam_(\d+)_(\d+)_label\.tif",
    eroded=r"top_potsdam_(\d+)_(\d+)_label_noBoundary\.tif",
    training=frozenset(
        [f"{row}_{column}" for row in (2, 3, 4, 5) for column in (10, 11, 12)]
        + [f"{row}_{column}" for row in (6, 7) for column in range(7, 13)]
    ),
)
VAIHINGEN = City(
    "vaihingen",
    color=r"top/top_mosaic_09cm_area(\d+)\.tif",
    height=r"[^/]+/dsm_09cm_matching_area(\d+)\.tif",
    label=r"(?!top/)[^/]+/top_mosaic_09cm_area(\d+)\.tif",
    eroded=r"[^/]+/top_mosaic_09cm_area(\d+)_noBoundary\.tif",
    training=frozenset(str(area) for area in (1, 3, 5, 7, 11, 13, 15, 17, 21, 23, 26, 28, 30, 32, 34, 37)),
)


def read_potsdam(root: Path) -> PublishedSet:
    """Check that ``root`` holds Potsdam.

    Raises:
        DatasetError: it does not.
    """
    return _read_city(root, POTSDAM)


def read_vaihingen(root: Path) -> PublishedSet:
    """Check that ``root`` holds Vaihingen.

    Raises:
        DatasetError: it does not.
    """
    return _read_city(root, VAIHINGEN)


def _read_city(root: Path, city: City) -> PublishedSet:
    files = sorted(root.rglob("*.tif"))
    colors, heights, labels, eroded = (
        _by_area(files, pattern) for pattern in (city.color, city.height, city.label, city.eroded)
    )
    if not colors or not (labels or eroded):
        raise wrong_layout(root, f"orthophotos {_readable(city.color)} and labels {_readable(city.label)}")
    frames = []
    for area, color in colors.items():
        split = "train" if area in city.training else "test"
        first, second = (labels, eroded) if split == "train" else (eroded, labels)
        label = first.get(area) or second.get(area)
        images: dict[str, Picture] = {"color": partial(read_color, color)}
        if area in heights:
            images["height"] = partial(read_surface, heights[area])
        frames.append(Frame(f"area_{area}", f"area_{area}", (split,), images, label and partial(read_label, label)))
    return PublishedSet(city.name, LABELS, (ColorModality(), HeightModality(max_m=40.0)), tuple(frames), TILE)


def _by_area(files: list[Path], pattern: str) -> Mapping[str, Path]:
    found: dict[str, Path] = {}
    for file in files:
        if match := re.fullmatch(pattern, "/".join(file.parts[-2:]) if "/" in pattern else file.name):
            found.setdefault("_".join(str(int(number)) for number in match.groups()), file)
    return found


def _readable(pattern: str) -> str:
    return pattern.replace("(?!top/)", "").replace("[^/]+/", "").replace(r"(\d+)", "N").replace("\\", "")


def read_label(path: Path) -> NDArray[np.uint8]:
    """(H, W) uint8 class ids of a colored label picture.

    A channel counts as full from its middle on: one label picture of Potsdam was compressed with loss, and another
    has most of its cars in (252, 255, 0).

    Raises:
        DatasetError: the file is no picture, or has magenta, which stands for nothing.
    """
    red, green, blue = np.moveaxis(read_color(path) >= 128, -1, 0)
    table = np.full(8, IGNORE, np.uint8)
    for number, entry in enumerate(LABELS.classes):
        full = [channel >= 128 for channel in entry.color]
        table[full[0] << 2 | full[1] << 1 | full[2]] = number
    corner = red << np.uint8(2) | green << np.uint8(1) | blue
    if (magenta := int((corner == 0b101).sum())) > 0.01 * corner.size:
        raise DatasetError(f"{path}: {magenta} pixels are magenta, which stands for no class: is this a label picture?")
    label: NDArray[np.uint8] = table[corner]
    return label
