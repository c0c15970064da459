"""NYU Depth v2 (Silberman et al., ECCV 2012), its 1449 labelled frames in 40 or 13 classes.

    nyu_depth_v2_labeled.mat   images, depths, rawDepths, labels and scenes of all frames (MATLAB 7.3, HDF5)
    splits.mat                 trainNdxs and testNdxs: the official 795 and 654 frames, counted from 1
    classMapping40.mat         mapClass: from the 894 names of the labels to 40 classes (Gupta et al., CVPR 2013)

The 13 classes are those of Couprie et al. (arXiv 1301.3572), as the 40 are mapped to them by SceneNet (Handa et al.,
arXiv 1511.07041). ``depths`` were in-painted by the set's authors, which published results have; ``rawDepths`` are what
the Kinect gave, with its holes, as a robot has it. Both are metres, registered to color. A scene is a recording.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3l_core.errors import DatasetError
from m3l_core.labels import IGNORE, LabelSet
from m3l_core.modalities import ColorModality, DepthModality
from m3l_core.published.layout import Frame, Picture, PublishedSet, label_set, to_millimetres, wrong_layout
from m3l_core.published.matlab import load_variable, read_hdf5

FRAMES, SPLITS, CLASSES = "nyu_depth_v2_labeled.mat", "splits.mat", "classMapping40.mat"
EXPECTED = f"{FRAMES}, {SPLITS} and {CLASSES} of NYU Depth v2"

_WALL, _FLOOR, _FURNITURE, _OBJECTS = "wall", "floor", "furniture", "objects"
THIRTEEN_OF_FORTY = {
    **{"wall": _WALL, "floor": _FLOOR, "cabinet": _FURNITURE, "bed": "bed", "chair": "chair", "sofa": "sofa"},
    **{"table": "table", "door": _WALL, "window": "window", "bookshelf": _FURNITURE, "picture": "picture"},
    **{"counter": _FURNITURE, "blinds": "window", "desk": "table", "shelves": _FURNITURE, "curtain": "window"},
    **{"dresser": _FURNITURE, "pillow": _OBJECTS, "mirror": _OBJECTS, "floor mat": _FLOOR, "clothes": _OBJECTS},
    **{"ceiling": "ceiling", "books": "books", "refridgerator": _FURNITURE, "television": "tv", "paper": _OBJECTS},
    **{"towel": _OBJECTS, "shower curtain": _OBJECTS, "box": _OBJECTS, "whiteboard": _OBJECTS, "person": _OBJECTS},
    **{"night stand": _FURNITURE, "toilet": _OBJECTS, "sink": _OBJECTS, "lamp": _OBJECTS, "bathtub": _OBJECTS},
    **{"bag": _OBJECTS, "otherstructure": _OBJECTS, "otherfurniture": _FURNITURE, "otherprop": _OBJECTS},
}
"""Each of the 40 classes, in the order of their ids -> one of the 13."""

FORTY = label_set([*THIRTEEN_OF_FORTY])
THIRTEEN = label_set(sorted({*THIRTEEN_OF_FORTY.values()}))


def read_forty(root: Path) -> PublishedSet:
    """Forty classes, in-painted depth.

    Raises:
        DatasetError: ``root`` does not hold the set.
        MissingPackageError: scipy or h5py is not installed.
    """
    return _read_layout("nyuv2", root, FORTY, "depths")


def read_thirteen(root: Path) -> PublishedSet:
    """Thirteen classes, in-painted depth; raises as ``read_forty``."""
    return _read_layout("nyuv2_13", root, THIRTEEN, "depths")


def read_raw(root: Path) -> PublishedSet:
    """Forty classes, depth with the sensor's holes; raises as ``read_forty``."""
    return _read_layout("nyuv2_raw", root, FORTY, "rawDepths")


