"""Registered depth: laws that hold for every image, and a scene that both cameras see."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from support.two_cameras import COLOR, DEPTH, DEPTH_TO_COLOR, look, pinhole, turned

from m3l_core.registration.camera_model import CameraModel
from m3l_core.registration.depth_registration import DepthRegistration

SIZE = (24, 32)
PINHOLE = pinhole(SIZE, 30.0)
BENT = pinhole(SIZE, 30.0, model="plumb_bob", distortion=np.array([-0.25, 0.06, 0.002, -0.003, 0.0]))
FISHEYE = pinhole(SIZE, 15.0, model="equidistant", distortion=np.array([0.02, -0.01, 0.0, 0.0]))
images = arrays.arrays(np.uint16, SIZE, elements=st.integers(0, 65535))


@pytest.fixture(scope="module", params=[PINHOLE, BENT, FISHEYE], ids=["pinhole", "bent", "fisheye"])
def to_itself(request: pytest.FixtureRequest) -> DepthRegistration:
    return DepthRegistration(request.param, request.param, np.eye(4))


@settings(deadline=None)
@given(depth=images)
def test_the_same_camera_gives_the_same_image(to_itself: DepthRegistration, depth: NDArray[np.uint16]) -> None:
    np.testing.assert_array_equal(to_itself(depth), depth)


@pytest.mark.parametrize("camera", [COLOR, DEPTH], ids=["plumb_bob", "rational_polynomial"])
def test_so_does_every_pixel_of_a_lens(camera: CameraModel) -> None:
    depth = np.random.default_rng(3).integers(0, 65536, camera.size).astype(np.uint16)
    np.testing.assert_array_equal(DepthRegistration(camera, camera, np.eye(4))(depth), depth)


@settings(deadline=None)
@given(st.integers(300, 9000), st.floats(-0.2, 0.2), st.floats(-0.2, 0.2), st.sampled_from([PINHOLE, BENT]))
def test_a_wall_stays_a_wall(distance_mm: int, right_m: float, down_m: float, color: CameraModel) -> None:
    registration = DepthRegistration(PINHOLE, color, turned((0, 0, 0), (right_m, down_m, 0.0)))
    registered = registration(np.full(SIZE, distance_mm, np.uint16))
    assert set(np.unique(registered)) <= {0, distance_mm}
    # Without holes: what is shown of it is one rectangle.
    rows, columns = np.nonzero(registered)
    if color is PINHOLE and rows.size:
        assert registered[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
        moved = 30.0 * 1000.0 / distance_mm * np.array([right_m, down_m])
        expected = np.prod([max(0.0, side - abs(by)) for side, by in zip(SIZE[::-1], moved, strict=True)])
        assert abs(rows.size - expected) <= sum(SIZE) + 1


@settings(deadline=None)
@given(st.integers(500, 60000), st.integers(-400, 400))
def test_a_shift_along_the_axis_changes_every_distance_by_it(distance_mm: int, forward_mm: int) -> None:
    registration = DepthRegistration(PINHOLE, PINHOLE, turned((0, 0, 0), (0.0, 0.0, forward_mm / 1000.0)))
    registered = registration(np.full(SIZE, distance_mm, np.uint16))
    assert set(np.unique(registered)) <= {0, distance_mm + forward_mm}
    assert registered[SIZE[0] // 2, SIZE[1] // 2] == distance_mm + forward_mm


@settings(deadline=None)
@given(images, st.floats(0.02, 0.1))
def test_the_nearest_of_those_that_meet_wins(depth: NDArray[np.uint16], right_m: float) -> None:
    registration = DepthRegistration(PINHOLE, PINHOLE, turned((0, 0, 0), (right_m, 0.0, 0.0)))
    registered = registration(depth)
    rows, columns = np.nonzero(depth)
    distances = depth[rows, columns]
    places = np.rint(columns + 30.0 * right_m * 1000.0 / distances).astype(int)
    inside = places < SIZE[1]
    landed = registered[rows[inside], places[inside]]
    assert (landed > 0).all()
    assert (landed <= distances[inside]).all()


@settings(deadline=None)
@given(st.integers(400, 5000), st.floats(1.0, 6.0), st.floats(-0.3, 0.3))
def test_a_finer_grid_has_no_holes(distance_mm: int, finer: float, roll: float) -> None:
    size = (round(SIZE[0] * finer), round(SIZE[1] * finer))
    color = pinhole(size, 30.0 * finer)
    registered = DepthRegistration(PINHOLE, color, turned((0, 0, roll)))(np.full(SIZE, distance_mm, np.uint16))
    middle = registered[size[0] // 3 : -size[0] // 3, size[1] // 3 : -size[1] // 3]
    assert (middle == distance_mm).all()


@settings(deadline=None)
@given(images)
def test_a_coarser_grid_holds_only_what_was_measured(depth: NDArray[np.uint16]) -> None:
    coarse = DepthRegistration(PINHOLE, pinhole((8, 11), 10.0), np.eye(4))(depth)
    assert set(np.unique(coarse)) <= {0, *np.unique(depth)}


@settings(deadline=None)
@given(st.floats(-0.15, 0.15), st.floats(-0.15, 0.15))
def test_a_turned_camera_sees_the_wall_slanted(pitch: float, yaw: float) -> None:
    """A wall 2 m before the depth camera, as the plane's equation has it."""
    pose = turned((pitch, yaw, 0.0), (0.05, -0.02, 0.01))
    color = pinhole(SIZE, 28.0)
    registered = DepthRegistration(PINHOLE, color, pose)(np.full(SIZE, 2000, np.uint16))
    normal = pose[:3, 2]
    rays = color.rays(np.stack(np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0])), axis=-1))
    true_mm = 1000 * (2.0 + normal @ pose[:3, 3]) / (np.column_stack((rays, np.ones(len(rays)))) @ normal)
    seen = registered > 0
    error = np.abs(registered.astype(float) / true_mm.reshape(SIZE) - 1)[seen]
    assert error.max() < 0.02
    assert seen[9:-9, 12:-12].all()


