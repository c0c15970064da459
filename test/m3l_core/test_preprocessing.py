"""What the network sees of what sensors deliver; depth may hold anything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from pydantic import ValidationError

from m3l_core.depth_geometry import Focal
from m3l_core.frames import Frame, FrameSet
from m3l_core.modalities import ColorModality, DepthModality, HeightModality, IntensityModality, Modality
from m3l_core.preprocessing import focal_of, height_above_lowest, metric_depth, normalize, prepare, resize

COLOR, METRIC, MIN_MAX = ColorModality(), DepthModality(), DepthModality(normalization="min_max")
GEOMETRY = DepthModality(normalization="geometry")
SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, max_side=8)
DEPTH_MM = arrays.arrays(np.uint16, SHAPES)
DEPTH_M = arrays.arrays(np.float32, SHAPES)
"""Any float at all: NaN, infinities, negative, subnormal."""
COLORS = arrays.arrays(np.uint8, SHAPES.map(lambda shape: (*shape, 3)))
each_depth = pytest.mark.parametrize("modality", [METRIC, MIN_MAX], ids=lambda modality: str(modality.normalization))


@each_depth
@pytest.mark.filterwarnings("error")
@given(depth=DEPTH_MM | DEPTH_M)
def test_any_depth_gives_finite_input_in_range(modality: DepthModality, depth: NDArray[Any]) -> None:
    channels = normalize(modality, depth)
    assert channels.shape == (3, *depth.shape)
    assert channels.dtype == np.float32
    assert np.isfinite(channels).all()
    assert channels.min() >= (-1 - 1e-5 if modality is METRIC else 0)
    assert channels.max() <= 1 + 1e-5


@each_depth
@given(depth_mm=DEPTH_MM)
def test_millimetres_and_metres_give_the_same(modality: DepthModality, depth_mm: NDArray[np.uint16]) -> None:
    depth_m = depth_mm * np.float32(0.001)
    np.testing.assert_array_equal(normalize(modality, depth_mm), normalize(modality, depth_m))


@given(depth=DEPTH_MM | DEPTH_M)
def test_an_invalid_pixel_is_zero_in_every_channel_and_the_third_tells_which(depth: NDArray[Any]) -> None:
    invalid = ~(np.isfinite(depth) & (depth > 0))
    channels = normalize(METRIC, depth)
    assert (channels[:, invalid] == 0).all()
    assert np.array_equal(channels[2], (~invalid).astype(np.float32))


def test_metric_depth_reaches_from_near_to_far_and_clips_beyond() -> None:
    channels = normalize(METRIC, np.array([[0.1, 0.3, 8.0, 60.0]], np.float32))
    np.testing.assert_allclose(channels[0], [[-1, -1, 1, 1]], atol=1e-6)
    np.testing.assert_allclose(channels[1], [[1, 1, -1, -1]], atol=1e-6)
    middle = normalize(METRIC, np.array([[4150]], np.uint16))
    np.testing.assert_allclose(middle[:, 0, 0], [0, 2 * (1 / 4.15 - 1 / 8) / (1 / 0.3 - 1 / 8) - 1, 1], atol=1e-6)


def test_min_max_spans_zero_to_one_and_a_hole_counts_as_depth_zero() -> None:
    channels = normalize(MIN_MAX, np.array([[0, 1000, 4000]], np.uint16))
    np.testing.assert_allclose(channels, np.broadcast_to([[0, 0.25, 1]], (3, 1, 3)))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0, 1500, 65535])
def test_min_max_of_a_frame_without_contrast_is_zero(value: int) -> None:
    assert not normalize(MIN_MAX, np.full((4, 5), value, np.uint16)).any()


@given(depth=DEPTH_MM | DEPTH_M)
def test_metric_depth_leaves_its_input_alone(depth: NDArray[Any]) -> None:
    former = depth.copy()
    depth_m, valid = metric_depth(depth)
    depth_m[...] = -1
    np.testing.assert_array_equal(depth, former)
    assert depth_m.dtype == np.float32
    assert valid.dtype == np.bool_


@given(color=COLORS, mean=st.floats(0, 1), std=st.floats(0.05, 1))
def test_color_is_scaled_less_mean_over_std(color: NDArray[np.uint8], mean: float, std: float) -> None:
    modality = ColorModality(mean=(mean, 0.456, 0.406), std=(std, 0.224, 0.225))
    expected = (color / 255.0 - np.array(modality.mean)) / np.array(modality.std)
    channels = normalize(modality, color)
    assert channels.dtype == np.float32
    np.testing.assert_allclose(channels, expected.transpose(2, 0, 1), atol=1e-5)


@given(depth=DEPTH_MM | DEPTH_M, height=st.integers(1, 12), width=st.integers(1, 12))
def test_resized_depth_holds_no_depth_that_was_not_measured(depth: NDArray[Any], height: int, width: int) -> None:
    resized = resize(METRIC, depth, (height, width))
    assert resized.shape == (height, width)
    assert resized.dtype == depth.dtype
    bits = np.uint16 if depth.dtype == np.uint16 else np.uint32
    assert set(resized.view(bits).flat) <= set(depth.view(bits).flat)


@pytest.mark.parametrize("size", [(4, 6), (16, 24), (8, 6), (4, 24)])
def test_resized_color_keeps_its_mean_and_its_kind(size: tuple[int, int]) -> None:
    color = np.zeros((8, 12, 3), np.uint8)
    color[:, :6] = (200, 100, 50)
    resized = resize(COLOR, color, size)
    assert resized.shape == (*size, 3)
    assert resized.dtype == np.uint8
    np.testing.assert_allclose(resized.mean((0, 1)), [100, 50, 25], atol=2)


def test_an_image_of_the_right_size_is_not_copied() -> None:
    depth = np.ones((4, 6), np.uint16)
    assert resize(METRIC, depth, (4, 6)) is depth


@pytest.fixture
def frames() -> dict[str, Frame]:
    random = np.random.default_rng(0)
    return {
        "color": Frame("color", 1, random.integers(0, 256, (60, 80, 3), dtype=np.uint8)),
        "depth": Frame("depth", 1, random.integers(0, 5000, (30, 40), dtype=np.uint16)),
    }


@pytest.mark.parametrize("there", [("color", "depth"), ("color",), ("depth",)], ids="+".join)
def test_what_is_missing_is_zero_and_said_to_be_missing(frames: dict[str, Frame], there: tuple[str, ...]) -> None:
    modalities: tuple[Modality, ...] = (COLOR, METRIC)
    chosen = FrameSet(there[0], {name: frames[name] for name in there})
    prepared = prepare(chosen, modalities, (64, 96))
    assert prepared.images.shape == (1, 2, 3, 64, 96)
    assert prepared.images.dtype == np.float32
    assert prepared.present.tolist() == [[modality.name in there for modality in modalities]]
    for index, modality in enumerate(modalities):
        image = prepared.images[0, index]
        if modality.name in there:
            resized = resize(modality, frames[modality.name].data, (64, 96))
            np.testing.assert_array_equal(image, normalize(modality, resized))
        else:
            assert not image.any()


def test_a_modality_that_the_model_does_not_know_is_left_out(frames: dict[str, Frame]) -> None:
    prepared = prepare(FrameSet("color", frames), (METRIC,), (64, 96))
    assert prepared.images.shape == (1, 1, 3, 64, 96)
    assert prepared.present.tolist() == [[True]]


def test_near_must_lie_before_far() -> None:
    with pytest.raises(ValidationError, match=r"near_m must be below far_m, got 3\.0 and 2\.0"):
        DepthModality(near_m=3, far_m=2)


HEIGHT = HeightModality(max_m=40.0)


@pytest.mark.filterwarnings("error")
@given(height=DEPTH_MM | DEPTH_M)
def test_any_height_gives_finite_input_in_range_and_tells_what_is_valid(height: NDArray[Any]) -> None:
    channels = normalize(HEIGHT, height)
    assert channels.shape == (3, *height.shape)
    assert channels.dtype == np.float32
    assert np.isfinite(channels).all()
    assert abs(channels).max() <= 1 + 1e-5
    invalid = height == 0 if height.dtype == np.uint16 else ~np.isfinite(height)
    assert (channels[:, invalid] == 0).all()
    np.testing.assert_array_equal(channels[2], (~invalid).astype(np.float32))


@pytest.mark.filterwarnings("error")
@given(height=DEPTH_M, above_sea=st.floats(-400, 4000))
def test_only_the_height_above_the_lowest_pixel_counts(height: NDArray[np.float32], above_sea: float) -> None:
    flat = np.where(np.isfinite(height), np.clip(height, -50, 50), height).astype(np.float32)
    lifted = normalize(HEIGHT, flat + np.float32(above_sea))
    np.testing.assert_allclose(lifted[0], normalize(HEIGHT, flat)[0], atol=1e-3)


def test_heights_reach_from_the_ground_to_the_most_and_clip_beyond() -> None:
    channels = normalize(HEIGHT, np.array([[-3.0, 17.0, 37.0, 90.0]], np.float32))
    np.testing.assert_allclose(channels[0], [[-1, 0, 1, 1]], atol=1e-6)
    middle = 2 * np.log1p(20) / np.log1p(40) - 1
    np.testing.assert_allclose(channels[1], [[-1, middle, 1, 1]], atol=1e-6)


def test_zero_and_below_are_heights_and_a_flat_frame_is_all_ground() -> None:
    height_m, valid = height_above_lowest(np.array([[0.0, -2.5, np.nan, np.inf]], np.float32))
    assert height_m.tolist() == [[2.5, 0, 0, 0]]
    assert valid.tolist() == [[True, True, False, False]]
    np.testing.assert_array_equal(normalize(HEIGHT, np.full((2, 3), 250.0, np.float32))[:, 0, 0], [-1, -1, 1])


def test_a_frame_without_a_height_is_zero() -> None:
    assert not normalize(HEIGHT, np.full((3, 4), np.nan, np.float32)).any()


@given(height=DEPTH_MM | DEPTH_M)
def test_heights_leave_their_input_alone(height: NDArray[Any]) -> None:
    former = height.copy()
    height_m, _ = height_above_lowest(height)
    height_m[...] = -1
    normalize(HEIGHT, height)
    np.testing.assert_array_equal(height, former)


@given(height=DEPTH_M, rows=st.integers(1, 12), columns=st.integers(1, 12))
def test_resized_heights_hold_no_height_that_was_not_there(
    height: NDArray[np.float32], rows: int, columns: int
) -> None:
    resized = resize(HEIGHT, height, (rows, columns))
    assert resized.shape == (rows, columns)
    assert set(resized.view(np.uint32).flat) <= set(height.view(np.uint32).flat)


def test_color_depth_and_height_are_prepared_side_by_side(frames: dict[str, Frame]) -> None:
    height = np.linspace(-5, 60, 48, dtype=np.float32).reshape(6, 8)
    modalities: tuple[Modality, ...] = (COLOR, METRIC, HEIGHT)
    prepared = prepare(FrameSet("color", frames | {"height": Frame("height", 1, height)}), modalities, (64, 96))
    assert prepared.images.shape == (1, 3, 3, 64, 96)
    assert prepared.present.all()
    np.testing.assert_array_equal(prepared.images[0, 2], normalize(HEIGHT, resize(HEIGHT, height, (64, 96))))


@pytest.mark.parametrize("most", [0.0, -1.0, 1e9, float("nan"), float("inf")])
def test_the_most_height_must_be_one(most: float) -> None:
    with pytest.raises(ValidationError, match="max_m"):
        HeightModality(max_m=most)


@pytest.mark.filterwarnings("error")
@given(image=arrays.arrays(np.uint8, SHAPES) | arrays.arrays(np.uint16, SHAPES))
def test_any_intensity_gives_the_same_in_three_channels_from_minus_one_to_one(image: NDArray[Any]) -> None:
    for modality in (IntensityModality(), IntensityModality(normalization="range", low=7000, high=9000)):
        channels = normalize(modality, image)
        assert (channels == channels[:1]).all()
        assert channels.min() >= -1 and channels.max() <= 1
    if np.ptp(image) == 0:
        assert not normalize(IntensityModality(), image).any()


@given(image=arrays.arrays(np.uint8, SHAPES))
def test_the_scale_of_a_frame_s_own_percentiles_does_not_depend_on_the_counts(image: NDArray[np.uint8]) -> None:
    counts = image.astype(np.uint16) * np.uint16(4) + np.uint16(7000)
    np.testing.assert_allclose(normalize(IntensityModality(), image), normalize(IntensityModality(), counts), atol=1e-3)


def test_a_calibrated_intensity_is_scaled_by_its_range_and_clipped() -> None:
    modality = IntensityModality(normalization="range", low=7000, high=9000)
    channels = normalize(modality, np.array([[0, 7000, 8000, 9000, 60000]], np.uint16))
    np.testing.assert_allclose(channels[0], [[-1, -1, 0, 1, 1]], atol=1e-6)
    with pytest.raises(ValidationError, match=r"low must be below high, got 5\.0 and 5\.0"):
        IntensityModality(low=5, high=5)


@pytest.mark.parametrize(("fov_deg", "seen_as"), [(None, GEOMETRY.horizontal_fov_deg), (95.0, 95.0)])
def test_surfaces_are_measured_with_the_camera_that_delivered_them(fov_deg: float | None, seen_as: float) -> None:
    depth = np.random.default_rng(0).integers(500, 5000, (90, 160), dtype=np.uint16)
    frames = FrameSet("depth", {"depth": Frame("depth", 1, depth)})
    prepared = prepare(frames, (GEOMETRY,), (64, 96), horizontal_fov_deg=fov_deg)
    squeezed = resize(GEOMETRY, depth, (64, 96))
    expected = normalize(GEOMETRY, squeezed, focal=Focal.of_view(seen_as, (90, 160)))
    np.testing.assert_array_equal(prepared.images[0, 0], expected)
    assert not np.array_equal(expected, normalize(GEOMETRY, squeezed))  # as if its pixels were square


def test_other_inputs_do_not_depend_on_the_camera(frames: dict[str, Frame]) -> None:
    modalities = (COLOR, METRIC)
    one, other = (prepare(FrameSet("color", frames), modalities, (64, 96), None, fov) for fov in (None, 110.0))
    np.testing.assert_array_equal(one.images, other.images)
    assert focal_of(COLOR, (60, 80), 90.0) is None
