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

from m3l_core.datasets.folder import Sample, kind_of, parse_index, read_image, read_index, read_sample
from m3l_core.errors import DatasetError
from m3l_core.modalities import DepthModality, HeightModality, IntensityModality


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
    with pytest.raises(DatasetError, match="entry 0 needs color, depth and recording"):
        read_index(index)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot be read as an index"),
        (b"{broken", "cannot be read as an index"),
        (b"\xff\xfe\x00", "cannot be read as an index"),
        (b"{}", "expected a JSON list"),
        (b"[]", "expected a JSON list"),
        (b"[3]", "entry 0 should be a mapping, got 3"),
        (b'[{"color": 1, "depth": "d", "label": "l", "recording": "r"}]', "entry 0 needs"),
        (b'[{"color": "c", "depth": "d", "label": 2, "recording": "r"}]', "entry 0 needs"),
        (b'[{"color": "c", "depth": "d", "label": "l"}]', "and recording"),
        (b'[{"color": null, "depth": null, "recording": "r"}]', "entry 0 has none of color, depth"),
    ],
)
def test_an_index_that_is_none_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "list.json").write_bytes(content)
    with pytest.raises(DatasetError, match=reason):
        read_index(tmp_path / "list.json")


def test_what_was_missing_at_an_instant_is_not_in_its_sample(folder: Path) -> None:
    content = entries(folder)
    content[0]["depth"] = None
    content[1]["color"] = None
    content[2]["label"] = None
    del content[1]["label"]
    samples = read_index(rewrite(folder, content))
    assert [sorted(sample.images) for sample in samples] == [["color"], ["depth"], ["color", "depth"]]
    assert [sample.label is None for sample in samples] == [False, True, True]
    images, label = read_sample(samples[1])
    assert list(images) == ["depth"]
    assert label is None
    with pytest.raises(DatasetError, match="entry 1 has none of color"):
        read_index(folder / "train.json", ("color",))


@pytest.mark.parametrize("name", ["none.json", ""])
def test_an_index_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match="cannot be read as an index"):
        read_index(tmp_path / name)


def test_an_index_can_be_read_without_its_files(folder: Path) -> None:
    known = read_index(folder / "train.json")
    (folder / "depth/train_1.png").unlink()
    assert parse_index(folder / "train.json") == known


def test_missing_files_are_counted_before_training_begins(folder: Path) -> None:
    (folder / "depth/train_1.png").unlink()
    (folder / "label/train_2.png").unlink()
    with pytest.raises(DatasetError, match=r"names 2 files that do not exist, the first is .*depth/train_1\.png"):
        read_index(folder / "train.json")


@pytest.mark.parametrize("depth", [np.full((4, 5), 1234, np.uint16), np.full((4, 5), 1.5, np.float32)])
def test_distances_are_millimetres_or_metres(tmp_path: Path, depth: Any) -> None:
    path = tmp_path / ("image.png" if depth.dtype == np.uint16 else "image.tif")
    assert cv2.imwrite(str(path), depth)
    for modality in (DepthModality(), HeightModality()):
        np.testing.assert_array_equal(read_image(path, kind_of(modality)), depth)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_intensity_keeps_its_counts(tmp_path: Path, dtype: Any) -> None:
    image = np.arange(20, dtype=dtype).reshape(4, 5)
    assert cv2.imwrite(str(tmp_path / "image.png"), image)
    read = read_image(tmp_path / "image.png", kind_of(IntensityModality()))
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, image)


@pytest.mark.parametrize(
    ("kind", "image", "found"),
    [
        ("depth", np.zeros((4, 5), np.uint8), r"\(4, 5\) uint8"),
        ("depth", np.zeros((4, 5, 3), np.uint16), r"\(4, 5, 3\) uint16"),
        ("intensity", np.zeros((4, 5, 3), np.uint8), r"\(4, 5, 3\) uint8"),
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
    with pytest.raises(DatasetError, match=r"differ in size, register them: .*train_0\.png': \(30, 40\)"):
        read_sample(sample)


def test_labels_must_be_classes_where_their_number_is_known(folder: Path) -> None:
    sample = read_index(folder / "train.json")[0]
    read_sample(sample, num_classes=3)
    with pytest.raises(DatasetError, match=r"has the class id 2, but there are 2 classes: expected 0 to 1, and 255"):
        read_sample(sample, num_classes=2)


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


def written_index(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    entry = {"color": "color/1.png", "depth": None, "recording": "hall"} | files
    (folder / "train.json").write_text(json.dumps([entry]))
    return folder / "train.json"


@pytest.mark.parametrize("field", ["color", "label"])
@pytest.mark.parametrize(
    "name", ["../1.png", "/etc/hostname", "color/../../1.png", "link/1.png", "linked.png", "round"]
)
def test_an_index_names_no_file_outside_of_its_folder(tmp_path: Path, field: str, name: str) -> None:
    outside = tmp_path / "1.png"
    outside.touch()
    index = written_index(tmp_path / "data", **{field: name})
    (index.parent / "link").symlink_to(tmp_path)
    (index.parent / "linked.png").symlink_to(outside)
    (index.parent / "round").symlink_to("round")
    with pytest.raises(DatasetError, match=r"names 1 files outside of its folder.*--files-anywhere"):
        parse_index(index)
    assert len(parse_index(index, anywhere=True)) == 1


def test_links_may_lead_to_the_index_and_within_its_folder(tmp_path: Path) -> None:
    index = written_index(tmp_path / "real", color="link/1.png")
    (tmp_path / "real/color").mkdir()
    (tmp_path / "real/color/1.png").touch()
    (tmp_path / "real/link").symlink_to("color")
    (tmp_path / "seen").symlink_to("real")
    assert len(read_index(index)) == len(read_index(tmp_path / "seen/train.json")) == 1


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "x/" * 3000])
def test_a_name_that_no_file_can_have_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match=r"train\.json names 1 files"):
        read_index(written_index(tmp_path, color=name))


@pytest.mark.parametrize("text", ["[" * 100_000, "\xff", "{}", "[]", "[5]"])
def test_what_is_no_index_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "train.json").write_text(text, encoding="latin-1")
    with pytest.raises(DatasetError, match=r"train\.json"):
        read_index(tmp_path / "train.json")


def test_a_picture_of_too_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((9000, 9000), np.uint8))
    with pytest.raises(DatasetError, match="9000 x 9000 pixels, more than the 64000000"):
        read_image(tmp_path / "a.png", "label")


@pytest.mark.parametrize("told", [0, -60, 1e400, "300", True, [300]])
def test_a_focal_length_is_pixels(tmp_path: Path, told: Any) -> None:
    index = tmp_path / "index.json"
    index.write_text(json.dumps([{"color": "a.png", "depth": None, "recording": "r", "fx": told}]))
    with pytest.raises(DatasetError, match=r"entry 0: its fx should be a focal length in pixels, got"):
        parse_index(index)
