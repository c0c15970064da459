"""What is done to a student's images: each disturbance by itself, all of them within their bounds."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from m3l_core.modalities import ColorModality, DepthModality, HeightModality, IntensityModality, Modality
from m3l_core.preprocessing import normalize
from m3l_core.trainer.disturbances import StrongView, add_noise, degrade, disturb, jitter, random_box

COLOR, DEPTH, HEIGHT = ColorModality(), DepthModality(), HeightModality()
SIZE = (40, 60)
SEEDS = st.integers(0, 2**32)
ALL = StrongView(depth_holes=1.0)
NOTHING: dict[str, float] = dict.fromkeys(StrongView.model_fields, 0.0)


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def colors() -> NDArray[np.uint8]:
    return generator(7).integers(40, 200, (*SIZE, 3), dtype=np.uint8)


def depth_m() -> NDArray[np.float32]:
    depth = generator(7).uniform(1.0, 4.0, SIZE).astype(np.float32)
    depth[:, 5] = 0
    return depth


def disturbed(modality: Modality, image: NDArray[Any], seed: int, **changes: float) -> NDArray[Any]:
    return disturb(modality, image, StrongView(**NOTHING | changes), generator(seed))


@settings(deadline=None)
@given(SEEDS, st.floats(0, 1))
def test_jittered_depth_is_one_scale_in_metres_and_holes_stay_holes(seed: int, amount: float) -> None:
    depth_mm = np.array([[0, 500, 1000, 4000]], np.uint16)
    changed = jitter(DEPTH, depth_mm, 0.4, amount, generator(seed))
    assert changed.dtype == np.float32
    factor = changed[0, 2]
    assert 1 - amount - 1e-6 <= factor <= 1 + amount + 1e-6
    np.testing.assert_allclose(changed, depth_mm * 0.001 * factor, rtol=1e-5)
    assert depth_mm.tolist() == [[0, 500, 1000, 4000]]


@pytest.mark.parametrize("hole", [np.nan, np.inf, -1.0, 0.0])
def test_holes_in_metric_depth_become_zero(hole: float) -> None:
    given_m = np.array([[hole, 1.0]], np.float32)
    changed = jitter(DEPTH, given_m, 0.0, 0.2, generator(0))
    assert changed[0, 0] == 0
    assert given_m[0, 1] == 1.0


@settings(deadline=None)
@given(SEEDS)
def test_jittered_color_keeps_its_shape_and_stays_in_range(seed: int) -> None:
    color = colors()
    changed = jitter(COLOR, color, 0.9, 0.1, generator(seed))
    assert changed.shape == color.shape
    assert changed.dtype == np.uint8
    assert not np.array_equal(changed, color)


def test_no_jitter_changes_no_color_by_more_than_rounding() -> None:
    color = colors()
    assert abs(jitter(COLOR, color, 0.0, 0.0, generator(0)).astype(int) - color).max() <= 1


@pytest.mark.parametrize("modality", [IntensityModality(), HeightModality()])
@pytest.mark.parametrize("seed", range(4))
def test_counts_stay_counts(modality: Modality, seed: int) -> None:
    image = generator(7).integers(7000, 9000, SIZE, dtype=np.uint16)
    for change in (
        lambda random: degrade(modality, image, random),
        lambda random: disturb(modality, image, ALL, random),
    ):
        changed = change(generator(seed))
        assert (changed.dtype, changed.shape) == (image.dtype, image.shape)
        measured = changed[changed > 0]
        assert measured.min() > 5000 and measured.max() < 11000


def test_heights_are_surveyed_and_not_jittered() -> None:
    height = depth_m() - 2
    np.testing.assert_array_equal(jitter(HEIGHT, height, 0.9, 0.9, generator(0)), height)


@settings(deadline=None)
@given(SEEDS)
def test_three_channels_that_are_no_photograph_suffer_holes_alone(seed: int) -> None:
    lidar, before = ColorModality(photometric=False), colors()
    np.testing.assert_array_equal(jitter(lidar, before, 0.9, 0.9, generator(seed)), before)
    after = disturbed(lidar, before, seed, color_jitter=1, gray=1, blur=1, depth_jitter=1, depth_noise=1)
    np.testing.assert_array_equal(after, before)
    holes = (disturbed(lidar, before, seed, depth_holes=1) != before).any(axis=2)
    assert holes.any()
    assert not holes.all()


@settings(deadline=None)
@given(SEEDS)
def test_a_view_without_disturbances_changes_nothing(seed: int) -> None:
    assert abs(disturbed(COLOR, colors(), seed).astype(int) - colors()).max() <= 1
    np.testing.assert_array_equal(disturbed(DEPTH, depth_m(), seed), depth_m())
    np.testing.assert_array_equal(disturbed(HEIGHT, depth_m(), seed), depth_m())


@settings(deadline=None)
@given(SEEDS)
def test_the_images_of_the_teacher_are_left_as_they_are(seed: int) -> None:
    for modality, image in ((COLOR, colors()), (DEPTH, depth_m()), (HEIGHT, depth_m())):
        before = image.copy()
        changed = disturb(modality, image, StrongView(depth_holes=1, gray=1, blur=1), generator(seed))
        assert changed.shape == image.shape
        assert changed.dtype == image.dtype
        np.testing.assert_array_equal(image, before)


def test_exposure_changes_with_color_jitter_alone() -> None:
    brightness = [disturbed(COLOR, colors(), seed, color_jitter=0.5).mean() for seed in range(60)]
    assert min(brightness) < 0.75 * colors().mean()
    assert max(brightness) > 1.25 * colors().mean()
    np.testing.assert_array_equal(disturbed(DEPTH, depth_m(), 3, color_jitter=0.5), depth_m())


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_color_images_loses_its_color(share: float) -> None:
    def is_gray(seed: int) -> bool:
        image = disturbed(COLOR, colors(), seed, gray=share)
        return bool((image == image[..., :1]).all())

    assert np.mean([is_gray(seed) for seed in range(300)]) == pytest.approx(share, abs=0.08)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_color_images_is_out_of_focus(share: float) -> None:
    sharp = colors().astype(float).std()
    blurred = [disturbed(COLOR, colors(), seed, blur=share).astype(float).std() < 0.99 * sharp for seed in range(300)]
    # A blur of a third of a pixel is hardly one.
    assert np.mean(blurred) == pytest.approx(share, abs=0.1)


@pytest.mark.parametrize("modality", [DEPTH, HEIGHT], ids=lambda modality: modality.name)
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_distances_gets_rectangles_of_no_return(share: float, modality: Modality) -> None:
    holed = 0
    for seed in range(200):
        image = disturbed(modality, depth_m() + 1, seed, depth_holes=share)
        hole = image == 0 if modality is DEPTH else np.isnan(image)
        np.testing.assert_array_equal(image[~hole], (depth_m() + 1)[~hole])
        holed += hole.any()
        assert hole.mean() <= 4 * 0.15
        assert cv2.connectedComponents(hole.astype(np.uint8))[0] - 1 <= 4
    assert holed / 200 == pytest.approx(share, abs=0.1)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("modality", [DEPTH, HEIGHT], ids=lambda modality: modality.name)
def test_a_hole_is_invalid_for_the_network_in_millimetres_and_in_metres(modality: Modality, dtype: Any) -> None:
    image = np.full(SIZE, 2000, np.uint16) if dtype == np.uint16 else np.full(SIZE, 2.0, np.float32)
    validity = normalize(modality, disturbed(modality, image, 0, depth_holes=1.0))[2]
    assert 0 < (validity == 0).mean() < 0.6
    assert set(np.unique(validity)) == {0, 1}


def test_depth_noise_is_relative_to_the_depth_and_leaves_heights_alone() -> None:
    near, far = (disturbed(DEPTH, np.full(SIZE, depth, np.float32), 3, depth_noise=0.05) for depth in (1.0, 4.0))
    assert 0 < near.std() < 0.06
    assert far.std() == pytest.approx(4 * near.std(), rel=1e-3)
    assert near.mean() == pytest.approx(1.0, abs=0.01)
    np.testing.assert_array_equal(disturbed(HEIGHT, depth_m(), 3, depth_noise=0.05), depth_m())


def test_the_scale_of_depth_changes_with_depth_jitter_alone() -> None:
    scales = [disturbed(DEPTH, np.ones(SIZE, np.float32), seed, depth_jitter=0.2) for seed in range(60)]
    assert all(image.std() == pytest.approx(0, abs=1e-6) for image in scales)
    drawn = [float(image.mean()) for image in scales]
    assert 0.8 <= min(drawn) < 0.85
    assert 1.15 < max(drawn) <= 1.2


@given(SEEDS, st.tuples(st.integers(1, 200), st.integers(1, 200)), st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_box_lies_inside_and_covers_no_more_than_its_share(
    seed: int, size: tuple[int, int], area: tuple[float, float]
) -> None:
    least, most = sorted(area)
    top, left, height, width = random_box(size, (least, most), generator(seed))
    assert height >= 1
    assert width >= 1
    assert 0 <= top <= size[0] - height
    assert 0 <= left <= size[1] - width
    assert height * width <= max(most * size[0] * size[1], *size)


def test_boxes_reach_everywhere_in_many_shapes() -> None:
    boxes = np.array([random_box((100, 100), (0.1, 0.4), generator(seed)) for seed in range(300)])
    tops, lefts, heights, widths = boxes.T
    assert min(tops) == min(lefts) == 0
    assert 100 in tops + heights
    assert 100 in lefts + widths
    shares = heights * widths / 100**2
    assert 0.09 <= min(shares) < 0.12
    assert 0.37 < max(shares) <= 0.4
    assert min(heights / widths) < 0.7
    assert max(heights / widths) > 1.4


def test_noise_is_gaussian_with_salt_and_pepper_of_random_strength() -> None:
    spreads, salted = [], []
    for seed in range(100):
        channels = np.zeros((3, *SIZE), np.float32)
        add_noise(channels, generator(seed))
        peaks = (channels == channels.max()) | (channels == channels.min())
        struck = peaks.all(axis=0)
        salted.append(struck.mean())
        spreads.append(channels[:, ~struck].std())
        assert np.isfinite(channels).all()
        if struck.sum() > 50:
            assert (channels[0, struck] == channels.max()).mean() == pytest.approx(0.5, abs=0.25)
    assert min(spreads) < 0.05
    assert 0.45 < max(spreads) <= 0.51
    assert min(salted) < 0.02
    assert 0.18 < max(salted) < 0.24


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.sampled_from([COLOR, DEPTH, HEIGHT]))
def test_a_failing_sensor_gives_values_of_its_own_range_and_measures_nothing_new(seed: int, modality: Modality) -> None:
    image: NDArray[Any] = colors() if modality is COLOR else depth_m()
    if modality is HEIGHT:
        image[image == 0] = np.nan
    before = image.copy()
    damaged = degrade(modality, image, generator(seed))
    np.testing.assert_array_equal(image, before)
    assert (damaged.shape, damaged.dtype) == (image.shape, image.dtype)
    assert not np.array_equal(damaged, image, equal_nan=True)
    if modality is DEPTH:
        spread = float(image[image > 0].std())
        assert damaged.max() < image.max() + 5 * 0.2 * spread


def test_at_most_half_of_the_values_go_missing_and_a_tenth_becomes_salt_or_pepper() -> None:
    depth = np.full((200, 200), 2.0, np.float32)
    depth[0] = 3.0
    missing, extreme = [], []
    for seed in range(60):
        damaged = degrade(DEPTH, depth, generator(seed))
        (missing if (damaged == 0).any() else extreme).append((damaged != depth).mean())
    assert 0.4 < max(missing) <= 0.51
    assert min(missing) < 0.1
    assert 0.4 < len(missing) / 60 < 0.6
    assert len(extreme) > 20


def test_a_sensor_that_measured_nothing_cannot_fail_further() -> None:
    nothing = np.zeros(SIZE, np.float32)
    for seed in range(6):
        assert not degrade(DEPTH, nothing, generator(seed)).any()