@pytest.mark.parametrize(
    ("pose", "depth"),
    [
        (turned((0, 0, 0), (0, 0, -2.0)), 1500),
        (turned((0, np.pi, 0)), 1500),
        (turned((0, 0, 0), (0, 0, 30.0)), 60000),
        (np.eye(4), 0),
    ],
    ids=["behind it", "the other way", "beyond 16 bits", "not measured"],
)
def test_what_color_cannot_see_is_invalid(pose: NDArray[np.float64], depth: int) -> None:
    assert not DepthRegistration(PINHOLE, PINHOLE, pose)(np.full(SIZE, depth, np.uint16)).any()


def test_a_line_of_distances_is_registered() -> None:
    line = pinhole((1, 40), 20.0)
    registered = DepthRegistration(line, PINHOLE, np.eye(4))(np.full((1, 40), 1000, np.uint16))
    assert (registered[11:13] == 1000).any(axis=0).all()


def test_a_scene_looks_as_the_color_camera_measures_it() -> None:
    (measured, _), (true_mm, what) = look(DEPTH, DEPTH_TO_COLOR), look(COLOR, np.eye(4))
    registered = DepthRegistration(DEPTH, COLOR, DEPTH_TO_COLOR)(measured)
    error = np.abs(registered / true_mm.astype(float) - 1)
    around = np.ones((7, 7), np.uint8)
    edge = cv2.dilate(what, around) != cv2.erode(what, around)
    assert edge.mean() < 0.15
    # Behind an edge of the board lies what only color sees.
    assert np.mean(registered[~edge] > 0) > 0.99
    # A pixel of depth is 7% of the floor's distance long.
    assert error[~edge & (registered > 0)].max() < 0.06
    assert np.median(error[registered > 0]) < 0.005
    # Stretched to the size of color instead, a third of the board would lie beside it.
    stretched = cv2.resize(measured, COLOR.size[::-1], interpolation=cv2.INTER_NEAREST)
    assert np.mean(np.abs(stretched / true_mm.astype(float) - 1)[what == 2] > 0.06) > 0.2
    assert np.mean(error[what == 2] > 0.06) < 0.05
