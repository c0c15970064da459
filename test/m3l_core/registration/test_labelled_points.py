"""Points of a mask: they fall back on their pixels, and say what the mask says there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.two_cameras import COLOR, DEPTH, pinhole

from m3l_core.registration.camera_model import CameraModel
from m3l_core.registration.labelled_points import POINT, labelled_points

SIDES = st.integers(1, 40)


def some_depth(seed: int, size: tuple[int, int], metric: bool) -> np.ndarray:
    random = np.random.default_rng(seed)
    millimetres = random.integers(0, 9000, size).astype(np.uint16) * random.integers(0, 2, size).astype(np.uint16)
    if not metric:
        return millimetres
    metres = millimetres.astype(np.float32) / 1000
    metres[millimetres == 0] = random.choice([np.nan, np.inf, -1.0, 0.0])
    return metres


@given(st.integers(0, 99), st.tuples(SIDES, SIDES), st.integers(1, 4), st.booleans())
def test_points_fall_back_on_their_pixels_and_are_labelled_as_the_mask(
    seed: int, depth_size: tuple[int, int], factor: int, metric: bool
) -> None:
    size = depth_size[0] * factor, depth_size[1] * factor
    camera = pinhole(size, 30.0)
    random = np.random.default_rng(seed)
    labels, confidence = random.integers(0, 256, (2, *size), np.uint8)
    depth = some_depth(seed, depth_size, metric)
    points = labelled_points(depth, camera.directions().astype(np.float32), labels, confidence)
    assert (points.dtype, points.shape) == (POINT, size)
    np.testing.assert_array_equal(points["label"], labels)
    np.testing.assert_array_equal(points["confidence"], confidence)

    nearest = depth.repeat(factor, axis=0).repeat(factor, axis=1)
    with np.errstate(invalid="ignore"):
        valid = np.isfinite(nearest) & (nearest > 0)
    xyz = np.stack([points[name] for name in "xyz"], axis=-1)
    np.testing.assert_array_equal(np.isfinite(xyz), np.repeat(valid[..., None], 3, axis=2))
    assert np.isnan(xyz[~valid]).all()
    np.testing.assert_allclose(xyz[valid][:, 2], nearest[valid] * (1.0 if metric else 0.001), rtol=1e-6)
    pixels = camera.pixels(xyz[valid][:, :2] / xyz[valid][:, 2:])
    np.testing.assert_allclose(pixels, np.argwhere(valid)[:, ::-1], atol=1e-3)


@pytest.mark.parametrize("camera", [COLOR, DEPTH], ids=["plumb_bob", "rational"])
def test_points_of_a_bent_image_fall_back_too(camera: CameraModel) -> None:
    nothing = np.zeros(camera.size, np.uint8)
    directions = camera.directions().astype(np.float32)
    points = labelled_points(np.full(camera.size, 2000, np.uint16), directions, nothing, nothing)
    rows, columns = np.nonzero(np.isfinite(points["x"]))
    assert len(rows) > 0.9 * points.size
    found = camera.pixels(np.stack([points["x"], points["y"]], axis=-1)[rows, columns] / 2.0)
    np.testing.assert_allclose(found, np.column_stack((columns, rows)), atol=0.05)


def test_a_pixel_whose_direction_is_unknown_is_no_point() -> None:
    directions = np.zeros((1, 2, 2), np.float32)
    directions[0, 1] = np.nan
    byte = np.ones((1, 2), np.uint8)
    points = labelled_points(np.full((1, 2), 1000, np.uint16), directions, byte, byte)
    assert np.isfinite([points[name][0, 0] for name in "xyz"]).all()
    assert np.isnan([points[name][0, 1] for name in "xyz"]).all()


def test_of_three_pixels_of_depth_the_middle_one_counts() -> None:
    """A pixel's center has whole coordinates."""
    depth = np.arange(1, 10, dtype=np.float32)[None].repeat(9, axis=0)
    byte = np.zeros((3, 3), np.uint8)
    assert labelled_points(depth, np.zeros((3, 3, 2), np.float32), byte, byte)["z"][0].tolist() == [2.0, 5.0, 8.0]
