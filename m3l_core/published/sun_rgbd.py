"""SUN RGB-D with its 37 classes (Song et al., CVPR 2015).

    SUNRGBD/kv2/kinect2data/000002_2014-05-26_14-23-37_260595134347_rgbf000103-resize/image/0000103.jpg
    SUNRGBD/kv2/kinect2data/000002_2014-05-26_14-23-37_260595134347_rgbf000103-resize/depth_bfx/0000103.png
    SUNRGBDtoolbox/Metadata/SUNRGBDMeta.mat         where every frame lies
    SUNRGBDtoolbox/Metadata/SUNRGBD2Dseg.mat        its labels, 0 = unlabelled, in the same order (MATLAB 7.3, HDF5)
    SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat    which frames are for training, which for testing

The depth that is read is the one whose holes the set's authors filled (``depth_bfx``), as published results have it;
a pixel's 16 bits hold millimetres rotated by three bits to the left. ``seg.mat`` beside a frame names objects freely
and is not used. Sizes differ from camera to camera.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3l_core.errors import DatasetError
from m3l_core.labels import IGNORE
from m3l_core.modalities import ColorModality, DepthModality
from m3l_core.published.layout import Frame, PublishedSet, label_set, read_uint16, wrong_layout
from m3l_core.published.matlab import load_variable, read_hdf5, stored_array

NAMES = (
    *("wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter"),
    *("blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor_mat", "clothes", "ceiling"),
    *("books", "fridge", "tv", "paper", "towel", "shower_curtain", "box", "whiteboard", "person", "night_stand"),
    *("toilet", "sink", "lamp", "bathtub", "bag"),
)
TOOLBOX = "SUNRGBDtoolbox"
PLACES = f"{TOOLBOX}/Metadata/SUNRGBDMeta.mat"
SEGMENTATION = f"{TOOLBOX}/Metadata/SUNRGBD2Dseg.mat"
SPLITS = f"{TOOLBOX}/traintestSUNRGBD/allsplit.mat"
EXPECTED = f"SUNRGBD/{{kv1,kv2,realsense,xtion}}/, {PLACES}, {SEGMENTATION} and {SPLITS} of SUN RGB-D"


LABELS = label_set(NAMES)


def read_layout(root: Path) -> PublishedSet:
    """Check that ``root`` holds the pictures and the toolbox.

    Raises:
        DatasetError: it does not.
        MissingPackageError: scipy or h5py is not installed.
    """
    if not (root / "SUNRGBD").is_dir() or not all((root / file).is_file() for file in (PLACES, SEGMENTATION, SPLITS)):
        raise wrong_layout(root, EXPECTED)
    meta = load_variable(root / PLACES, "SUNRGBDMeta")
    places = [_inside(getattr(frame, "rgbpath", None), root / PLACES) for frame in meta]
    folders = {place.parent.parent for place in places}
    split_of: dict[PurePosixPath, str] = {}
    for split, variable in (("train", "alltrain"), ("test", "alltest")):
        named = {_inside(folder, root / SPLITS) for folder in load_variable(root / SPLITS, variable)}
        if named.isdisjoint(folders):
            raise DatasetError(f"{root / SPLITS}: {variable} names none of the {len(places)} frames of {PLACES}")
        split_of |= dict.fromkeys(named, split)
    labelled = read_hdf5(root / SEGMENTATION, "SUNRGBD2Dseg.seglabel", lambda content: len(_label_cells(content)))
    if labelled != len(places):
        raise DatasetError(f"{root / SEGMENTATION} has labels of {labelled} frames, {PLACES} has {len(places)}")
    frames = tuple(
        _frame(root, place, number, split_of[place.parent.parent])
        for number, place in enumerate(places)
        if place.parent.parent in split_of
    )
    absent = [frame.name for frame in frames if len(frame.images) < 2 or not Path(str(frame.images["color"])).is_file()]
    if absent:
        raise wrong_layout(
            root / "SUNRGBD", f"image/ and depth_bfx/ in {len(frames)} folders, {len(absent)} lack them ({absent[0]})"
        )
    return PublishedSet("sun_rgbd", LABELS, (ColorModality(), DepthModality(near_m=0.3, far_m=8.0)), frames)


def _frame(root: Path, place: PurePosixPath, number: int, split: str) -> Frame:
    folder = place.parent.parent
    color = root / "SUNRGBD" / place
    depth = next(iter((root / "SUNRGBD" / folder / "depth_bfx").glob("*.png")), None)
    # Only SUN3D's frames were cut from videos; the others are single pictures.
    recording = folder.parent if "sun3ddata" in folder.parts else folder
    return Frame(
        str(folder),
        str(recording),
        (split,),
        {"color": color} | ({} if depth is None else {"depth": partial(read_depth, depth)}),
        partial(read_label, root / SEGMENTATION, number),
    )


def _inside(path: Any, file: Path) -> PurePosixPath:
    """Where a path of the authors' machine, such as /n/fs/sun3d/data/SUNRGBD/kv1/x, lies in our SUNRGBD folder."""
    place = PurePosixPath(path.partition("SUNRGBD/")[2] if isinstance(path, str) else "")
    if not place.parts or place.is_absolute() or ".." in place.parts:
        found = f"{type(path).__name__} {str(path)[:200]!r}"
        raise DatasetError(f"{file}: expected paths such as /n/fs/sun3d/data/SUNRGBD/kv1/x, found {found}")
    return place


def _label_cells(content: Any) -> Any:
    """References to the labels of the frames."""
    return stored_array(content, "SUNRGBD2Dseg/seglabel", "O", 2, "cells of (frames, 1)")


def read_depth(path: Path) -> NDArray[np.uint16]:
    """(H, W) uint16 [mm], 0 = invalid.

    Raises:
        DatasetError: the file is no 16-bit image.
    """
    stored = read_uint16(path)
    return (stored >> 3 | stored << 13).astype(np.uint16, copy=False)


def read_label(path: Path, number: int) -> NDArray[np.uint8]:
    """(H, W) uint8 class ids of a frame, by its place in SUNRGBDMeta.mat.

    Raises:
        DatasetError: the file is damaged, or a value stands for no class.
    """
    stored = read_hdf5(path, f"frame {number}", partial(_stored_label, number=number))
    with np.errstate(invalid="ignore"):  # NaN is no id, and is told as what it is
        ids = stored.astype(np.int64)
    if (others := stored[(ids != stored) | (ids < 0) | (ids > len(LABELS))]).size:
        raise DatasetError(f"{path}: frame {number}: expected labels 0 to {len(LABELS)}, found {others[0]}")
    label: NDArray[np.uint8] = np.where(ids == 0, IGNORE, ids - 1).astype(np.uint8)
    return np.ascontiguousarray(label.T)  # MATLAB stores columns first


def _stored_label(content: Any, number: int) -> NDArray[Any]:
    reference = _label_cells(content)[number, 0]
    return np.asarray(stored_array(content, reference, ("u", "i", "f"), 2, "labels of (W, H) numbers"))
