"""Potsdam and Vaihingen in miniature: orthophotos and heights in tiles, labels by color."""

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
from m3l_core.published.isprs import LABELS, POTSDAM, VAIHINGEN, read_label

SIZE = (20, 30)
WHITE, BLUE, BLACK = (255, 255, 255), (0, 0, 255), (0, 0, 0)


def heights(seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).uniform(250, 300, SIZE).astype(np.float32)


def picture(color: tuple[int, int, int], eroded: bool) -> np.ndarray[Any, Any]:
    pixels = np.full((*SIZE, 3), color, np.uint8)
    if eroded:
        pixels[:, :2] = BLACK
    return pixels


@pytest.fixture
def potsdam(tmp_path: Path) -> Path:
    root = tmp_path / "Potsdam"
    for number, area in enumerate(("2_10", "6_7", "2_13")):
        row, column = area.split("_")
        write(root / f"2_Ortho_RGB/top_potsdam_{area}_RGB.tif", random_color(number, SIZE))
        height = heights(number)
        height[0, 0] = -9999.0
        if area == "2_13":
            height = height[:, :-1]  # one of the published grids is a column short
        write(root / f"1_DSM/dsm_potsdam_{int(row):02}_{int(column):02}.tif", height)
        write(root / f"5_Labels_all/top_potsdam_{area}_label.tif", picture(WHITE, False))
        write(root / f"5_Labels_all_noBoundary/top_potsdam_{area}_label_noBoundary.tif", picture(BLUE, True))
    return root


@pytest.fixture
def vaihingen(tmp_path: Path) -> Path:
    root = tmp_path / "Vaihingen"
    for number, area in enumerate((1, 2)):
        write(root / f"top/top_mosaic_09cm_area{area}.tif", random_color(number, SIZE))
        write(root / f"dsm/dsm_09cm_matching_area{area}.tif", heights(number))
        write(root / f"gts_complete/top_mosaic_09cm_area{area}.tif", picture(WHITE, False))
        write(root / f"gts_eroded/top_mosaic_09cm_area{area}_noBoundary.tif", picture(BLUE, True))
    return root


def entries(output: Path, split: str) -> list[dict[str, str]]:
    content: list[dict[str, str]] = json.loads((output / f"{split}.json").read_text())
    return content


