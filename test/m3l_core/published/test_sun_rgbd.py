"""SUN RGB-D in miniature, with MATLAB files of both kinds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy import io as scipy_io
from support.published import random_color, read, write

from m3l_core.errors import DatasetError
from m3l_core.published.frame_writer import Shape
from m3l_core.published.importing import read_published, write_folder
from m3l_core.published.sun_rgbd import LABELS, PLACES, SEGMENTATION, SPLITS, read_depth, read_label

pytestmark = pytest.mark.needs("scipy.io", "h5py")
AUTHORS = "/n/fs/sun3d/data/SUNRGBD/"
FOLDERS = (
    "kv2/kinect2data/000002_2014-05-26_14-23-37_260595134347_rgbf000103-resize",
    "kv1/NYUdata/NYU0001",
    "xtion/sun3ddata/hotel_sf/scan1/0001",
    "xtion/sun3ddata/hotel_sf/scan1/0002",
)
SIZES = ((5, 7), (4, 6), (6, 8), (6, 8))
TRAINING = FOLDERS[::2]


def rotated(millimetres: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return (millimetres.astype(np.uint32) << 3 | millimetres.astype(np.uint32) >> 13).astype(np.uint16)


def label(number: int) -> np.ndarray[Any, Any]:
    """0..37 along the rows, so that a transposed one differs."""
    size = SIZES[number]
    return (np.arange(size[0] * size[1]) % 38).reshape(size)


def write_labels(path: Path, count: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as content:
        group = content.create_group("SUNRGBD2Dseg")
        references = group.create_dataset("seglabel", (count, 1), dtype=h5py.ref_dtype)
        for number in range(count):
            stored = content.create_dataset(f"#refs#/{number}", data=label(number).T.astype(np.uint8))
            references[number, 0] = stored.ref


def write_meta(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = np.empty((1, len(FOLDERS)), [("rgbpath", object), ("rgbname", object), ("groundtruth3DBB", object)])
    for number, folder in enumerate(FOLDERS):
        meta[0, number] = (f"{AUTHORS}{folder}/image/{number}.jpg", f"{number}.jpg", np.zeros((0, 0)))
    scipy_io.savemat(path, {"SUNRGBDMeta": meta})


def cells(folders: tuple[str, ...]) -> np.ndarray[Any, Any]:
    content = np.empty((1, len(folders)), object)
    content[0] = [AUTHORS + folder for folder in folders]
    return content


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "sun"
    for number, folder in enumerate(FOLDERS):
        write(root / "SUNRGBD" / folder / "image" / f"{number}.jpg", random_color(number, SIZES[number]))
        depth = np.arange(1000, 1000 + SIZES[number][0] * SIZES[number][1]).reshape(SIZES[number])
        write(root / "SUNRGBD" / folder / "depth_bfx" / f"{number}.png", rotated(depth))
        write(root / "SUNRGBD" / folder / "depth" / f"{number}.png", np.zeros(SIZES[number], np.uint16))
    write_meta(root / PLACES)
    write_labels(root / SEGMENTATION)
    (root / SPLITS).parent.mkdir(parents=True)
    testing = tuple(folder for folder in FOLDERS if folder not in TRAINING)
    scipy_io.savemat(root / SPLITS, {"alltrain": cells(TRAINING), "alltest": cells(testing)})
    return root


def test_frames_come_with_their_labels_depths_and_splits(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    write_folder(read_published("sun_rgbd", root), output, Shape())
    train, test = (json.loads((output / f"{split}.json").read_text()) for split in ("train", "test"))
    assert [entry["color"] for entry in train] == [f"color/{folder}.jpg" for folder in TRAINING]
    assert [entry["recording"] for entry in train] == [FOLDERS[0], "xtion/sun3ddata/hotel_sf/scan1"]
    assert [entry["recording"] for entry in test] == [FOLDERS[1], "xtion/sun3ddata/hotel_sf/scan1"]
    for number, entry in zip((0, 2, 1, 3), [*train, *test], strict=True):
        source = root / "SUNRGBD" / FOLDERS[number] / "image" / f"{number}.jpg"
        assert (output / entry["color"]).read_bytes() == source.read_bytes()
        depth = read(output / entry["depth"])
        assert depth.dtype == np.uint16
        assert depth.ravel().tolist() == list(range(1000, 1000 + depth.size))
        expected = label(number)
        np.testing.assert_array_equal(
            read(output / entry["label"]), np.where(expected == 0, 255, expected - 1).astype(np.uint8)
        )


def test_there_are_37_classes_of_different_colors() -> None:
    assert len(LABELS) == 37
    assert (LABELS.names[0], LABELS.names[-1]) == ("wall", "bag")
    assert len({entry.color for entry in LABELS.classes}) == 37


def test_depth_is_rotated_back(tmp_path: Path) -> None:
    stored = np.array([[0, 8, 0b101, 65535]], np.uint16)
    assert read_depth(write(tmp_path / "d.png", stored)).tolist() == [[0, 1, 0b101 << 13, 65535]]


def test_a_frame_in_neither_split_is_left_out(root: Path) -> None:
    scipy_io.savemat(root / SPLITS, {"alltrain": cells(FOLDERS[:1]), "alltest": cells(FOLDERS[3:])})
    frames = read_published("sun_rgbd", root).frames
    assert [(frame.name, frame.splits) for frame in frames] == [(FOLDERS[0], ("train",)), (FOLDERS[3], ("test",))]


def with_label(path: Path, stored: Any) -> Path:
    """The labels of one frame, stored as something else."""
    write_labels(path, 1)
    with h5py.File(path, "r+") as content:
        del content["#refs#/0"]
        content["#refs#/0"] = stored
        content["SUNRGBD2Dseg/seglabel"][0, 0] = content["#refs#/0"].ref
    return path


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (np.full((7, 5), 38, np.uint8), "frame 0: expected labels 0 to 37, found 38"),
        (np.full((7, 5), -1, np.int16), "frame 0: expected labels 0 to 37, found -1"),
        (np.full((7, 5), 1.5), "frame 0: expected labels 0 to 37, found 1.5"),
        (np.full((7, 5), np.nan), "frame 0: expected labels 0 to 37, found nan"),
        (np.ones(5, np.uint8), r"for frame 0: expected labels of \(W, H\) numbers, found \(5,\) uint8"),
        ("text", r"for frame 0: expected labels of \(W, H\) numbers, found \(\) object"),
    ],
)
def test_a_label_that_is_no_class_is_refused(tmp_path: Path, stored: Any, reason: str) -> None:
    with pytest.raises(DatasetError, match=reason):
        read_label(with_label(tmp_path / "labels.mat", stored), 0)


def test_labels_may_be_stored_as_floats(tmp_path: Path) -> None:
    read = read_label(with_label(tmp_path / "labels.mat", label(0).T.astype(np.float64)), 0)
    np.testing.assert_array_equal(read, np.where(label(0) == 0, 255, label(0) - 1))


def write_label_cells(path: Path, cells: Any) -> None:
    with h5py.File(path, "w") as content:
        content["SUNRGBD2Dseg/seglabel"] = cells


def write_splits(path: Path, train: Any, test: Any) -> None:
    scipy_io.savemat(path, {"alltrain": train, "alltest": test})


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda root: (root / SEGMENTATION).unlink(), r"SUNRGBD2Dseg\.mat .*; found SUNRGBD/, SUNRGBDtoolbox/"),
        (
            lambda root: (root / "SUNRGBD").rename(root / "pictures"),
            "expected SUNRGBD/.*found SUNRGBDtoolbox/, pictures/",
        ),
        (
            lambda root: (root / PLACES).write_bytes(b"no matlab file"),
            r"SUNRGBDMeta\.mat cannot be read for its variable",
        ),
        (lambda root: (root / SEGMENTATION).write_bytes(b"nor this"), r"cannot be read for SUNRGBD2Dseg\.seglabel"),
        (lambda root: write_labels(root / SEGMENTATION, 3), "has labels of 3 frames, .* has 4"),
        (
            lambda root: write_label_cells(root / SEGMENTATION, np.ones((4, 1))),
            r"seglabel: expected cells of \(frames, 1\), found \(4, 1\) float64",
        ),
        (
            lambda root: write_splits(root / SPLITS, 5, cells(FOLDERS)),
            r"allsplit\.mat: expected paths .* found int64 '5'",
        ),
        (lambda root: write_splits(root / SPLITS, cells(FOLDERS), "here"), "expected paths .* found str_ 'here'"),
        (lambda root: write_splits(root / SPLITS, cells(("../a",)), cells(FOLDERS)), r"expected paths .*\.\./a'"),
        (lambda root: write_splits(root / SPLITS, cells(("/etc/a",)), cells(FOLDERS)), "expected paths .*//etc/a'"),
        (lambda root: write_splits(root / SPLITS, [], cells(FOLDERS)), "alltrain names none of the 4 frames"),
        (lambda root: write_splits(root / SPLITS, cells(FOLDERS), cells(("b",))), "alltest names none of the 4 frames"),
        (
            lambda root: scipy_io.savemat(root / PLACES, {"SUNRGBDMeta": np.ones((1, 4))}),
            r"SUNRGBDMeta\.mat: expected paths such as .*, found NoneType 'None'",
        ),
        (
            lambda root: write_splits(root / SPLITS, cells(("a",)), cells(("b",))),
            "names none of the 4 frames",
        ),
        (lambda root: scipy_io.savemat(root / SPLITS, {"other": 1}), "cannot be read for its variable alltrain"),
        (
            lambda root: (root / "SUNRGBD" / FOLDERS[1] / "depth_bfx/1.png").unlink(),
            r"depth_bfx/ in 4 folders, 1 lack them \(kv1/NYUdata/NYU0001\)",
        ),
        (lambda root: (root / "SUNRGBD" / FOLDERS[2] / "image/2.jpg").unlink(), "1 lack them"),
    ],
)
def test_another_layout_is_refused(root: Path, break_it: Any, reason: str) -> None:
    break_it(root)
    with pytest.raises(DatasetError, match=reason):
        read_published("sun_rgbd", root)
