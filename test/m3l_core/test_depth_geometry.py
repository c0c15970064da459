"""Heights and slopes of scenes whose geometry is known."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from m3l_core.depth_geometry import Focal, surface_geometry

SIZE = (240, 320)
FOV = 62.0
FOCAL = Focal.of_view(FOV, SIZE)


def rays(size: tuple[int, int], fov_deg: float) -> NDArray[np.float32]:
    """(3, H, W) of depth 1."""
    focal = size[1] / 2 / math.tan(math.radians(fov_deg) / 2)
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    x = (columns - (size[1] - 1) / 2) / focal
    y = (rows - (size[0] - 1) / 2) / focal
    return np.stack([x, y, np.ones_like(x)])


def room(
    pitch_deg: float, roll_deg: float = 0.0, size: tuple[int, int] = SIZE, fov_deg: float = FOV
) -> tuple[Any, Any, Any]:
    """Depth, true height and true upness of a box of a room, 4 m wide, its far wall 4 m ahead of the camera."""
    camera_m, ceiling_m = 1.2, 2.6
    pitch, roll = math.radians(pitch_deg), math.radians(roll_deg)
    tilt = np.array([[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]])
    turn = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    directions = np.einsum("ij,jhw->ihw", tilt.T @ turn.T, rays(size, fov_deg))  # in the room: x right, y down, z ahead
    planes = [((0, 1, 0), camera_m, 1.0), ((0, -1, 0), ceiling_m - camera_m, -1.0), ((0, 0, 1), 4.0, 0.0)]
    planes += [((1, 0, 0), 2.0, 0.0), ((-1, 0, 0), 2.0, 0.0)]
    depth, upness = np.full(size, np.inf), np.zeros(size)
    for normal, distance, up in planes:
        along = np.einsum("i,ihw->hw", np.array(normal, np.float64), directions)
        with np.errstate(divide="ignore"):
            to_plane = np.where(along > 1e-6, distance / along, np.inf)
        nearer = to_plane < depth
        depth, upness = np.where(nearer, to_plane, depth), np.where(nearer, up, upness)
    return depth.astype(np.float32), camera_m - directions[1] * depth, upness


@settings(max_examples=15)
@given(st.floats(-25, 25), st.floats(-8, 8))
def test_heights_and_slopes_are_those_of_the_room_however_the_camera_looks(pitch: float, roll: float) -> None:
    depth, height, upness = room(pitch, roll)
    found = surface_geometry(depth, np.ones(SIZE, np.bool_), FOCAL)
    error = np.abs(found.height_m - (height - np.percentile(height, 1)).clip(0))
    assert np.median(error) < 0.06
    assert np.mean(np.abs(found.upness - upness) < 0.2) > 0.85


def test_steps_as_a_sensor_quantises_depth_leave_floor_and_wall_apart() -> None:
    depth, _, upness = room(15.0)
    stepped = np.round(depth / 0.039).astype(np.float32) * np.float32(0.039)
    found = surface_geometry(stepped, np.ones(SIZE, np.bool_), FOCAL)
    assert np.mean(found.upness[upness == 1.0] > 0.7) > 0.85
    assert np.mean(np.abs(found.upness[upness == 0.0]) < 0.5) > 0.85


def test_invalid_pixels_are_0_and_do_not_bend_what_is_around_them() -> None:
    depth, height, upness = room(10.0)
    valid = np.random.default_rng(0).random(SIZE) > 0.2
    holes = np.where(valid, depth, np.float32(0))
    found = surface_geometry(holes, valid, FOCAL)
    assert not found.height_m[~valid].any() and not found.upness[~valid].any()
    assert np.mean(np.abs(found.upness - upness)[valid] < 0.2) > 0.85
    assert np.median(np.abs(found.height_m - (height - np.percentile(height, 1)))[valid]) < 0.06


@pytest.mark.parametrize("fill", [0.0, 1.0])
@pytest.mark.parametrize("size", [SIZE, (63, 97), (64, 64)])
def test_nothing_to_see_is_no_error(size: tuple[int, int], fill: float) -> None:
    depth = np.full(size, fill, np.float32)
    found = surface_geometry(depth, depth > 0, FOCAL)
    for channel in found:
        assert channel.shape == size and channel.dtype == np.float32 and np.isfinite(channel).all()


@pytest.mark.parametrize(("size", "fov_deg"), [((270, 480), 62.0), ((270, 480), 105.0), ((480, 360), 45.0)])
def test_an_image_that_was_squeezed_tells_the_same_to_who_knows_the_camera(
    size: tuple[int, int], fov_deg: float
) -> None:
    depth, height, upness = (cv2.resize(each, SIZE[::-1], interpolation=0) for each in room(10.0, 0.0, size, fov_deg))
    valid = np.ones(SIZE, np.bool_)
    known, guessed = (surface_geometry(depth, valid, focal) for focal in (Focal.of_view(fov_deg, size), FOCAL))
    expected = (height - np.percentile(height, 1)).clip(0)
    errors = [np.median(np.abs(found.height_m - expected)) for found in (known, guessed)]
    assert errors[0] < 0.06 < errors[1]
    assert np.mean(np.abs(known.upness - upness) < 0.2) > 0.85


@given(st.floats(20, 140), st.integers(1, 2000), st.integers(1, 2000))
def test_a_focal_length_is_that_of_square_pixels(fov_deg: float, height: int, width: int) -> None:
    focal = Focal.of_view(fov_deg, (height, width))
    assert focal.in_widths * width == pytest.approx(focal.in_heights * height)
    assert 2 * math.degrees(math.atan(0.5 / focal.in_widths)) == pytest.approx(fov_deg)
