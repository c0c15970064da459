"""Index files and the images they name, whole and broken."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.rooms import SIZE, draw_room, write_images, write_rooms

from m3l_core.datasets.folder import Sample, read_image, read_index, read_sample
from m3l_core.errors import DatasetError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_rooms(tmp_path / "rooms", train=3, validation=1)


def entries(folder: Path) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = json.loads((folder / "train.json").read_text())
    return content


def rewrite(folder: Path, content: Any) -> Path:
    (folder / "train.json").write_text(json.dumps(content))
    return folder / "train.json"


def test_every_entry_becomes_a_sample_with_paths_beside_the_index(folder: Path) -> None:
    samples = read_index(folder / "train.json")
    assert [sample.recording for sample in samples] == ["train_0", "train_0", "train_1"]
    assert samples[1] == Sample(
        {"color": folder / "color/train_1.jpg", "depth": folder / "depth/train_1.png"},
        folder / "label/train_1.png",
        "train_0",
    )


def test_images_come_back_as_they_were_written(tmp_path: Path) -> None:
    color, depth, label = draw_room(np.random.default_rng(5))
    entry = write_images(tmp_path, "one", color, depth, label) | {"room": 12, "fx": 200.0}
    (tmp_path / "list.json").write_text(json.dumps([entry]))
    (sample,) = read_index(tmp_path / "list.json")
    assert sample.recording == "12"
    images, labels = read_sample(sample)
    np.testing.assert_array_equal(images["depth"], depth)
    np.testing.assert_array_equal(labels, label)
    assert images["color"].shape == (*SIZE, 3)
    assert abs(images["color"].astype(int) - color).mean() < 12, "red and blue changed places?"


def test_only_the_modalities_asked_for_are_needed(folder: Path) -> None:
    content = entries(folder)
    for entry in content:
        del entry["depth"]
    index = rewrite(folder, content)
    assert list(read_index(index, ("color",))[0].images) == ["color"]
    with pytest.raises(DatasetError, match="entry 0 needs color, depth, label and recording"):
        read_index(index)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot be read as an index"),
        (b"{broken", "cannot be read as an index"),
        (b"\xff\xfe\x00", "cannot be read as an index"),
        (b"{}", "expected a JSON list"),
        (b"[]", "expected a JSON list"),
        (b"[3]", "entry 0 needs"),
        (b'[{"color": 1, "depth": "d", "label": "l", "recording": "r"}]', "entry 0 needs"),
        (b'[{"color": "c", "depth": "d", "label": "l"}]', "and recording"),
    ],
)
def test_an_index_that_is_none_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "list.json").write_bytes(content)
    with pytest.raises(DatasetError, match=reason):
        read_index(tmp_path / "list.json")


@pytest.mark.parametrize("name", ["none.json", ""])
def test_an_index_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match="cannot be read as an index"):
        read_index(tmp_path / name)


def test_missing_files_are_counted_before_training_begins(folder: Path) -> None:
    (folder / "depth/train_1.png").unlink()
    (folder / "label/train_2.png").unlink()
    with pytest.raises(DatasetError, match=r"names 2 files that do not exist, the first is .*depth/train_1\.png"):
        read_index(folder / "train.json")


@pytest.mark.parametrize(
    ("kind", "image", "found"),
    [
        ("depth", np.zeros((4, 5), np.uint8), r"\(4, 5\) uint8"),
        ("depth", np.zeros((4, 5, 3), np.uint16), r"\(4, 5, 3\) uint16"),
        ("label", np.zeros((4, 5), np.uint16), r"\(4, 5\) uint16"),
        ("label", np.zeros((4, 5, 3), np.uint8), r"\(4, 5, 3\) uint8"),
        ("color", None, "no image"),
        ("depth", None, "no image"),
    ],
)
def test_an_image_of_another_kind_is_refused(tmp_path: Path, kind: str, image: Any, found: str) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(b"no png" if image is None else cv2.imencode(".png", image)[1].tobytes())
    with pytest.raises(DatasetError, match=f"expected a {kind} image, found {found}"):
        read_image(path, kind)


def test_images_of_one_instant_must_have_one_size(folder: Path) -> None:
    sample = read_index(folder / "train.json")[0]
    cv2.imwrite(str(sample.images["depth"]), np.zeros((30, 40), np.uint16))
    with pytest.raises(DatasetError, match=r"train_0\.png is \(30, 40\), its label \(64, 96\): register them"):
        read_sample(sample)


def test_an_orientation_tag_turns_nothing_as_depth_and_labels_have_none(tmp_path: Path) -> None:
    color = np.zeros((16, 32, 3), np.uint8)
    color[:, :16] = 255
    jpeg = cv2.imencode(".jpg", color)[1].tobytes()
    quarter_turn = struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
    segment = b"Exif\0\0" + quarter_turn
    tagged = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]
    (tmp_path / "tagged.jpg").write_bytes(tagged)
    assert cv2.imread(str(tmp_path / "tagged.jpg")).shape == (32, 16, 3)
    np.testing.assert_array_equal(read_image(tmp_path / "tagged.jpg", "color"), color)


def test_the_shared_rooms_are_such_a_data_set(shared: Path) -> None:
    index = shared / "rooms" / "val.json"
    if not index.exists():
        pytest.skip("needs the rooms in ../shared (or in the folder that M3L_SHARED names)")
    samples = read_index(index)
    assert len({sample.recording for sample in samples}) > 1
    images, label = read_sample(samples[0])
    assert images["color"].shape == (240, 320, 3)
    assert images["depth"].dtype == np.uint16
    assert set(np.unique(label)) <= {*range(13), 255}
