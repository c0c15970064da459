"""Pixels and directions, held to the formulae of the distortion models and to what ROS says of camera_info."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.bags import STORE
from support.two_cameras import camera_info, pinhole, turned

from m3l_core.errors import ImageMessageError
from m3l_core.registration.camera_model import CameraModel, camera_model, horizontal_fov_deg

SIZE = (96, 128)
MATRIX = np.array([[100.0, 0, 60], [0, 110.0, 50], [0, 0, 1]])
MODELS = {
    "none": ("", None),
    "plumb_bob": ("plumb_bob", np.array([-0.2, 0.08, 0.003, -0.002, 0.01])),
    "rational": ("rational_polynomial", np.array([0.4, 0.05, 1e-3, -1e-3, 0.01, 0.5, 0.06, 0.002])),
    "equidistant": ("equidistant", np.array([0.02, -0.01, 0.003, 0.0])),
    "an ideal equidistant": ("equidistant", np.zeros(4)),
}


def camera(name: str) -> CameraModel:
    model, distortion = MODELS[name]
    return CameraModel(SIZE, MATRIX, model, distortion)


def by_formula(name: str, x: float, y: float) -> tuple[float, float]:
    """As OpenCV's documentation of calib3d states the models."""
    distortion = MODELS[name][1]
    if MODELS[name][0] == "equidistant":
        r = np.hypot(x, y)
        angle = np.arctan(r)
        bent = angle * (1 + sum(k * angle ** (2 * n + 2) for n, k in enumerate(distortion)))
        x, y = x * bent / r, y * bent / r
    elif name != "none":
        k1, k2, p1, p2, k3, *below = [*distortion, 0.0, 0.0, 0.0][:8]
        r2 = x * x + y * y
        radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + sum(k * r2 ** (n + 1) for n, k in enumerate(below)))
        x, y = (
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        )
    return 100 * x + 60, 110 * y + 50


@pytest.mark.parametrize("name", MODELS)
def test_a_direction_falls_where_the_formula_says(name: str) -> None:
    rays = [(0.3, -0.2), (-0.45, 0.35), (0.01, 0.4)]
    np.testing.assert_allclose(camera(name).pixels(np.array(rays)), [by_formula(name, *ray) for ray in rays], atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 127), st.floats(0, 95)), min_size=1, max_size=20))
def test_a_pixel_goes_out_and_comes_back(name: str, pixels: list[tuple[float, float]]) -> None:
    model = camera(name)
    np.testing.assert_allclose(model.pixels(model.rays(np.array(pixels))), pixels, atol=0.02)


def test_what_a_lens_does_not_see_is_nowhere() -> None:
    """Its polynomial turns back: 1.6 to the side would lie at 0.07 again."""
    model = CameraModel(SIZE, MATRIX, "plumb_bob", np.array([-0.37, 0.0, 0.0, 0.0, 0.0]))
    inside, outside = model.pixels(np.array([(0.3, 0.0), (1.6, 0.0)]))
    assert inside[0] == pytest.approx(60 + 100 * 0.3 * (1 - 0.37 * 0.09))
    assert np.isnan(outside).all()


@pytest.mark.parametrize("name", MODELS)
def test_the_view_holds_every_pixel(name: str) -> None:
    model = camera(name)
    least, greatest = model.view()
    rays = model.rays(np.stack(np.meshgrid(np.arange(128), np.arange(96)), axis=-1))
    assert (rays > least).all()
    assert (rays < greatest).all()


def test_a_message_of_raw_images_gives_k_and_d() -> None:
    sent = replace(camera("rational"), rotation=turned((0.01, 0, 0))[:3, :3])
    model = camera_model(camera_info(sent, "c"), rectified=False)
    assert (model.size, model.model) == (SIZE, "rational_polynomial")
    np.testing.assert_array_equal(model.matrix, MATRIX)
    np.testing.assert_array_equal(model.distortion, sent.distortion)
    np.testing.assert_allclose(model.rotation, sent.rotation)


@pytest.mark.parametrize("name", MODELS)
def test_a_message_gives_the_lens_that_it_is_of(name: str) -> None:
    model = camera_model(camera_info(camera(name), "c"), rectified=False)
    np.testing.assert_allclose(model.pixels(np.array([[0.4, -0.3]]))[0], by_formula(name, 0.4, -0.3), atol=1e-6)


