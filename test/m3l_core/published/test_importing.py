"""Published sets become data folders: whole, resumed, shrunk, cut; or nothing is touched."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.published import Pixels, random_color, read, write, write_stanford

from m3l_core.datasets.folder import read_index, read_sample
from m3l_core.errors import DatasetError
from m3l_core.files import replacing_file
from m3l_core.labels import LabelSet
from m3l_core.modalities import ColorModality, DepthModality, HeightModality
from m3l_core.published.frame_writer import Shape, tile_starts, write_frame
from m3l_core.published.importing import IMPORTERS, LABELS_FILE, read_published, write_folder
from m3l_core.published.layout import Frame, PublishedSet, read_color, read_surface, to_millimetres
from m3l_core.published.stanford_indoor import LABELS

SIZE = (6, 8)
MODALITIES = (ColorModality(), DepthModality(), HeightModality())


def pixels(of: Pixels) -> Pixels:
    """A picture that is read by a function."""
    return of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_stanford(tmp_path / "2d3ds")


@pytest.fixture
def published(root: Path) -> PublishedSet:
    return read_published("stanford_indoor", root)


def files(output: Path) -> dict[str, int]:
    """Name -> when it was written."""
    return {str(path.relative_to(output)): path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}


def test_the_folder_is_what_training_reads(published: PublishedSet, tmp_path: Path) -> None:
    output = tmp_path / "out"
    steps = []
    imported = write_folder(published, output, Shape(), advance=lambda: steps.append(1))
    assert len(steps) == len(published.frames) == 8
    assert {path.name for path in output.glob("*.json")} == {
        f"fold{fold}_{part}.json" for fold in (1, 2, 3) for part in ("train", "test")
    }
    for split, entries in imported.indexes.items():
        samples = read_index(output / f"{split}.json")
        assert len(samples) == len(entries)
        for sample in samples:
            images, label = read_sample(sample)
            assert images["color"].shape == (*SIZE, 3)
            assert label is not None
            assert label.shape == images["depth"].shape == SIZE


def test_labels_yaml_holds_what_a_recipe_takes(published: PublishedSet, tmp_path: Path) -> None:
    write_folder(published, tmp_path / "out", Shape(max_side=100))
    content = yaml.safe_load((tmp_path / "out" / LABELS_FILE).read_text())
    assert LabelSet.model_validate(content["labels"]) == LABELS
    assert [entry["kind"] for entry in content["modalities"]] == ["color", "depth"]
    assert content["source"] == {"dataset": "stanford_indoor", "tile": None, "overlap": 0, "max_side": 100}


def test_color_is_the_same_file(published: PublishedSet, root: Path, tmp_path: Path) -> None:
    write_folder(published, tmp_path / "out", Shape())
    for path in (tmp_path / "out/color").rglob("*.png"):
        (source,) = root.rglob(f"{path.stem}_rgb.png")
        assert path.samefile(source)


def test_where_links_are_not_possible_color_is_copied(
    published: PublishedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError("another device")

    monkeypatch.setattr(os, "link", refuse)
    write_folder(published, tmp_path / "out", Shape())
    copies = sorted((tmp_path / "out/color").rglob("*.png"))
    assert len(copies) == 8
    assert all(path.stat().st_nlink == 1 for path in copies)


def test_the_original_outlives_the_import(published: PublishedSet, root: Path, tmp_path: Path) -> None:
    """The other way round as well: a linked picture is there when the published set is deleted."""
    write_folder(published, tmp_path / "out", Shape())
    shutil.rmtree(root)
    images, _ = read_sample(read_index(tmp_path / "out/fold1_test.json")[0])
    assert images["color"].any()


@pytest.mark.parametrize("shape", [Shape(), Shape(max_side=4), Shape(tile=4, overlap=1)])
def test_an_interrupted_import_goes_on_and_keeps_what_is_there(
    published: PublishedSet, tmp_path: Path, shape: Shape
) -> None:
    output = tmp_path / "out"

    def stop() -> None:
        if len(list((output / "label").rglob("*.png"))) >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder(published, output, shape, advance=stop)
    before = files(output)
    assert not any(name.endswith(".json") for name in before)
    write_folder(published, output, shape)
    after = files(output)
    assert before.items() <= after.items()
    undisturbed = tmp_path / "undisturbed"
    write_folder(published, undisturbed, shape)
    assert set(files(undisturbed)) == set(after)
    assert all((output / name).read_bytes() == (undisturbed / name).read_bytes() for name in after)


def test_a_second_import_reads_no_picture(published: PublishedSet, root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    write_folder(published, output, Shape(max_side=4))
    before = files(output)
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    write_folder(published, output, Shape(max_side=4))
    assert {name: time for name, time in files(output).items() if not name.endswith(".json")} == {
        name: time for name, time in before.items() if not name.endswith(".json")
    }


def test_several_processes_write_the_same(published: PublishedSet, tmp_path: Path) -> None:
    for workers in (1, 2):
        write_folder(published, tmp_path / str(workers), Shape(tile=4), workers)
    one, two = tmp_path / "1", tmp_path / "2"
    assert set(files(one)) == set(files(two))
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in files(one))


def test_broken_frames_are_told_when_the_others_are_written(
    published: PublishedSet, root: Path, tmp_path: Path
) -> None:
    broken = sorted(root.rglob("*_depth.png"))[2]
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    output = tmp_path / "out"
    with pytest.raises(DatasetError, match=r"1 of 8 frames cannot be imported, the first: area_4/.*as an image"):
        write_folder(published, output, Shape())
    assert len(list((output / "label").rglob("*.png"))) >= 7
    assert not list(output.glob("*.json"))
    imported = write_folder(published, output, Shape(), skip_broken=True)
    assert len(imported.indexes["fold1_train"]) == 3
    assert len(imported.broken) == 1
    broken.write_bytes(whole)
    assert len(write_folder(published, output, Shape()).indexes["fold1_train"]) == 4


def test_a_full_disk_is_no_broken_frame(
    published: PublishedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        if path.suffix == ".png":
            raise OSError(28, "No space left on device")
        return replacing_file(path)  # type: ignore[return-value]

    monkeypatch.setattr("m3l_core.published.frame_writer.replacing_file", full)
    with pytest.raises(DatasetError, match=r"out cannot be written: .*No space left.*the same command goes on"):
        write_folder(published, tmp_path / "out", Shape(), skip_broken=True)


@pytest.mark.parametrize(
    ("fill", "reason"),
    [
        (lambda output: write(output / "mine.png", random_color(0)), "holds something else"),
        (lambda output: output.write_text("a file"), "holds something else"),
        (
            lambda output: write(output / "a.png", random_color(0)).with_name(LABELS_FILE).write_text("labels: 3"),
            "does not say",
        ),
        (
            lambda output: write(output / "a.png", random_color(0)).with_name(LABELS_FILE).write_text("{"),
            "does not say",
        ),
    ],
)
def test_a_folder_with_something_else_is_left_alone(
    published: PublishedSet, tmp_path: Path, fill: Callable[[Path], object], reason: str
) -> None:
    output = tmp_path / "out"
    fill(output)
    before = files(output)
    with pytest.raises(DatasetError, match=reason):
        write_folder(published, output, Shape())
    assert files(output) == before


def test_a_folder_begun_with_another_shape_or_set_is_left_alone(published: PublishedSet, tmp_path: Path) -> None:
    output = tmp_path / "out"
    write_folder(published, output, Shape(max_side=4))
    before = files(output)
    for other, shape in ((published, Shape()), (replace(published, name="sun_rgbd"), Shape(max_side=4))):
        with pytest.raises(DatasetError, match=r"was begun as .*'max_side': 4.*choose another folder"):
            write_folder(other, output, shape)
    assert files(output) == before


def test_a_place_that_cannot_be_written_is_told(published: PublishedSet, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="file/out cannot be written: "):
        write_folder(published, tmp_path / "file" / "out", Shape())


def frame(color: Path, depth: Pixels, height: Pixels, label: Pixels) -> Frame:
    images = {"color": color, "depth": partial(pixels, depth), "height": partial(pixels, height)}
    return Frame("a/b", "recording", ("train",), images, partial(pixels, label))


def coordinates(size: tuple[int, int]) -> tuple[Pixels, Pixels, Pixels]:
    """Depth, height and label that tell rows and columns."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    return (
        (100 * rows + columns + 1).astype(np.uint16),
        (rows - 0.5 * columns).astype(np.float32),
        columns.astype(np.uint8),
    )


