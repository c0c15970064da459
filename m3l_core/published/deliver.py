"""DeLiVER: color, depth, event and lidar pictures of driving in CARLA (Zhang et al., arXiv 2303.01480).

    img/night/train/MAP_1_point2_lidarjitter/045050_rgb_front.png
    hha/night/train/MAP_1_point2_lidarjitter/045050_depth_front.png
    event/...event_front.png  lidar/...lidar_front.png  semantic/...semantic_front.png

Depth is taken from ``hha``, as the published results do: three 8-bit channels (horizontal disparity, height above
ground, angle with gravity), so it is a color modality here; the code of the pictures in ``depth`` is not documented.
Event and lidar are 8-bit pictures too; where the event camera fails to low resolution they are smaller. The first
channel of ``semantic`` is the class plus 1; 0 and 255 have no label. A scene's name ends in the sensor failure, if any.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.errors import DatasetError
from m3l_core.labels import IGNORE, LabelSet, SemanticClass
from m3l_core.modalities import ColorModality
from m3l_core.published.layout import Frame, Picture, PublishedSet, read_color, read_pixels, wrong_layout

_COLORS = {
    "Building": (70, 70, 70),
    "Fence": (100, 40, 40),
    "Other": (55, 90, 80),
    "Pedestrian": (220, 20, 60),
    "Pole": (153, 153, 153),
    "RoadLine": (157, 234, 50),
    "Road": (128, 64, 128),
    "SideWalk": (244, 35, 232),
    "Vegetation": (107, 142, 35),
    "Cars": (0, 0, 142),
    "Wall": (102, 102, 156),
    "TrafficSign": (220, 220, 0),
    "Sky": (70, 130, 180),
    "Ground": (81, 0, 81),
    "Bridge": (150, 100, 100),
    "RailTrack": (230, 150, 140),
    "GroundRail": (180, 165, 180),
    "TrafficLight": (250, 170, 30),
    "Static": (110, 190, 160),
    "Dynamic": (170, 120, 50),
    "Water": (45, 60, 150),
    "Terrain": (145, 170, 100),
    "TwoWheeler": (0, 0, 230),
    "Bus": (0, 60, 100),
    "Truck": (0, 0, 70),
}
LABELS = LabelSet(classes=tuple(SemanticClass(name=name, color=color) for name, color in _COLORS.items()))
_HALF = (0.5, 0.5, 0.5)
_ZERO, _ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
MODALITIES = (
    ColorModality(),
    ColorModality(name="depth", mean=_HALF, std=_HALF, photometric=False),
    # Almost everywhere black: black stays 0.
    ColorModality(name="event", mean=_ZERO, std=_ONE, photometric=False),
    ColorModality(name="lidar", mean=_ZERO, std=_ONE, photometric=False),
)
# Modality -> folder and what stands for "rgb" in the file's name.
PLACES = {"depth": ("hha", "depth"), "event": ("event", "event"), "lidar": ("lidar", "lidar")}
FAILURES = ("motionblur", "overexposure", "underexposure", "lidarjitter", "eventlowres")
EXPECTED = "{img,hha,event,lidar,semantic}/{cloud,fog,night,rain,sun}/{train,val,test}/MAP_*/*_front.png of DeLiVER"


def read_layout(root: Path) -> PublishedSet:
    """Check that ``root`` holds DeLiVER.

    Raises:
        DatasetError: it does not.
    """
    folders = ("img", "semantic", *(folder for folder, _ in PLACES.values()))
    if not all((root / folder).is_dir() for folder in folders):
        raise wrong_layout(root, EXPECTED)
    present = {path for folder in folders for path in (root / folder).glob("*/*/*/*.png")}
    colors = sorted(path for path in present if path.is_relative_to(root / "img") and "_rgb_" in path.name)
    if not colors:
        raise wrong_layout(root / "img", EXPECTED)
    return PublishedSet("deliver", LABELS, MODALITIES, tuple(_frame(root, color, present) for color in colors))


def _frame(root: Path, color: Path, present: set[Path]) -> Frame:
    condition, split, scene, name = color.relative_to(root / "img").parts

    def beside(folder: str, word: str) -> Path:
        return root / folder / condition / split / scene / name.replace("_rgb_", f"_{word}_")

    failure = next((failure for failure in FAILURES if failure in scene), None)
    images: dict[str, Picture] = {"color": color}
    for modality, (folder, word) in PLACES.items():
        path = beside(folder, word)
        if path in present:
            low = modality == "event" and failure == "eventlowres"
            images[modality] = partial(read_enlarged, path, color) if low else path
    semantic = beside("semantic", "semantic")
    # The same stretch of road is driven in every weather.
    stretch = re.match(r"MAP_\d+_point\d+", scene)
    return Frame(
        f"{condition}/{split}/{scene}/{name.partition('_rgb_')[0]}",
        stretch[0] if stretch else scene,
        # To evaluate weather by weather and failure by failure.
        (split,) if split == "train" else (split, f"{split}_{condition}", f"{split}_{failure or 'no_failure'}"),
        images,
        partial(read_semantic, semantic) if semantic in present else None,
    )


def read_enlarged(path: Path, color: Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB at the size of the color picture.

    Raises:
        DatasetError: one of the files is no picture.
    """
    height, width = read_color(color).shape[:2]
    enlarged = cv2.resize(read_color(path), (width, height), interpolation=cv2.INTER_NEAREST)
    return enlarged.astype(np.uint8, copy=False)


def read_semantic(path: Path) -> NDArray[np.uint8]:
    """(H, W) uint8 class ids.

    Raises:
        DatasetError: the file is no image, or a value stands for no class.
    """
    stored = read_pixels(path, cv2.IMREAD_UNCHANGED)
    if stored.dtype != np.uint8:
        raise DatasetError(f"{path}: expected 8-bit labels, found {stored.dtype}")
    first = stored if stored.ndim == 2 else stored[..., 2]  # OpenCV has red third
    unlabelled = (first == 0) | (first == IGNORE)
    if (beyond := first[~unlabelled & (first > len(LABELS))]).size:
        raise DatasetError(f"{path}: expected labels 0 to {len(LABELS)} and {IGNORE}, found {beyond[0]}")
    label: NDArray[np.uint8] = np.where(unlabelled, IGNORE, first - 1).astype(np.uint8)
    return label
