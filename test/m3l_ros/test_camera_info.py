"""The camera_info beside a mask: where a point falls in the images, it falls in the mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.needs("sensor_msgs")
SIDES = st.integers(2, 2000)


@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.floats(-1, 1), st.floats(-1, 1))
def test_corners_of_the_image_are_corners_of_the_mask(
    images: tuple[int, int], size: tuple[int, int], x: float, y: float
) -> None:
    """A pixel's center has whole coordinates, so an image reaches from -0.5 to its side - 0.5."""
    from sensor_msgs.msg import CameraInfo

    from m3l_ros.camera_info import fitted

    (height, width), focal = images, 500.0
    k = [focal, 0.0, width * 0.4, 0.0, focal, height * 0.6, 0.0, 0.0, 1.0]
    info = CameraInfo(height=height, width=width, k=k, p=[*k[:3], -7.0, *k[3:6], 0.0, *k[6:], 0.0])
    scaled = fitted(info, images, size)
    assert scaled is not None and (scaled.height, scaled.width) == size
    matrix = np.array(scaled.k).reshape(3, 3)
    before, after = np.array(info.k).reshape(3, 3) @ (x, y, 1), matrix @ (x, y, 1)
    scale = np.array(size)[::-1] / images[::-1]
    np.testing.assert_allclose(after[:2] + 0.5, (before[:2] + 0.5) * scale, rtol=1e-9, atol=1e-6)
    projection = np.array(scaled.p).reshape(3, 4)
    np.testing.assert_allclose(projection[:, :3], matrix)
    assert projection[0, 3] == pytest.approx(-7.0 * scale[0])
    assert list(info.k) == k, "the message that came is left as it is"


def test_it_counts_for_the_part_of_the_sensor_that_is_read() -> None:
    from sensor_msgs.msg import CameraInfo, RegionOfInterest

    from m3l_core.registration.camera_model import camera_model
    from m3l_ros.camera_info import fitted

    info = CameraInfo(height=480, width=640, binning_x=2, binning_y=2)
    same = fitted(info, (240, 320), (240, 320))
    assert same is not None and (same.height, same.binning_x) == (480, 2)
    info.roi = RegionOfInterest(x_offset=100, y_offset=40, height=200, width=300)
    info.k = [400.0, 0.0, 300.0, 0.0, 400.0, 240.0, 0.0, 0.0, 1.0]
    half = fitted(info, (100, 150), (50, 75))
    assert half is not None and (half.height, half.width, half.roi.height, half.binning_x) == (50, 75, 0, 0)
    assert list(half.k[:6]) == [100.0, 0.0, 49.75, 0.0, 100.0, 49.75]  # (300 - 100) / 4 - 0.25, (240 - 40) / 4 - 0.25
    np.testing.assert_array_equal(half.p, 0.0, "what is not calibrated stays so")
    model = camera_model(info, rectified=True)
    assert (model.size, model.matrix[0, 2], model.matrix[1, 2]) == ((100, 150), 100.0, 100.0)


def test_one_of_other_images_does_not_fit() -> None:
    from sensor_msgs.msg import CameraInfo

    from m3l_ros.camera_info import fitted

    assert fitted(CameraInfo(height=480, width=480), (480, 640), (480, 480)) is None
    assert fitted(CameraInfo(), (480, 640), (480, 640)) is None
