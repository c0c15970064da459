"""Data Fusion Contest 2023, track 2: color, SAR and height of cities, with the outlines of their buildings.

    track2/buildings_only_train.json
    track2/train/{rgb,sar,dsm}/SV_Brasilia_-15.8402_-47.8872.tif
    track2/val/{rgb,sar}/P_0199.tif  track2/test/{rgb,sar}/P_0663.tif

Outlines are COCO annotations, polygons or run lengths. The contest published no labels of its validation and test
images, so the labelled ones are split once more, by city, into train_cities and val_cities.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3l_core.datasets.coco_masks import draw_segmentation
from m3l_core.errors import DatasetError
from m3l_core.json_files import read_json
from m3l_core.labels import LabelSet, SemanticClass
from m3l_core.modalities import ColorModality, HeightModality
from m3l_core.pictures import MOST_PIXELS
from m3l_core.published.layout import Frame, Picture, PublishedSet, read_color, read_surface, wrong_layout

LABELS = LabelSet(
    classes=(
        SemanticClass(name="background", color=(60, 60, 60)),
        SemanticClass(name="building", color=(230, 120, 40)),
    )
)
BUILDING = 1
MODALITIES = (
    ColorModality(),
    ColorModality(name="sar", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), photometric=False),
    HeightModality(max_m=100.0),
)
SPLITS = ("train", "val", "test")
# The archives say dsm, the contest's description height.
HEIGHT_FOLDERS = ("dsm", "height")
EXPECTED = "train/{rgb,sar,dsm}/*.tif and buildings_only_train.json of DFC2023's track 2"


def read_layout(root: Path) -> PublishedSet:
    """Check that ``root``, or its folder track2, holds track 2.

    Raises:
        DatasetError: it does not, or the annotations are damaged.
    """
    track = root / "track2" if (root / "track2").is_dir() else root
    annotations = {split: _annotations(track, split) for split in SPLITS}
    colors = {split: sorted((track / split / "rgb").glob("*.tif")) for split in SPLITS}
    if not colors["train"] or annotations["train"] is None:
        raise wrong_layout(track, EXPECTED)
    cities = sorted({_city(color) for color in colors["train"]})
    held_out = set(cities[4::5] or cities[1:][-1:])
    frames = []
    for split in SPLITS:
        outlines = annotations[split]
        for color in colors[split]:
            city = _city(color)
            splits = (split,) if split != "train" else (split, "val_cities" if city in held_out else "train_cities")
            images: dict[str, Picture] = {"color": partial(read_color, color)}
            if (sar := track / split / "sar" / color.name).is_file():
                images["sar"] = partial(read_color, sar)
            for folder in HEIGHT_FOLDERS:
                if (height := track / split / folder / color.name).is_file():
                    images["height"] = partial(read_surface, height)
            label = None
            if outlines is not None and color.name in outlines:
                label = partial(draw_label, *outlines[color.name])
            frames.append(Frame(f"{split}/{color.stem}", city, splits, images, label))
    return PublishedSet("dfc2023", LABELS, MODALITIES, tuple(frames))


def _city(color: Path) -> str:
    """Brasilia of SV_Brasilia_-15.84_-47.88.tif, taken by either satellite; P_0199.tif stands alone."""
    parts = color.stem.split("_")
    return parts[1] if len(parts) == 4 else color.stem


def _annotations(track: Path, split: str) -> dict[str, tuple[tuple[int, int], list[Any]]] | None:
    """File name -> (H, W) and the segmentations of its buildings."""
    name = f"buildings_only_{split}.json"
    path = next((path for path in (track / name, track / "annotations" / name) if path.is_file()), None)
    if path is None:
        return None
    try:
        content = read_json(path)
        outlines: dict[int, tuple[tuple[int, int], list[Any]]] = {
            image["id"]: (_size(image), []) for image in content["images"]
        }
        for annotation in content["annotations"]:
            outlines[annotation["image_id"]][1].append(annotation["segmentation"])
        return {image["file_name"]: outlines[image["id"]] for image in content["images"]}
    except (OSError, ValueError, TypeError, LookupError, OverflowError) as error:
        raise DatasetError(f"{path} cannot be read as COCO annotations: {error!r}") from error


def _size(image: Any) -> tuple[int, int]:
    height, width = int(image["height"]), int(image["width"])
    if min(height, width) < 1 or height * width > MOST_PIXELS:
        raise ValueError(f"an image has {height} x {width} pixels, expected 1 to {MOST_PIXELS}")
    return height, width


def draw_label(size: tuple[int, int], segmentations: Sequence[Any]) -> NDArray[np.uint8]:
    """(H, W) uint8, 1 where one of the buildings stands.

    Raises:
        DatasetError: a segmentation is neither polygons nor run lengths.
    """
    label = np.zeros(size, np.uint8)
    for segmentation in segmentations:
        label[draw_segmentation(size, segmentation)] = BUILDING
    return label
