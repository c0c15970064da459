"""Pictures of a frame are written whole, shrunk or cut, in one size; or the frame is refused."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.published import Pixels, random_color, read, write

from m3l_core.errors import DatasetError
from m3l_core.modalities import ColorModality, DepthModality, HeightModality
from m3l_core.published.frame_writer import Shape, tile_starts, write_frame
from m3l_core.published.layout import Frame

MODALITIES = (ColorModality(), DepthModality(), HeightModality())


def pixels(of: Pixels) -> Pixels:
    """A picture that is read by a function."""
    return of


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


@pytest.mark.parametrize("shape", [Shape(), Shape(tile=20), Shape(max_side=10)])
def test_a_frame_whose_sizes_differ_or_whose_picture_is_broken_is_not_written(tmp_path: Path, shape: Shape) -> None:
    color = write(tmp_path / "a.png", random_color(0, (10, 12)))
    with pytest.raises(DatasetError, match=r"sizes differ: .*'color': \(10, 12\), 'depth': \(10, 9\)"):
        write_frame(frame(color, *coordinates((10, 9))), MODALITIES, tmp_path / "out", shape)
    color.write_bytes(b"broken")
    with pytest.raises(DatasetError, match=r"a\.png cannot be read as an image"):
        write_frame(frame(color, *coordinates((10, 12))), MODALITIES, tmp_path / "out", shape)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("shape", [Shape(), Shape(tile=20)])
@pytest.mark.parametrize(("short", "fits"), [((0, 1), True), ((2, 0), True), ((0, 3), False)])
def test_a_row_or_a_column_that_is_short_becomes_invalid(
    tmp_path: Path, short: tuple[int, int], fits: bool, shape: Shape
) -> None:
    color = write(tmp_path / "a.png", random_color(0, (10, 12)))
    pictures = coordinates((10 - short[0], 12 - short[1]))
    if not fits:
        with pytest.raises(DatasetError, match=r"sizes differ: .*'color': \(10, 12\), 'depth': \(10, 9\)"):
            write_frame(frame(color, *pictures), MODALITIES, tmp_path / "out", shape)
        return
    (entry,) = write_frame(frame(color, *pictures), MODALITIES, tmp_path / "out", shape)
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
