"""Whatever is thrown at the running node, its callbacks survive, and the next good pair is labelled."""

from __future__ import annotations

import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from support import messages
from support.rig import Rig

pytestmark = [pytest.mark.needs("rclpy"), pytest.mark.dds]
COUNT = 300
ENCODINGS = (
    *("rgb8", "bgr8", "bgra8", "mono8", "8UC3", "yuv422", "yuv422_yuy2", "nv12", "nv21", "nv24", "bayer_rggb8"),
    *("bayer_gbrg16", "rgb16", "16UC1", "32FC1", "mono16", "64FC4", "", "\x00", "16UC1; compressedDepth", "üñí"),
)
FORMATS = (
    *("jpeg", "png", "rgb8; jpeg compressed bgr8", "16UC1; compressedDepth png", "16UC1; compressedDepth rvl"),
    *("32FC1; compressedDepth png", "32FC1; compressedDepth rvl", "16UC1; png compressed", "", "; ;", "h264", "tiff"),
)
SIDES = (0, 1, 2, 3, 5, 64, 96, 2**16, 2**31, 2**32 - 1)


class Odd:
    """Messages of one seed that no driver should send, and some that one did."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def _one_of(self, values: Any) -> Any:
        return values[int(self._random.integers(len(values)))]

    def _bytes(self, length: int) -> array.array:
        return array.array("B", self._random.integers(0, 256, length, np.uint8).tobytes())

    def _stamped(self, message: Any) -> Any:
        message.header.stamp.sec = self._one_of((0, -1, -(2**31), 2**31 - 1, 1_700_000_000, 5))
        message.header.stamp.nanosec = self._one_of((0, 1, 999_999_999, 10**9, 2**32 - 1))
        message.header.frame_id = self._one_of(("", "camera", "/", "x" * 1000))
        return message

    def image(self) -> Image:
        height, width = self._one_of(SIDES), self._one_of(SIDES)
        step = self._one_of((width, 2 * width, 3 * width, 4 * width, *SIDES)) % 2**32
        message = Image(height=height, width=width, step=step, encoding=self._one_of(ENCODINGS))
        message.is_bigendian = self._one_of((0, 1, 255))
        fitting = height * step
        message.data = self._bytes(self._one_of((0, 1, 4095, fitting if fitting < 100_000 else 7)))
        return self._stamped(message)

    def compressed(self) -> CompressedImage:
        make = self._one_of((messages.jpeg, messages.png, messages.compressed_depth, messages.compressed_metric_depth))
        message = make(int(self._random.integers(99)))
        data = bytearray(message.data)
        for _ in range(self._one_of((0, 1, 5, 50))):
            data[int(self._random.integers(len(data)))] = int(self._random.integers(256))
        message.data = array.array("B", data[: self._one_of((0, 1, 12, 13, 40, len(data) // 2, len(data)))])
        message.format = self._one_of((message.format, *FORMATS))
        return self._stamped(message)

    def camera_info(self) -> CameraInfo:
        message = CameraInfo(height=self._one_of(SIDES), width=self._one_of(SIDES))
        message.k = [float(self._one_of((0.0, -1.0, np.nan, np.inf, 1e300))) for _ in range(9)]
        message.d = [float("nan")] * self._one_of((0, 1, 500))
        message.binning_x = self._one_of((0, 1, 2**32 - 1))
        message.roi.width = self._one_of(SIDES)
        return self._stamped(message)


@pytest.mark.parametrize("transport", ["raw", "compressed", "compressedDepth"])
def test_the_next_good_pair_is_labelled(tiny_bundle: Path, transport: str) -> None:
    raw = transport == "raw"
    parameters = {"image_transport": "raw" if raw else "compressed", "depth_image_transport": transport}
    odd = Odd(seed=len(transport))
    with Rig(tiny_bundle, parameters) as rig:
        driver = rig.driver
        if not raw:
            driver.color_topic += "/compressed"
            driver.depth_topic += f"/{transport}"
            driver.make_color, driver.make_depth = messages.jpeg, messages.compressed_depth
        driver.label_pair()
        make: Callable[[], Any] = odd.image if raw else odd.compressed
        infos = driver.node.create_publisher(CameraInfo, "/color/camera_info", 10)
        publishers = [
            driver.node.create_publisher(Image if raw else CompressedImage, topic, 10)
            for topic in (driver.color_topic, driver.depth_topic)
        ]
        for _ in range(COUNT // 3):
            for publisher in publishers:
                publisher.publish(make())
            infos.publish(odd.camera_info())
            driver._turn()
        received = driver.status("color").count("frames in") + driver.status("depth").count("frames in")
        driver.label_pair()
        assert received > COUNT // 3, "most of them should have arrived"
        assert not driver.lines("Traceback")
