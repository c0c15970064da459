"""NYU Depth v2 in miniature, in the layout of its MATLAB files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy import io as scipy_io
from support.published import random_color, read

from m3l_core.errors import DatasetError
from m3l_core.published.frame_writer import Shape
from m3l_core.published.importing import read_published, write_folder
from m3l_core.published.nyuv2 import CLASSES, FORTY, FRAMES, SPLITS, THIRTEEN, THIRTEEN_OF_FORTY

pytestmark = pytest.mark.needs("scipy.io", "h5py")
SIZE = (6, 8)
SCENES = ("kitchen_0004", "kitchen_0004", "office_0001a", "bedroom_0123", "study_0002")
TRAIN, TEST = (1, 2, 4), (3, 5)
NAMES = 894
TO_FORTY = np.arange(NAMES) % 40 + 1


def label(number: int) -> np.ndarray[Any, Any]:
    """Ids of names, with 0 for unlabelled, other ones in each frame and along its rows."""
    return ((np.arange(SIZE[0] * SIZE[1]) * 19 + 7 * number) % (NAMES + 1)).reshape(SIZE).astype(np.uint16)


def depth(number: int) -> np.ndarray[Any, Any]:
    return np.linspace(0.7, 9.9, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE) + np.float32(0.01) * number


def write_frames(path: Path, frames: int = len(SCENES)) -> None:
    """MATLAB 7.3: columns come first, so that every axis is turned around; cells hold references to letters."""
    raw = np.stack([depth(number).T for number in range(frames)])
    raw[:, 0, :] = 0.0
    with h5py.File(path, "w") as content:
        images = [random_color(number, SIZE).transpose(2, 1, 0) for number in range(frames)]
        content["images"] = np.stack(images)
        content["depths"] = np.stack([depth(number).T for number in range(frames)])
        content["rawDepths"] = raw
        content["labels"] = np.stack([label(number).T for number in range(frames)])
        scenes = content.create_dataset("scenes", (1, len(SCENES)), dtype=h5py.ref_dtype)
        for number, scene in enumerate(SCENES):
            letters = np.array([[ord(letter)] for letter in scene], np.uint16)
            scenes[0, number] = content.create_dataset(f"#refs#/{number}", data=letters).ref


def write_splits(path: Path, train: tuple[int, ...] = TRAIN) -> None:
    scipy_io.savemat(path, {"trainNdxs": np.array([train]).T, "testNdxs": np.array([TEST]).T})


def write_classes(path: Path, to_forty: np.ndarray[Any, Any] = TO_FORTY) -> None:
    names = np.empty((1, 40), object)
    names[0] = FORTY.names
    scipy_io.savemat(path, {"mapClass": to_forty[None].astype(np.uint8), "className": names})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "nyu"
    root.mkdir()
    write_frames(root / FRAMES)
    write_splits(root / SPLITS)
    write_classes(root / CLASSES)
    return root


def stored(root: Path, name: str) -> np.ndarray[Any, Any]:
    with h5py.File(root / FRAMES) as content:
        return np.asarray(content[name])


def replaced(root: Path, name: str, value: Any) -> None:
    """Another array or text in the place of one of the frames' file; None: a group."""
    with h5py.File(root / FRAMES, "r+") as content:
        del content[name]
        if value is None:
            content.create_group(name)
        else:
            content[name] = value


def with_variable(path: Path, name: str, value: Any) -> None:
    """A file of an older version with another value of one variable."""
    whole = {"trainNdxs": np.array([TRAIN]).T, "testNdxs": np.array([TEST]).T, "mapClass": TO_FORTY}
    scipy_io.savemat(path, whole | {name: value})


def cells(*values: Any) -> np.ndarray[Any, Any]:
    found = np.empty((1, len(values)), object)
    found[0] = values
    return found


