"""DeLiVER in miniature: four modalities, weathers and sensor failures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.published import random_color, read, write

from m3l_core.datasets.folder import parse_index, read_sample
from m3l_core.errors import DatasetError
from m3l_core.published.deliver import LABELS, read_semantic
from m3l_core.published.frame_writer import Shape
from m3l_core.published.importing import read_published, write_folder

SCENES = (
    "cloud/train/MAP_1_point2",
    "night/train/MAP_1_point2_lidarjitter",
    "rain/test/MAP_10_point102_eventlowres",
    "sun/val/MAP_2_point7",
)
FOLDERS = {"img": "rgb", "hha": "depth", "event": "event", "lidar": "lidar", "semantic": "semantic"}
SIZE = (6, 6)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "DELIVER"
    for number, scene in enumerate(SCENES):
        for offset, (folder, word) in enumerate(FOLDERS.items()):
            size = (3, 3) if folder == "event" and "eventlowres" in scene else SIZE
            pixels = random_color(10 * number + offset, size)
            if folder == "lidar":
                pixels = pixels[..., 0]
            if folder == "semantic":
                pixels = np.full((*SIZE, 4), (7, 99, 98, 255), np.uint8)
                pixels[0, :3, 0] = (0, 255, 25)
            write(root / folder / scene / f"045050_{word}_front.png", pixels)
    return root


def test_four_modalities_and_25_classes(root: Path, tmp_path: Path) -> None:
    published = read_published("deliver", root)
    assert [modality.name for modality in published.modalities] == ["color", "depth", "event", "lidar"]
    assert {modality.kind for modality in published.modalities} == {"color"}
    assert [modality.model_dump()["photometric"] for modality in published.modalities] == [True, False, False, False]
    assert len(LABELS) == 25
    output = tmp_path / "out"
    write_folder(published, output, Shape())
    (sample,) = parse_index(output / "val.json", [modality.name for modality in published.modalities])
    images, label = read_sample(sample, published.modalities)
    for name, offset in (("color", 0), ("depth", 1), ("event", 2)):
        np.testing.assert_array_equal(images[name], random_color(30 + offset, SIZE))
    np.testing.assert_array_equal(images["lidar"], np.repeat(random_color(33, SIZE)[..., :1], 3, axis=-1))
    assert label is not None
    assert label[0].tolist() == [255, 255, 24, 6, 6, 6]
    assert LABELS.names[6] == "Road"


def test_testing_is_listed_by_weather_and_failure_too_and_a_stretch_of_road_is_one_recording(
    root: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    imported = write_folder(read_published("deliver", root), output, Shape())
    assert {split: len(entries) for split, entries in imported.indexes.items()} == {
        "train": 2,
        "test": 1,
        "test_rain": 1,
        "test_eventlowres": 1,
        "val": 1,
        "val_sun": 1,
        "val_no_failure": 1,
    }
    assert {entry["recording"] for entry in json.loads((output / "train.json").read_text())} == {"MAP_1_point2"}


def test_a_low_resolution_event_camera_is_enlarged_to_the_color(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    write_folder(read_published("deliver", root), output, Shape())
    (entry,) = json.loads((output / "test.json").read_text())
    np.testing.assert_array_equal(
        read(output / entry["event"]), random_color(22, (3, 3)).repeat(2, axis=0).repeat(2, axis=1)
    )


def test_a_sensor_without_a_picture_is_missing(root: Path, tmp_path: Path) -> None:
    (root / "lidar" / SCENES[0] / "045050_lidar_front.png").unlink()
    (root / "semantic" / SCENES[1] / "045050_semantic_front.png").unlink()
    output = tmp_path / "out"
    write_folder(read_published("deliver", root), output, Shape())
    first, second = json.loads((output / "train.json").read_text())
    assert first["lidar"] is None
    assert first["label"] and second["lidar"]
    assert "label" not in second


def test_a_label_without_a_class_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "semantic.png", np.full((2, 2), 26, np.uint8))
    with pytest.raises(DatasetError, match="expected labels 0 to 25 and 255, found 26"):
        read_semantic(path)
    with pytest.raises(DatasetError, match="expected 8-bit labels, found uint16"):
        read_semantic(write(tmp_path / "wide.png", np.zeros((2, 2), np.uint16)))


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda root: (root / "hha").rename(root / "depth"), r"\{img,hha,.*; found depth/, event/, img/"),
        (lambda root: (root / "img").rename(root / "rgb"), "found event/, hha/, lidar/, rgb/"),
        (lambda root: [path.unlink() for path in root.glob("event/*/*/*/*")], "event of 4 frames, but none"),
        (lambda root: [path.unlink() for path in root.glob("img/*/*/*/*")], "img: expected"),
    ],
)
def test_another_layout_is_refused(root: Path, break_it: Any, reason: str) -> None:
    break_it(root)
    with pytest.raises(DatasetError, match=reason):
        read_published("deliver", root)