def test_tiles_hold_the_same_pixels_of_every_picture(potsdam: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    write_folder(read_published("potsdam", potsdam), output, Shape(tile=10, overlap=2))
    train = entries(output, "train")
    assert {entry["recording"] for entry in train} == {"area_2_10", "area_6_7"}
    corners = [(top, left) for top in (0, 8, 10) for left in (0, 8, 16, 20)]
    first = [entry for entry in train if entry["recording"] == "area_2_10"]
    assert [entry["color"] for entry in first] == [f"color/area_2_10_{top}_{left}.png" for top, left in corners]
    expected = heights(0)
    expected[0, 0] = np.nan
    for (top, left), entry in zip(corners, first, strict=True):
        place = slice(top, top + 10), slice(left, left + 10)
        np.testing.assert_array_equal(read(output / entry["color"]), random_color(0, SIZE)[place])
        np.testing.assert_array_equal(read(output / entry["height"]), expected[place])
        assert (read(output / entry["label"]) == LABELS.names.index("impervious_surface")).all()


@pytest.mark.parametrize(("split", "counted"), [("test", 1), ("train", 2)])
def test_where_tiles_overlap_a_test_pixel_counts_once(potsdam: Path, tmp_path: Path, split: str, counted: int) -> None:
    output = tmp_path / "out"
    write_folder(read_published("potsdam", potsdam), output, Shape(tile=12))
    first = entries(output, split)[0]["recording"]
    seen = np.zeros(SIZE, int)
    for entry in entries(output, split):
        if entry["recording"] == first:
            top, left = map(int, Path(entry["label"]).stem.split("_")[-2:])
            seen[top : top + 12, left : left + 12] += read(output / entry["label"]) != 255
    assert (seen[8:12, 2:18] == counted).all()
    assert (seen[:8, 2:18] == 1).all()


def test_testing_is_without_boundaries_and_a_short_grid_of_heights_is_filled_with_none(
    potsdam: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    write_folder(read_published("potsdam", potsdam), output, Shape(tile=100))
    (entry,) = entries(output, "test")
    label = read(output / entry["label"])
    assert label.shape == SIZE
    assert (label[:, :2] == 255).all()
    assert (label[:, 2:] == LABELS.names.index("building")).all()
    height = read(output / entry["height"])
    assert height.shape == SIZE
    assert np.isnan(height[:, -1]).all()
    np.testing.assert_array_equal(height[1:, :-1], heights(2)[1:, :-1])


def test_heights_of_another_size_are_refused(potsdam: Path, tmp_path: Path) -> None:
    write(potsdam / "1_DSM/dsm_potsdam_02_10.tif", np.zeros((10, 15), np.float32))
    with pytest.raises(DatasetError, match=r"1 of 3 frames .*area_2_10: sizes differ: .*'height': \(10, 15\)"):
        write_folder(read_published("potsdam", potsdam), tmp_path / "out", Shape(tile=10))


def test_vaihingen_tells_orthophotos_from_labels_by_their_folder(vaihingen: Path, tmp_path: Path) -> None:
    published = read_published("vaihingen", vaihingen)
    assert published.tile == 512
    output = tmp_path / "out"
    write_folder(published, output, Shape(tile=100))
    (train,), (test,) = entries(output, "train"), entries(output, "test")
    np.testing.assert_array_equal(read(output / train["color"]), random_color(0, SIZE))
    assert (read(output / train["label"]) == 0).all()
    assert set(np.unique(read(output / test["label"]))) == {1, 255}
    np.testing.assert_array_equal(read(output / test["height"]), heights(1))


def test_areas_without_labels_or_heights_stay(vaihingen: Path) -> None:
    for file in vaihingen.glob("gts_*/*area2*"):
        file.unlink()
    (vaihingen / "dsm/dsm_09cm_matching_area1.tif").unlink()
    first, second = read_published("vaihingen", vaihingen).frames
    assert "height" not in first.images
    assert second.label is None


def test_the_benchmarks_areas() -> None:
    assert len(POTSDAM.training) == 24
    assert len(VAIHINGEN.training) == 16


def test_a_channel_counts_as_full_from_its_middle_on(tmp_path: Path) -> None:
    """One published label picture was compressed with loss, in another most cars are (252, 255, 0)."""
    colors = [entry.color for entry in LABELS.classes]
    pixels = np.array([[*colors, BLACK, (252, 255, 0), (9, 222, 221), (225, 227, 227)]], np.uint8)
    label = read_label(write(tmp_path / "label.tif", pixels))
    assert label.tolist() == [[0, 1, 2, 3, 4, 5, 255, 4, 2, 0]]


def test_a_picture_with_magenta_is_no_label(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="4 pixels are magenta"):
        read_label(write(tmp_path / "label.tif", np.full((2, 2, 3), (250, 20, 240), np.uint8)))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("potsdam", r"orthophotos top_potsdam_N_N_RGB\.tif and labels .*; found 2_Ortho_RGB\.zip"),
        ("vaihingen", r"orthophotos top/top_mosaic_09cm_areaN\.tif and labels"),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "2_Ortho_RGB.zip").write_bytes(b"")
    with pytest.raises(DatasetError, match=reason):
        read_published(name, tmp_path)


def test_potsdam_is_not_vaihingen(potsdam: Path) -> None:
    with pytest.raises(DatasetError, match="expected orthophotos top/top_mosaic"):
        read_published("vaihingen", potsdam)


def test_a_set_without_any_heights_is_refused(potsdam: Path) -> None:
    for file in potsdam.glob("1_DSM/*"):
        file.rename(file.with_suffix(".jpg"))
    with pytest.raises(DatasetError, match="height of 3 frames, but none of them has it"):
        read_published("potsdam", potsdam)