def test_shrunk_pictures_hold_only_values_that_were_there(tmp_path: Path) -> None:
    size = (30, 40)
    color = write(tmp_path / "a.jpg", np.full((*size, 3), (200, 100, 50), np.uint8))
    depth, height, label = coordinates(size)
    (entry,) = write_frame(frame(color, depth, height, label), MODALITIES, tmp_path / "out", Shape(max_side=10))
    assert entry == {
        "color": "color/a/b.jpg",
        "depth": "depth/a/b.png",
        "height": "height/a/b.tif",
        "label": "label/a/b.png",
        "recording": "recording",
    }
    shrunk = {name: read(tmp_path / "out" / str(entry[name])) for name in ("color", "depth", "height", "label")}
    assert abs(shrunk["color"].astype(int) - (200, 100, 50)).max() <= 3
    for name, original in (("depth", depth), ("height", height), ("label", label)):
        assert shrunk[name].shape == (8, 10)
        assert shrunk[name].dtype == original.dtype
        assert set(shrunk[name].flat) <= set(original.flat)
    # All three take the same pixels.
    np.testing.assert_array_equal(shrunk["depth"] % 100 - 1, shrunk["label"])
    np.testing.assert_array_equal(shrunk["height"], shrunk["depth"] // 100 - 0.5 * shrunk["label"])


def test_what_is_small_enough_stays_as_it_is(tmp_path: Path) -> None:
    color = write(tmp_path / "a.png", random_color(0, (5, 7)))
    (entry,) = write_frame(frame(color, *coordinates((5, 7))), MODALITIES, tmp_path / "out", Shape(max_side=7))
    np.testing.assert_array_equal(read(tmp_path / "out" / str(entry["color"])), random_color(0, (5, 7)))


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 100), st.integers(0, 99))
def test_tiles_cover_everything_and_lie_inside(length: int, tile: int, overlap: int) -> None:
    if overlap >= tile:
        with pytest.raises(DatasetError, match="overlap must be"):
            Shape(tile=tile, overlap=overlap)
        return
    starts = tile_starts(length, tile, overlap)
    assert starts == sorted(set(starts))
    assert starts[0] == 0
    assert starts[-1] + tile >= length
    assert all(start + tile <= length for start in starts) or starts == [0]
    assert all(after - before <= tile - overlap for before, after in pairwise(starts))


