"""2D-3D-S in miniature: pixels, classes, units and folds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.published import random_color, read, write, write_stanford

from m3l_core.errors import DatasetError
from m3l_core.published.frame_writer import Shape
from m3l_core.published.importing import read_published, write_folder
from m3l_core.published.stanford_indoor import LABELS, read_depth, read_semantic


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_stanford(tmp_path / "2d3ds")


def test_the_frames_of_an_area_are_tested_in_its_fold_and_train_the_others(root: Path) -> None:
    published = read_published("stanford_indoor", root)
    assert len(published.frames) == 8
    splits = {frame.recording.partition("/")[0]: frame.splits for frame in published.frames}
    assert splits == {
        "area_1": ("fold1_train", "fold2_train", "fold3_test"),
        "area_4": ("fold1_train", "fold2_test", "fold3_train"),
        "area_5a": ("fold1_test", "fold2_train", "fold3_train"),
        "area_5b": ("fold1_test", "fold2_train", "fold3_train"),
    }
    first = published.frames[0]
    assert first.recording == "area_1/office_3"
    assert first.name == f"area_1/camera_{0:032x}_office_3_frame_0_domain"


def test_pictures_come_out_as_training_reads_them(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    write_folder(read_published("stanford_indoor", root), output, Shape())
    assert len(json.loads((output / "fold1_train.json").read_text())) == 4
    (entry,) = (
        entry
        for entry in json.loads((output / "fold1_test.json").read_text())
        if entry["recording"] == "area_5a/office_3"
    )
    number = 4
    np.testing.assert_array_equal(read(output / entry["color"]), random_color(number))
    depth = read(output / entry["depth"])
    assert depth.dtype == np.uint16
    assert depth[0, 0] == 0
    assert (depth.ravel()[1:] == round((1024 + number) / 512 * 1000)).all()
    label = read(output / entry["label"])
    chair = LABELS.names.index("chair")
    assert label.dtype == np.uint8
    assert (label[:, :-1] == chair).all()
    assert (label[:, -1] == 255).all()


def test_every_name_becomes_its_class(tmp_path: Path, root: Path) -> None:
    names = root / "assets" / "semantic_labels.json"
    entries = json.loads(names.read_text())
    semantic = np.zeros((1, len(entries), 3), np.uint8)
    semantic[0, :, 2] = range(len(entries))
    label = read_semantic(write(tmp_path / "semantic.png", semantic), names)
    expected = [LABELS.names.index(entry.split("_")[0]) for entry in entries[1:]]
    assert label[0].tolist() == [255, *expected]
    assert len(LABELS) == 13


def test_the_index_has_24_bits(tmp_path: Path) -> None:
    names = tmp_path / "names.json"
    names.write_text(json.dumps(["<UNK>_0_<UNK>_0_0"] * 70000 + ["sofa_7_lounge_1_2"]))
    red, green, blue = 70000 >> 16, 70000 >> 8 & 255, 70000 & 255
    pixels = np.array([[(red, green, blue), (0, 0, 0), (13, 13, 13)]], np.uint8)
    label = read_semantic(write(tmp_path / "semantic.png", pixels), names)
    assert label.tolist() == [[LABELS.names.index("sofa"), 255, 255]]


def test_a_pretty_picture_is_refused(tmp_path: Path, root: Path) -> None:
    pretty = write(tmp_path / "pretty.png", np.full((2, 2, 3), (200, 10, 10), np.uint8))
    with pytest.raises(DatasetError, match=r"#C80A0A stands for none of the 15 names .* not of data/semantic_pretty"):
        read_semantic(pretty, root / "assets" / "semantic_labels.json")


def test_a_label_picture_of_16_bits_is_refused(tmp_path: Path, root: Path) -> None:
    deep = write(tmp_path / "deep.png", np.full((2, 2, 3), 5 << 8, np.uint16))  # 8 bits of it are a beam's color
    with pytest.raises(DatasetError, match="expected 8-bit pixels, found uint16"):
        read_semantic(deep, root / "assets" / "semantic_labels.json")


def test_depth_is_512ths_of_a_metre_and_ends_at_what_16_bits_of_millimetres_hold(tmp_path: Path) -> None:
    stored = np.array([[0, 1, 512, 5120, 65534, 65535]], np.uint16)
    assert read_depth(write(tmp_path / "depth.png", stored)).tolist() == [[0, 2, 1000, 10000, 65535, 0]]
    with pytest.raises(DatasetError, match=r"expected \(H, W\) uint16, found \(2, 2\) uint8"):
        read_depth(write(tmp_path / "other.png", np.zeros((2, 2), np.uint8)))


def test_what_is_not_there_is_missing_or_unlabelled(root: Path) -> None:
    next((root / "area_1/data/depth").iterdir()).unlink()
    next((root / "area_4/data/semantic").iterdir()).unlink()
    frames = read_published("stanford_indoor", root).frames
    assert [frame.recording[:6] for frame in frames if "depth" not in frame.images] == ["area_1"]
    assert [frame.recording[:6] for frame in frames if frame.label is None] == ["area_4"]


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (
            lambda root: (root / "assets/semantic_labels.json").unlink(),
            r"expected assets/semantic_labels\.json and area",
        ),
        (
            lambda root: [path.rename(root / path.name[5:]) for path in root.glob("area_*")],
            "found 1/, 4/, 5a/, 5b/, assets/",
        ),
        (lambda root: [path.unlink() for path in root.glob("area_*/data/depth/*")], "depth of 8 frames, but none"),
        (
            lambda root: [write(path, np.full((6, 8), 65535, np.uint16)) for path in root.glob("area_*/data/depth/*")],
            "expected depth of stanford_indoor, but no pixel of any frame is valid",
        ),
        (
            lambda root: (root / "area_1/data/rgb/view.png").write_bytes(b""),
            r"view\.png: expected a name such as camera",
        ),
        (lambda root: (root / "assets/semantic_labels.json").write_text("{"), "cannot be read as a list of names"),
        (lambda root: (root / "assets/semantic_labels.json").write_text('["car_1_street_1_1"]'), r"found \['car'\]"),
    ],
)
def test_another_layout_is_refused(root: Path, break_it: object, reason: str) -> None:
    break_it(root)  # type: ignore[operator]
    with pytest.raises(DatasetError, match=reason):
        read_published("stanford_indoor", root)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere is no folder; expected one with assets/"):
        read_published("stanford_indoor", tmp_path / "nowhere")
