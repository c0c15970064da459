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
from m3l_core.published.matlab import load_numbers, read_hdf5, stored_array

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
    read_hdf5(path, "its frames", partial(_check_frames, depths=depths, scenes=len(scenes)))
    table = _class_table(root / CLASSES, labels)
    frames = []
    for split, variable in (("train", "trainNdxs"), ("test", "testNdxs")):
        for number in load_numbers(root / SPLITS, variable):
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


def _scenes(content: Any) -> list[str]:
    """Cells hold references to the codes of their letters."""
    cells = stored_array(content, "scenes", "O", 2, "cells of (1, frames)")
    letters = (stored_array(content, cell, "u2", 2, "cells with letters of 16 bits") for cell in np.ravel(cells))
    return ["".join(map(chr, np.ravel(each))) for each in letters]


def _check_frames(content: Any, depths: str, scenes: int) -> None:
    """See that everything is there of as many frames as there are scenes, in one size."""
    images = stored_array(content, "images", "u1", 4, "images of (frames, 3, W, H) uint8")
    if images.shape[1] != 3:
        raise ValueError(f"expected images of (frames, 3, W, H), found {images.shape}")
    metres = stored_array(content, depths, "f", 3, f"{depths} of (frames, W, H) metres")
    labels = stored_array(content, "labels", ("u", "i"), 3, "labels of (frames, W, H) whole numbers")
    for variable, array in (("images", images), (depths, metres), ("labels", labels)):
        if len(array) != scenes:
            raise ValueError(f"it has {len(array)} {variable} and {scenes} scenes: it is cut or damaged")
        if array.shape[-2:] != images.shape[-2:]:
            raise ValueError(f"sizes differ: images are {images.shape}, {variable} {array.shape}")


def _class_table(path: Path, labels: LabelSet) -> tuple[int, ...]:
    """From the ids of the label images, where 0 is unlabelled, to those of ``labels``."""
    to_forty = load_numbers(path, "mapClass")
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
    if (beyond := stored[(stored < 0) | (stored >= len(table))]).size:
        raise DatasetError(
            f"{path}: frame {place + 1} has the label {beyond[0]}, {CLASSES} has classes of 1 to {len(table) - 1}"
        )
    return np.ascontiguousarray(np.array(table, np.uint8)[stored])