def test_tiles_are_cut_then_shrunk(tmp_path: Path) -> None:
    color = write(tmp_path / "a.png", random_color(0, (10, 16)))
    shape = Shape(tile=8, max_side=4)
    entries = write_frame(frame(color, *coordinates((10, 16))), MODALITIES, tmp_path / "out", shape)
    assert [entry["label"] for entry in entries] == [f"label/a/b_{top}_{left}.png" for top in (0, 2) for left in (0, 8)]
    assert {read(tmp_path / "out" / str(entry["depth"])).shape for entry in entries} == {(4, 4)}
    assert read(tmp_path / "out" / str(entries[3]["depth"]))[0, 0] == 100 * 2 + 8 + 1


@pytest.mark.parametrize(("short", "fits"), [((0, 1), True), ((2, 0), True), ((0, 3), False)])
def test_a_row_or_a_column_that_is_short_becomes_invalid(tmp_path: Path, short: tuple[int, int], fits: bool) -> None:
    color = write(tmp_path / "a.png", random_color(0, (10, 12)))
    pictures = coordinates((10 - short[0], 12 - short[1]))
    if not fits:
        with pytest.raises(DatasetError, match=r"sizes differ: .*'color': \(10, 12\), 'depth': \(10, 9\)"):
            write_frame(frame(color, *pictures), MODALITIES, tmp_path / "out", Shape(tile=20))
        return
    (entry,) = write_frame(frame(color, *pictures), MODALITIES, tmp_path / "out", Shape(tile=20))
    outside = np.ones((10, 12), np.bool_)
    outside[: 10 - short[0], : 12 - short[1]] = False
    for name, invalid in (("depth", 0), ("label", 255), ("height", np.nan)):
        written = read(tmp_path / "out" / str(entry[name]))
        np.testing.assert_array_equal(written[outside], np.full(outside.sum(), invalid))
        assert written[0, 0] != invalid