def _read_layout(name: str, root: Path, labels: LabelSet, depths: str) -> PublishedSet:
    if not all((root / file).is_file() for file in (FRAMES, SPLITS, CLASSES)):
        raise wrong_layout(root, EXPECTED)
    path = root / FRAMES
    scenes = read_hdf5(path, "its scenes", _scenes)
    for variable in ("images", depths, "labels"):
        if (count := read_hdf5(path, variable, partial(_count, variable=variable))) != len(scenes):
            raise DatasetError(f"{path} has {count} {variable} and {len(scenes)} scenes: it is cut or damaged")
    table = _class_table(root / CLASSES, labels)
    frames = []
    for split, variable in (("train", "trainNdxs"), ("test", "testNdxs")):
        for number in map(int, load_variable(root / SPLITS, variable)):
            if not 1 <= number <= len(scenes):
                raise DatasetError(f"{root / SPLITS} names frame {number}, {FRAMES} has 1 to {len(scenes)}")
            place = number - 1
            images: dict[str, Picture] = {
                "color": partial(read_color, path, place),
                "depth": partial(read_depth, path, depths, place),
            }
            label = partial(read_label, path, place, table)
            frames.append(Frame(f"{number:04d}", scenes[place], (split,), images, label))
    return PublishedSet(name, labels, (ColorModality(), DepthModality(near_m=0.3, far_m=10.0)), tuple(frames))


def _count(content: Any, variable: str) -> int:
    return len(content[variable])


def _scenes(content: Any) -> list[str]:
    """Cells hold references to the codes of their letters."""
    references = np.ravel(content["scenes"])
    return ["".join(map(chr, np.ravel(content[reference]))) for reference in references]


def _class_table(path: Path, labels: LabelSet) -> tuple[int, ...]:
    """From the ids of the label images, where 0 is unlabelled, to those of ``labels``."""
    to_forty = [int(number) for number in load_variable(path, "mapClass")]
    if unknown := [number for number in to_forty if not 0 <= number <= len(FORTY)]:
        raise DatasetError(f"{path}: mapClass should have 1 to {len(FORTY)}, or 0 for none, found {unknown[0]}")
    ids = {name: number for number, name in enumerate(labels.names)}
    names = FORTY.names if labels is FORTY else tuple(THIRTEEN_OF_FORTY.values())
    of_forty = (IGNORE, *(ids[name] for name in names))
    return (IGNORE, *(of_forty[number] for number in to_forty))


def read_color(path: Path, place: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of the frame at a place, counted from 0.

    Raises:
        DatasetError: the file is damaged.
    """
    stored = read_hdf5(path, f"images, frame {place + 1}", lambda content: np.asarray(content["images"][place]))
    if stored.ndim != 3 or stored.shape[0] != 3 or stored.dtype != np.uint8:
        raise DatasetError(f"{path}: expected images of (3, W, H) uint8, found {stored.shape} {stored.dtype}")
    return np.ascontiguousarray(stored.transpose(2, 1, 0))


def read_depth(path: Path, variable: str, place: int) -> NDArray[np.uint16]:
    """(H, W) uint16 [mm], 0 = invalid; raises as ``read_color``."""
    stored = read_hdf5(path, f"{variable}, frame {place + 1}", lambda content: np.asarray(content[variable][place])).T
    return np.ascontiguousarray(to_millimetres(stored, np.isfinite(stored) & (stored > 0)))


def read_label(path: Path, place: int, table: tuple[int, ...]) -> NDArray[np.uint8]:
    """(H, W) uint8 class ids, 255 = unlabelled; ``table`` has the class of each stored id.

    Raises:
        DatasetError: the file is damaged, or an id is not in the table.
    """
    stored = read_hdf5(path, f"labels, frame {place + 1}", lambda content: np.asarray(content["labels"][place])).T
    if stored.max(initial=0) >= len(table):
        raise DatasetError(
            f"{path}: frame {place + 1} has the label {stored.max()}, {CLASSES} has classes of 1 to {len(table) - 1}"
        )
    return np.ascontiguousarray(np.array(table, np.uint8)[stored])