def entries(output: Path, split: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((output / f"{split}.json").read_text())
    return found


@pytest.mark.parametrize("name", ["nyuv2", "nyuv2_13", "nyuv2_raw"])
def test_frames_come_with_their_labels_depths_and_splits(root: Path, tmp_path: Path, name: str) -> None:
    output = tmp_path / "out"
    write_folder(read_published(name, root), output, Shape())
    assert [entry["color"] for entry in entries(output, "train")] == [f"color/{number:04d}.png" for number in TRAIN]
    assert [entry["recording"] for entry in entries(output, "test")] == ["office_0001a", "study_0002"]
    for number, entry in zip((*TRAIN, *TEST), [*entries(output, "train"), *entries(output, "test")], strict=True):
        np.testing.assert_array_equal(read(output / entry["color"]), random_color(number - 1, SIZE))
        millimetres = np.rint(depth(number - 1) * 1000)
        if name == "nyuv2_raw":
            millimetres[:, 0] = 0
        np.testing.assert_array_equal(read(output / entry["depth"]), millimetres)
        stored = read(output / entry["label"])
        names = label(number - 1)
        assert (stored[names == 0] == 255).all()
        forty = TO_FORTY[names[names > 0] - 1] - 1
        of_forty = [THIRTEEN.names.index(each) for each in THIRTEEN_OF_FORTY.values()]
        np.testing.assert_array_equal(stored[names > 0], np.array(of_forty)[forty] if name == "nyuv2_13" else forty)


def test_the_forty_classes_become_the_thirteen_as_published() -> None:
    # class13Mapping.mat of SceneNet's meta data: of each of the 40 the number of its class, from 1.
    published = [12, 5, 6, 1, 4, 9, 10, 12, 13, 6, 8, 6, 13, 10, 6, 13, 6, 7, 7, 5]
    published += [7, 3, 2, 6, 11, 7, 7, 7, 7, 7, 7, 6, 7, 7, 7, 7, 7, 7, 6, 7]
    names = ["bed", "books", "ceiling", "chair", "floor", "furniture", "objects", "picture", "sofa", "table", "tv"]
    assert [*THIRTEEN.names] == [*names, "wall", "window"]
    assert [*THIRTEEN_OF_FORTY.values()] == [THIRTEEN.names[number - 1] for number in published]
    assert len(FORTY) == 40
    assert len({entry.color for entry in FORTY.classes}) == 40


def test_names_without_one_of_the_forty_classes_are_unlabelled(root: Path, tmp_path: Path) -> None:
    write_classes(root / CLASSES, np.where(TO_FORTY == 2, 0, TO_FORTY))
    write_folder(read_published("nyuv2", root), tmp_path / "out", Shape())
    stored = [read(path) for path in sorted((tmp_path / "out/label").iterdir())]
    assert len(stored) == 5
    assert not any((each == 1).any() for each in stored)


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda root: (root / CLASSES).unlink(), r"classMapping40\.mat of NYU Depth v2; found nyu_depth_v2_labeled"),
        (lambda root: (root / FRAMES).write_bytes(b"no such file"), r"labeled\.mat cannot be read for its scenes"),
        (lambda root: write_frames(root / FRAMES, 3), "has 3 images and 5 scenes: it is cut or damaged"),
        (lambda root: write_splits(root / SPLITS, (1, 6)), "names frame 6, nyu_depth_v2_labeled.mat has 1 to 5"),
        (lambda root: write_splits(root / SPLITS, (0, 1)), "names frame 0"),
        (lambda root: (root / SPLITS).write_bytes(b"nor this"), r"splits\.mat cannot be read for its variable train"),
        (lambda root: write_classes(root / CLASSES, TO_FORTY + 1), "mapClass should have 1 to 40.*found 41"),
    ],
)
def test_another_layout_is_refused(root: Path, break_it: Callable[[Path], object], reason: str) -> None:
    break_it(root)
    with pytest.raises(DatasetError, match=reason):
        read_published("nyuv2", root)