def test_a_message_of_rectified_images_gives_p() -> None:
    projection = np.array([90.0, 0, 64, -4.5, 0, 91.0, 48, 0, 0, 0, 1, 0])
    model = camera_model(camera_info(camera("plumb_bob"), "c", p=projection), rectified=True)
    np.testing.assert_array_equal(model.matrix, [[90, 0, 64], [0, 91, 48], [0, 0, 1]])
    assert (model.distortion, model.baseline_px) == (None, -4.5)
    unset = camera_model(camera_info(camera("plumb_bob"), "c", p=np.zeros(12)), rectified=True)
    np.testing.assert_array_equal(unset.matrix, MATRIX)


def test_binning_and_region_move_the_pixels() -> None:
    region = STORE.types["sensor_msgs/msg/RegionOfInterest"](
        x_offset=20, y_offset=10, height=80, width=60, do_rectify=False
    )
    model = camera_model(camera_info(camera("none"), "c", binning_x=2, binning_y=4, roi=region), rectified=False)
    assert model.size == (20, 30)
    np.testing.assert_allclose(model.matrix, [[50, 0, 20], [0, 27.5, 10], [0, 0, 1]])


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"k": np.zeros(9)}, "not calibrated"),
        ({"distortion_model": "fov"}, "'fov' of 5 coefficients, expected plumb_bob of 4 or 5, rational_polynomial"),
        ({"d": np.ones(3)}, "'plumb_bob' of 3 coefficients"),
    ],
)
def test_a_message_that_says_too_little_is_refused(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(ImageMessageError, match=reason):
        camera_model(camera_info(camera("plumb_bob"), "c", **changed), rectified=False)


def test_no_distortion_has_no_model() -> None:
    sent = camera_info(camera("none"), "c", distortion_model="whatever", d=np.zeros(3), r=np.zeros(9))
    model = camera_model(sent, rectified=False)
    assert (model.model, model.distortion) == ("", None)
    np.testing.assert_array_equal(model.rotation, np.eye(3))


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (pinhole((60, 80), 70.0), True),
        (pinhole((60, 80), 70.02), True),
        (pinhole((60, 80), 71.0), False),
        (pinhole((60, 81), 70.0), False),
        (pinhole((60, 80), 70.0, baseline_px=-8.4), False),
    ],
    ids=["equal", "rounded", "another focal length", "another size", "the second of a stereo pair"],
)
def test_what_counts_as_the_same_pixels(other: CameraModel, same: bool) -> None:
    assert pinhole((60, 80), 70.0).same_grid(other) is same


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, 90.0),
        ({"binning_x": 2, "binning_y": 2}, 90.0),
        ({"roi": STORE.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 48, 64, False)}, 53.13),
        ({"k": np.zeros(9)}, None),
        ({"k": np.full(9, np.nan)}, None),
        ({"k": np.diag([1e-9, 1e-9, 1]).ravel()}, None),
        ({"k": np.diag([1e9, 1e9, 1]).ravel()}, None),
        ({"width": 0, "height": 0}, None),
    ],
    ids=["whole", "binned", "a region", "not calibrated", "no number", "all around", "nothing", "no size"],
)
def test_a_camera_sees_as_wide_as_its_focal_length_says(changed: dict[str, Any], expected: float | None) -> None:
    found = horizontal_fov_deg(camera_info(pinhole(SIZE, SIZE[1] / 2), "camera", **changed), rectified=False)
    assert found == (None if expected is None else pytest.approx(expected, abs=0.01))


def test_rectified_images_see_as_wide_as_p_says() -> None:
    raw, rectified = pinhole(SIZE, SIZE[1] / 2), pinhole(SIZE, SIZE[1] / 3)
    projection = np.column_stack((rectified.matrix, np.zeros(3))).ravel()
    info = camera_info(raw, "camera", p=projection)
    assert horizontal_fov_deg(info, rectified=True) == pytest.approx(112.62, abs=0.01)
    assert horizontal_fov_deg(info, rectified=False) == pytest.approx(90)
    assert horizontal_fov_deg(camera_info(raw, "camera", p=np.zeros(12)), rectified=True) == pytest.approx(90)
