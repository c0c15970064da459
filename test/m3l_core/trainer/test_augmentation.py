"""One geometry for color, depth and labels: images that hold their own coordinates tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from m3l_core.labels import IGNORE
from m3l_core.modalities import ColorModality, DepthModality, HeightModality
from m3l_core.preprocessing import normalize
from m3l_core.trainer.augmentation import View

SIZE = (40, 60)
ROWS, COLUMNS = np.mgrid[: SIZE[0], : SIZE[1]]
Seen = tuple[NDArray[Any], NDArray[Any], NDArray[np.uint8]]


def view(
    seed: int, crop: tuple[int, int], scale: tuple[float, float], flip: float = 0.5, size: tuple[int, int] = SIZE
) -> Seen:
    """Red is 4 * row + 4, green is 4 * column + 4; depth is 100 * row + column + 1; the label is the column."""
    rows, columns = ROWS[: size[0], : size[1]], COLUMNS[: size[0], : size[1]]
    color = np.stack([4 * rows + 4, 4 * columns + 4, np.full_like(rows, 255)], axis=-1).astype(np.uint8)
    depth = (100 * rows + columns + 1).astype(np.uint16)
    label = columns.astype(np.uint8)
    drawn = View.draw(size, crop, scale, flip, np.random.default_rng(seed))
    seen = drawn.of_image(ColorModality(), color), drawn.of_image(DepthModality(), depth), drawn.of_label(label)
    assert np.array_equal(drawn.inside(), seen[2] != IGNORE)
    return seen


CROPS = st.tuples(st.integers(1, 90), st.integers(1, 130))
SCALES = st.tuples(st.floats(0.3, 2.5), st.floats(0.3, 2.5)).map(lambda pair: (min(pair), max(pair)))
SEEDS = st.integers(0, 2**32)


@settings(deadline=None)
@given(SEEDS, CROPS, SCALES)
def test_color_depth_and_labels_show_the_same_pixels(
    seed: int, crop: tuple[int, int], scale: tuple[float, float]
) -> None:
    color, depth, label = view(seed, crop, scale)
    assert color.shape == (*crop, 3)
    assert depth.shape == label.shape == crop
    assert (color.dtype, depth.dtype, label.dtype) == (np.uint8, np.uint16, np.uint8)
    inside = label != IGNORE
    assert np.array_equal(inside, depth > 0)
    assert np.array_equal(inside, color.any(axis=-1))
    seen_rows, seen_columns = np.divmod(depth[inside].astype(int) - 1, 100)
    assert np.array_equal(seen_columns, label[inside])
    # Color is blended from pixels around the one that depth takes.
    reach = 4 * (1 + 1 / scale[0])
    assert (abs(color[..., 0][inside] - 4.0 - 4 * seen_rows) <= reach).all()
    assert (abs(color[..., 1][inside] - 4.0 - 4 * seen_columns) <= reach).all()


@settings(deadline=None)
@given(SEEDS, CROPS, SCALES)
def test_the_same_seed_gives_the_same_view(seed: int, crop: tuple[int, int], scale: tuple[float, float]) -> None:
    for one, other in zip(view(seed, crop, scale), view(seed, crop, scale), strict=True):
        assert np.array_equal(one, other)
        assert one.flags.c_contiguous


def test_other_seeds_give_other_views() -> None:
    assert len({view(seed, (16, 16), (0.5, 2.0))[1].tobytes() for seed in range(20)}) == 20


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_beyond_the_image_everything_is_padding(flip: float) -> None:
    color, depth, label = view(0, (50, 80), (1.0, 1.0), flip)
    if flip:
        color, depth, label = color[:, ::-1], depth[:, ::-1], label[:, ::-1]
    assert np.array_equal(label[:40, :60], COLUMNS)
    for image, outside in ((color, 0), (depth, 0), (label, IGNORE)):
        assert (image[40:] == outside).all()
        assert (image[:, 60:] == outside).all()


def test_flip_is_the_share_of_mirrored_views() -> None:
    mirrored = [bool(np.diff(view(seed, SIZE, (1.0, 1.0), 0.25)[2][0].astype(int)).sum() < 0) for seed in range(400)]
    assert 0.15 < sum(mirrored) / 400 < 0.35
    assert not any(np.diff(view(seed, SIZE, (1.0, 1.0), 0.0)[2][0].astype(int)).sum() < 0 for seed in range(50))


@pytest.mark.parametrize("scale", [(0.5, 2.0), (0.25, 0.25), (1.0, 1.5)])
def test_scales_stay_in_their_range_and_reach_across_it(scale: tuple[float, float]) -> None:
    drawn = [int((view(seed, (120, 150), scale)[2][0] != IGNORE).sum()) / SIZE[1] for seed in range(200)]
    width = scale[1] - scale[0]
    assert scale[0] - 0.01 <= min(drawn) <= scale[0] + 0.1 * width + 0.01
    assert scale[1] - 0.1 * width - 0.01 <= max(drawn) <= scale[1] + 0.01


def test_crops_reach_every_edge() -> None:
    corners = {int(view(seed, (39, 59), (1.0, 1.0), 0.0)[1][0, 0]) for seed in range(60)}
    assert corners == {1, 2, 101, 102}


@pytest.mark.parametrize("base_m", [-3.0, 0.0, 250.0])
def test_heights_are_measured_from_the_lowest_that_was_surveyed_and_not_from_the_padding(base_m: float) -> None:
    height_m = (base_m + np.linspace(0, 20, 24).reshape(4, 6)).astype(np.float32)
    height_mm = np.arange(1000, 25000, 1000, dtype=np.uint16).reshape(4, 6)
    for image in (height_m, height_mm):
        whole = normalize(HeightModality(), image)
        padded = normalize(HeightModality(), View((4, 6), 0, 0, (8, 9), False).of_image(HeightModality(), image))
        np.testing.assert_array_equal(padded[:, :4, :6], whole)
        assert not padded[:, 4:].any()
        assert not padded[:, :, 6:].any()


def test_an_orthophoto_is_padded_with_black() -> None:
    padded = View((4, 6), 0, 0, (8, 9), True).of_image(ColorModality(), np.full((4, 6, 3), 200, np.uint8))
    assert padded.dtype == np.uint8
    assert (padded[:4, 3:] == 200).all()
    assert not padded[4:].any()
    assert not padded[:, :3].any()
