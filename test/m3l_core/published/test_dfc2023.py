"""DFC2023 track 2 in miniature: three modalities, outlines of buildings, cities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.published import random_color, read, write

from m3l_core.errors import DatasetError
from m3l_core.published.frame_writer import Shape
from m3l_core.published.importing import read_published, write_folder

SIZE = (8, 10)
CITIES = ("Berlin", "Brasilia", "Copenhagen", "NewYork", "Rio", "Sydney")
TRAINING = tuple(f"SV_{city}_-15.84_-47.88{number}.tif" for city in CITIES for number in (1, 2))
SQUARE = [2.0, 3.0, 7.0, 3.0, 7.0, 6.0, 2.0, 6.0]
"""x, y of the corners; columns 2 to 6, rows 3 to 5."""


def annotations(files: tuple[str, ...]) -> dict[str, Any]:
    images = [{"id": 10 + n, "file_name": file, "height": SIZE[0], "width": SIZE[1]} for n, file in enumerate(files)]
    runs = {"size": list(SIZE), "counts": [0, 3, SIZE[0] * SIZE[1] - 3]}  # three pixels down the first column
    return {
        "images": images,
        "annotations": [
            {"image_id": 10, "segmentation": [SQUARE]},
            {"image_id": 10, "segmentation": runs},
            {"image_id": 11, "segmentation": [SQUARE]},
        ],
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    track = tmp_path / "dfc" / "track2"
    for number, file in enumerate(TRAINING):
        write(track / "train/rgb" / file, random_color(number, SIZE))
        write(track / "train/sar" / file, random_color(100 + number, SIZE)[..., 0])
        write(track / "train/dsm" / file, np.full(SIZE, number + 0.5, np.float32))
    write(track / "val/rgb/P_0199.tif", random_color(50, SIZE))
    write(track / "val/sar/P_0199.tif", random_color(51, SIZE)[..., 0])
    (track / "buildings_only_train.json").write_text(json.dumps(annotations(TRAINING)))
    return tmp_path / "dfc"


def test_pictures_heights_and_buildings(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    published = read_published("dfc2023", root)
    write_folder(published, output, Shape())
    assert [(modality.name, modality.kind) for modality in published.modalities] == [
        ("color", "color"),
        ("sar", "color"),
        ("height", "height"),
    ]
    first, second, third = json.loads((output / "train.json").read_text())[:3]
    assert first["recording"] == "Berlin"
    assert first["color"] == "color/train/SV_Berlin_-15.84_-47.881.png"
    np.testing.assert_array_equal(read(output / first["color"]), random_color(0, SIZE))
    sar = read(output / first["sar"])
    np.testing.assert_array_equal(sar, np.repeat(random_color(100, SIZE)[..., :1], 3, axis=-1))
    assert (read(output / second["height"]) == 1.5).all()
    square = np.zeros(SIZE, np.uint8)
    square[3:6, 2:7] = 1
    np.testing.assert_array_equal(read(output / second["label"]), square)
    square[:3, 0] = 1
    np.testing.assert_array_equal(read(output / first["label"]), square)
    assert not read(output / third["label"]).any()


def test_validation_images_have_no_label_so_every_fifth_city_is_held_out(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    imported = write_folder(read_published("dfc2023", root), output, Shape())
    assert {split: len(entries) for split, entries in imported.indexes.items()} == {
        "train": 12,
        "train_cities": 10,
        "val_cities": 2,
        "val": 1,
    }
    assert {entry["recording"] for entry in imported.indexes["val_cities"]} == {"Rio"}
    (unlabelled,) = imported.indexes["val"]
    assert unlabelled == {
        "color": "color/val/P_0199.png",
        "sar": "sar/val/P_0199.png",
        "height": None,
        "recording": "P_0199",
    }


def test_the_folder_may_be_the_track_itself_and_call_heights_height(root: Path) -> None:
    track = root / "track2"
    (track / "train/dsm").rename(track / "train/height")
    (track / "annotations").mkdir()
    (track / "buildings_only_train.json").rename(track / "annotations/buildings_only_train.json")
    frames = read_published("dfc2023", track).frames
    assert len(frames) == 13
    assert sum("height" in frame.images and frame.label is not None for frame in frames) == 12


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (
            lambda track: (track / "buildings_only_train.json").unlink(),
            "buildings_only_train.json of DFC2023's track 2; found",
        ),
        (
            lambda track: (track / "train").rename(track / "training"),
            "found buildings_only_train.json, training/, val/",
        ),
        (lambda track: (track / "buildings_only_train.json").write_text("{}"), "cannot be read as COCO annotations"),
        (lambda track: (track / "train/sar").rename(track / "train/radar"), None),
    ],
)
def test_another_layout_is_refused(root: Path, break_it: Any, reason: str | None) -> None:
    break_it(root / "track2")
    if reason is None:  # the validation images still have it
        assert sum("sar" in frame.images for frame in read_published("dfc2023", root).frames) == 1
        return
    with pytest.raises(DatasetError, match=reason):
        read_published("dfc2023", root)


@pytest.mark.parametrize("height", [0, -8, 10**9, float("inf"), float("nan"), None, [8]])
def test_an_image_of_an_impossible_size_is_refused(root: Path, height: Any) -> None:
    content = annotations(TRAINING)
    content["images"][3]["height"] = height
    (root / "track2/buildings_only_train.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"buildings_only_train\.json cannot be read as COCO annotations"):
        read_published("dfc2023", root)


def test_outlines_for_another_size_than_the_picture_s_are_told_with_their_frame(root: Path, tmp_path: Path) -> None:
    content = annotations(TRAINING)
    content["images"][3]["height"] = 5
    (root / "track2/buildings_only_train.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"1 of 13 frames .*train/SV_Brasilia.*sizes differ: .*'label': \(5, 10\)"):
        write_folder(read_published("dfc2023", root), tmp_path / "out", Shape())


def test_a_broken_outline_is_told_with_its_frame(root: Path, tmp_path: Path) -> None:
    content = annotations(TRAINING)
    content["annotations"][0]["segmentation"] = [[1.0, 2.0, 3.0]]
    (root / "track2/buildings_only_train.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"1 of 13 frames .*train/SV_Berlin.*neither polygons nor run lengths"):
        write_folder(read_published("dfc2023", root), tmp_path / "out", Shape())