IMAGES, METRES, IDS = (
    r"images of \(frames, 3, W, H\) uint8",
    r"depths of \(frames, W, H\) metres",
    "labels of .* numbers",
)
NO_NUMBERS = "to be a row or a column of whole numbers, found"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("images", None, f"expected {IMAGES}, found <HDF5 group"),
        ("images", np.zeros((5, 3, 8, 6)), rf"expected {IMAGES}, found \(5, 3, 8, 6\) float64"),
        ("images", np.zeros((5, 4, 8, 6), np.uint8), r"found \(5, 4, 8, 6\)"),
        ("images", np.zeros((5, 3, 0, 0), np.uint8), rf"expected {IMAGES}, found \(5, 3, 0, 0\)"),
        ("scenes", np.ones((1, 5)), r"its scenes: expected cells of \(1, frames\), found \(1, 5\) float64"),
        ("scenes", "kitchen", r"its scenes: expected cells of \(1, frames\), found \(\) object"),
        ("#refs#/1", np.ones((12, 1)), r"its scenes: expected cells with letters of 16 bits, found \(12, 1\) float64"),
        ("#refs#/1", np.full((12, 1), 1 << 40), "letters of 16 bits, found .* int64"),
        ("#refs#/1", None, "letters of 16 bits, found <HDF5 group"),
        ("depths", "metres", rf"expected {METRES}, found \(\) object"),
        ("depths", np.ones(5, np.float32), rf"expected {METRES}, found \(5,\) float32"),
        ("depths", np.ones((5, 8, 6), np.uint16), rf"expected {METRES}, found \(5, 8, 6\) uint16"),
        ("depths", np.ones((5, 7, 6)), r"sizes differ: images are \(5, 3, 8, 6\), depths \(5, 7, 6\)"),
        ("labels", np.ones((5, 8, 6)), rf"expected {IDS}, found \(5, 8, 6\) float64"),
        ("labels", np.uint16(3), rf"expected {IDS}, found \(\) uint16"),
        ("labels", np.ones(5, np.uint16), rf"expected {IDS}, found \(5,\) uint16"),
        ("labels", np.ones((5, 8, 5), np.uint16), r"sizes differ: .*, labels \(5, 8, 5\)"),
        ("labels", np.ones((4, 8, 6), np.uint16), "has 4 labels and 5 scenes: it is cut or damaged"),
        ("depths", np.full((5, 8, 6), np.nan), "expected depth of nyuv2, but no pixel of any frame is valid"),
    ],
)
def test_arrays_of_another_kind_are_refused(root: Path, name: str, value: Any, reason: str) -> None:
    replaced(root, name, value)
    with pytest.raises(DatasetError, match=reason):
        read_published("nyuv2", root)


@pytest.mark.parametrize(("file", "variable"), [(SPLITS, "trainNdxs"), (SPLITS, "testNdxs"), (CLASSES, "mapClass")])
@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"a": 1.0}, r"\(1,\) object"),
        ("text", r"\(1,\) <U4"),
        (cells(1.0, 2.0), r"\(2,\) object"),
        (cells("wall"), r"\(1,\) <U4"),
        ([[1.0, 2.0], [3.0, 4.0]], r"\(2, 2\) float64"),
        ([], r"\(0,\) float64"),
        ([1.0, np.nan], "nan"),
        ([1.0, np.inf], "inf"),
        ([1.0, 1.5], "1.5"),
        ([1j, 2.0], r"\(2,\) complex128"),
    ],
)
def test_numbers_of_another_kind_are_refused(root: Path, file: str, variable: str, value: Any, found: str) -> None:
    with_variable(root / file, variable, value)
    with pytest.raises(DatasetError, match=rf"expected {variable} {NO_NUMBERS} {found}"):
        read_published("nyuv2", root)


def test_whole_numbers_may_be_stored_as_floats(root: Path) -> None:
    with_variable(root / SPLITS, "testNdxs", [[3.0]])
    with_variable(root / CLASSES, "mapClass", TO_FORTY.astype(np.float64))
    assert [frame.name for frame in read_published("nyuv2", root).frames] == ["0001", "0002", "0004", "0003"]


def test_some_frames_may_be_without_a_valid_depth(root: Path, tmp_path: Path) -> None:
    depths = stored(root, "depths")
    depths[:4] = np.nan
    replaced(root, "depths", depths)
    write_folder(read_published("nyuv2", root), tmp_path / "out", Shape())
    assert [bool(read(path).any()) for path in sorted((tmp_path / "out/depth").iterdir())] == [*[False] * 4, True]


@pytest.mark.parametrize("value", [900, -3])
def test_a_label_beyond_the_names_is_told_with_its_frame(root: Path, tmp_path: Path, value: int) -> None:
    labels = stored(root, "labels").astype(np.int16)
    labels[1, 0, 0] = value
    replaced(root, "labels", labels)
    reason = rf"1 of 5 frames.*frame 2 has the label {value}, .* has classes of 1 to 894"
    with pytest.raises(DatasetError, match=reason):
        write_folder(read_published("nyuv2", root), tmp_path / "out", Shape())