def test_a_color_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    color = write(tmp_path / "a.png", random_color(0, (9, 12)))
    with pytest.raises(DatasetError, match="sizes differ"):
        write_frame(frame(color, *coordinates((10, 12))), MODALITIES, tmp_path / "out", Shape(tile=20))


@pytest.mark.parametrize("values", [{"tile": 0}, {"max_side": 0}, {"overlap": 1}, {"tile": 4, "overlap": -1}])
def test_an_impossible_shape_is_refused(values: dict[str, int]) -> None:
    with pytest.raises(DatasetError, match="must be"):
        Shape(**values)


def test_a_set_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no set 'nyu'; the sets are deliver, dfc2023, nyuv2, "):
        read_published("nyu", tmp_path)


@pytest.mark.parametrize("name", sorted(IMPORTERS))
def test_every_set_refuses_an_empty_folder_and_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match=r"expected .*; found nothing"):
        read_published(name, tmp_path)
    with pytest.raises(DatasetError, match="nowhere is no folder"):
        read_published(name, tmp_path / "nowhere")


def test_depth_in_millimetres_ends_where_16_bits_do() -> None:
    depth_m = np.array([[0.0001, 1.2345, 65.6, 900.0, np.nan, 3.0]])
    valid = np.array([[True, True, True, True, False, False]])
    assert to_millimetres(depth_m, valid).tolist() == [[1, 1234, 65535, 65535, 0, 0]]


def test_pictures_of_other_kinds_are_refused(tmp_path: Path) -> None:
    deep = write(tmp_path / "deep.png", np.zeros((2, 2, 3), np.uint16))
    with pytest.raises(DatasetError, match="expected 8-bit pixels, found uint16"):
        read_color(deep)
    with pytest.raises(DatasetError, match=r"expected \(H, W\) float32 heights, found \(2, 2, 3\) uint16"):
        read_surface(deep)
    (tmp_path / "none.png").write_bytes(b"none")
    with pytest.raises(DatasetError, match="cannot be read as an image"):
        read_color(tmp_path / "none.png")


def test_numbers_that_stand_for_no_height_become_nan(tmp_path: Path) -> None:
    stored: NDArray[np.float32] = np.array([[-9999.0, -3.4e38, np.nan, -400.0, 0.0, 8848.0]], np.float32)
    heights = read_surface(write(tmp_path / "dsm.tif", stored))
    np.testing.assert_array_equal(heights, np.array([[np.nan, np.nan, np.nan, -400.0, 0.0, 8848.0]], np.float32))


def test_color_pictures_come_with_one_three_or_four_channels(tmp_path: Path) -> None:
    color = random_color(3)
    np.testing.assert_array_equal(read_color(write(tmp_path / "rgb.png", color)), color)
    opaque = np.dstack([color, np.full(SIZE, 7, np.uint8)])
    np.testing.assert_array_equal(read_color(write(tmp_path / "rgba.png", opaque)), color)
    gray = color[..., 0]
    np.testing.assert_array_equal(
        read_color(write(tmp_path / "gray.png", gray)), np.repeat(gray[..., None], 3, axis=-1)
    )


def test_indexes_are_json_lists_of_relative_paths(published: PublishedSet, tmp_path: Path) -> None:
    write_folder(published, tmp_path / "out", Shape())
    entries = json.loads((tmp_path / "out/fold2_test.json").read_text())
    assert all(not Path(entry["color"]).is_absolute() for entry in entries)
    (tmp_path / "out").rename(tmp_path / "moved")
    assert len(read_index(tmp_path / "moved/fold2_test.json")) == 2
