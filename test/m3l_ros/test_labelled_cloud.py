"""Which of a camera_info's matrices the points obey, and when they are worked out anew."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, RegionOfInterest

from m3l_core.errors import M3LError
from m3l_core.frames import Frame, FrameSet
from m3l_core.registration.labelled_points import POINT
from m3l_ros.labelled_cloud import LabelledCloud

pytestmark = pytest.mark.needs("sensor_msgs")
SIZE = (24, 32)
BYTES = np.ones(SIZE, np.uint8)
DEPTH = FrameSet("depth", {"depth": Frame("depth", 1, np.full(SIZE, 1500, np.uint16))})
K = np.array([[30.0, 0.0, 15.0], [0.0, 31.0, 12.0], [0.0, 0.0, 1.0]])
P = np.array([[25.0, 0.0, 14.0, 0.0], [0.0, 25.0, 11.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
BENT = np.array([-0.2, 0.05, 0.002, -0.001, 0.0])
INFO = "/color/camera_info"


def camera_info(matrix: np.ndarray = K, **more: object) -> CameraInfo:
    info = CameraInfo(height=SIZE[0], width=SIZE[1], k=matrix.ravel(), p=P.ravel(), **more)
    info.d, info.distortion_model = BENT.tolist(), "plumb_bob"
    return info


def points(cloud: LabelledCloud, info: CameraInfo) -> np.ndarray:
    found = np.frombuffer(cloud.message(DEPTH, BYTES, BYTES, info).data, POINT).copy()
    return np.column_stack([found[name] for name in "xyz"]).astype(np.float64)


def every_pixel() -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0])), axis=-1).reshape(-1, 2)


def test_k_and_d_hold_for_a_raw_image_and_p_for_a_rectified_one() -> None:
    raw = points(LabelledCloud(["depth"], "/color/image_raw", INFO), camera_info())
    pixels = cv2.projectPoints(raw, np.zeros(3), np.zeros(3), K, BENT)[0].reshape(-1, 2)
    np.testing.assert_allclose(pixels, every_pixel(), atol=0.05)
    rectified = points(LabelledCloud(["depth"], "/zed/rgb/color/rect/image", INFO), camera_info()) @ P[:, :3].T
    np.testing.assert_allclose(rectified[:, :2] / rectified[:, 2:], every_pixel(), atol=1e-3)


def test_another_camera_info_counts_from_the_next_cloud_on() -> None:
    cloud = LabelledCloud(["depth"], "/color/image_rect", INFO)
    first, again = points(cloud, camera_info()), points(cloud, camera_info())
    np.testing.assert_array_equal(first, again)
    shifted = RegionOfInterest(x_offset=4, height=SIZE[0], width=SIZE[1])
    moved = points(cloud, camera_info(roi=shifted))
    np.testing.assert_allclose(moved[:, 0] - first[:, 0], 4 * 1.5 / 25.0, rtol=1e-4)


def test_what_is_lacking_is_said() -> None:
    cloud = LabelledCloud(["depth"], "/color/image_raw", INFO)
    with pytest.raises(M3LError, match="there is no depth: unplugged"):
        lost = FrameSet("color", {"color": Frame("color", 1, np.zeros((*SIZE, 3), np.uint8))}, {"depth": "unplugged"})
        cloud.message(lost, BYTES, BYTES, camera_info())
    with pytest.raises(M3LError, match="there is no depth: the bundle has no such sensor"):
        LabelledCloud([], "/color/image_raw", INFO).message(DEPTH, BYTES, BYTES, camera_info())
    with pytest.raises(M3LError, match="on /color/camera_info nothing has come"):
        cloud.message(DEPTH, BYTES, BYTES, None)
    for wrong in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(M3LError, match="of /color/camera_info: the camera is not calibrated"):
            cloud.message(DEPTH, BYTES, BYTES, camera_info(np.full((3, 3), wrong)))
