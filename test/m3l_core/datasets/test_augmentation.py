"""One geometry for color, depth and labels: images that hold their own coordinates tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from m3l_core.datasets.augmentation import jitter, random_view
from m3l_core.labels import IGNORE
from m3l_core.modalities import ColorModality, DepthModality, Modality

COLOR, DEPTH = ColorModality(), DepthModality()
MODALITIES: dict[str, Modality] = {"color": COLOR, "depth": DEPTH}
SIZE = (40, 60)
ROWS, COLUMNS = np.mgrid[: SIZE[0], : SIZE[1]]
View = tuple[NDArray[Any], NDArray[Any], NDArray[np.uint8]]


def view(
    seed: int, crop: tuple[int, int], scale: tuple[float, float], flip: float = 0.5, size: tuple[int, int] = SIZE
) -> View:
    """Red is 4 * row + 4, green is 4 * column + 4; depth is 100 * row + column + 1; the label is the column."""
    rows, columns = ROWS[: size[0], : size[1]], COLUMNS[: size[0], : size[1]]
    color = np.stack([4 * rows + 4, 4 * columns + 4, np.full_like(rows, 255)], axis=-1).astype(np.uint8)
    depth = (100 * rows + columns + 1).astype(np.uint16)
    label = columns.astype(np.uint8)
    images, label = random_view(
        {"color": color, "depth": depth}, label, MODALITIES, crop, scale, flip, np.random.default_rng(seed)
    )
    return images["color"], images["depth"], label


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


@settings(deadline=None)
@given(SEEDS, st.floats(0, 1))
def test_jittered_depth_is_one_scale_in_metres_and_holes_stay_holes(seed: int, amount: float) -> None:
    depth_mm = np.array([[0, 500, 1000, 4000]], np.uint16)
    changed = jitter(DEPTH, depth_mm, 0.4, amount, np.random.default_rng(seed))
    assert changed.dtype == np.float32
    factor = changed[0, 2]
    assert 1 - amount - 1e-6 <= factor <= 1 + amount + 1e-6
    np.testing.assert_allclose(changed, depth_mm * 0.001 * factor, rtol=1e-5)
    assert depth_mm.tolist() == [[0, 500, 1000, 4000]]


@pytest.mark.parametrize("hole", [np.nan, np.inf, -1.0, 0.0])
def test_holes_in_metric_depth_become_zero(hole: float) -> None:
    depth_m = np.array([[hole, 1.0]], np.float32)
    changed = jitter(DEPTH, depth_m, 0.0, 0.2, np.random.default_rng(0))
    assert changed[0, 0] == 0
    assert depth_m[0, 1] == 1.0


@settings(deadline=None)
@given(SEEDS)
def test_jittered_color_keeps_its_shape_and_stays_in_range(seed: int) -> None:
    color = np.random.default_rng(1).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    changed = jitter(COLOR, color, 0.9, 0.1, np.random.default_rng(seed))
    assert changed.shape == color.shape
    assert changed.dtype == np.uint8
    assert not np.array_equal(changed, color)


def test_no_jitter_changes_no_color_by_more_than_rounding() -> None:
    color = np.random.default_rng(1).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    changed = jitter(COLOR, color, 0.0, 0.0, np.random.default_rng(0))
    assert abs(changed.astype(int) - color).max() <= 1
