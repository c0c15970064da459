"""Color and depth in, label images out, whatever drops: the real node over real DDS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image
from support import messages
from support.driver import Driver
from support.messages import SIZE, pixels_of
from support.rig import Rig

from m3l_core.labels import LabelSet
from m3l_core.streaming.image_messages import stamp_to_ns

pytestmark = [pytest.mark.needs("rclpy"), pytest.mark.dds]


@pytest.fixture(scope="module")
def shared_rig(tiny_bundle: Path) -> Iterator[Rig]:
    with Rig(tiny_bundle) as rig:
        yield rig


@pytest.fixture
def driver(shared_rig: Rig) -> Driver:
    return shared_rig.restarted().driver


def test_a_pair_becomes_an_unpadded_mask_under_the_header_of_color(driver: Driver) -> None:
    mask = driver.label_pair()
    assert (mask.height, mask.width) == SIZE
    assert (mask.encoding, mask.step, mask.is_bigendian) == ("mono8", mask.width, 0)
    assert len(mask.data) == mask.height * mask.width
    assert mask.header.frame_id == "color_optical_frame"
    assert pixels_of(mask).max() < 4
    stamp_ns = stamp_to_ns(mask.header.stamp)
    confidence = driver.wait_for(
        "confidence", lambda: [m for m in driver.received["confidence"] if m.header == mask.header]
    )[0]
    assert (confidence.height, confidence.width, confidence.encoding) == (*SIZE, "mono8")
    assert pixels_of(confidence).min() >= 255 // 4  # the best of four classes
    assert driver.mask_stamps().count(stamp_ns) == 1


def test_depth_of_another_frame_than_color_s_is_told_once(driver: Driver) -> None:
    driver.label_pair()
    driver.wait_for_line("depth is in the frame 'depth_optical_frame', color in 'color_optical_frame'")
    driver.label_pair()
    driver.label_pair()
    assert len(driver.lines("depth is in the frame")) == 1


def test_camera_info_is_repeated_with_the_header_of_the_mask(driver: Driver) -> None:
    driver.label_pair()
    assert driver.received["camera_info"] == []
    info = CameraInfo(height=SIZE[0], width=SIZE[1], k=[80.0, 0.0, 48.0, 0.0, 80.0, 32.0, 0.0, 0.0, 1.0])
    info.header.frame_id = "another_frame"

    def send() -> int:
        driver.send("/color/camera_info", info, driver.stamp_ns - 5)
        return driver.send_pair()

    copied = driver.repeat(
        "camera_info",
        send,
        lambda stamp: next((i for i in driver.received["camera_info"] if stamp_to_ns(i.header.stamp) == stamp), None),
    )
    assert copied.header.frame_id == "color_optical_frame"
    assert (copied.height, copied.width, list(copied.k)) == (info.height, info.width, list(info.k))


def test_zed_images_are_labelled(driver: Driver) -> None:
    def bgra(seed: int) -> Image:
        rgb = messages.rgb(seed)
        return messages.image(np.dstack([rgb[..., ::-1], np.full(SIZE, 255, np.uint8)]), "bgra8")

    def metric(seed: int) -> Image:
        depth = messages.metres(seed)
        depth[:8], depth[8:16] = np.nan, np.inf
        return messages.image(depth, "32FC1")

    driver.make_color, driver.make_depth = bgra, metric
    assert driver.label_pair().header.frame_id == "color_optical_frame"
    driver.wait_for("health of both", lambda: driver.status("color").message == driver.status("depth").state == "OK")
    assert driver.status("segmentation").dropped == {}


def test_the_same_picture_gets_the_same_labels_whatever_its_encoding(shared_rig: Rig) -> None:
    rgb, depth = messages.rgb(7), messages.image(messages.millimetres(7), "16UC1")
    masks = []
    for color in (messages.image(rgb, "rgb8"), messages.image(np.ascontiguousarray(rgb[..., ::-1]), "bgr8")):
        driver = shared_rig.restarted().driver
        driver.make_color, driver.make_depth = lambda seed, color=color: color, lambda seed: depth
        masks.append(pixels_of(driver.label_pair()))
    np.testing.assert_array_equal(*masks)


def test_pictures_are_drawn_only_while_somebody_looks(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    colorize = LabelSet.colorize
    monkeypatch.setattr(LabelSet, "colorize", lambda self, labels: drawn.append(1) or colorize(self, labels))
    driver.label_pair()
    assert not drawn

    for name in ("overlay", "color_mask"):
        subscription = driver.listen(Image, name)
        pictures = driver.received[name]
        driver.repeat(f"picture on {name}", driver.send_pair, lambda stamp, pictures=pictures: pictures)
        assert (pictures[-1].encoding, pictures[-1].height, pictures[-1].width) == ("rgb8", *SIZE)
        assert pictures[-1].header.frame_id == "color_optical_frame"
        driver.forget(subscription)
        driver.wait_for("nobody to look", lambda name=name: nobody_looks(driver, name))
    palette = {(0, 0, 0), (150, 120, 80), (120, 160, 190), (255, 220, 60), (128, 128, 128)}
    assert {tuple(color) for color in pixels_of(driver.received["color_mask"][-1]).reshape(-1, 3)} <= palette

    drawn.clear()
    driver.label_pair()
    assert not drawn


def nobody_looks(driver: Driver, name: str) -> bool:
    return driver.node.count_subscribers(f"/segmentation/{name}") == 0


def test_classes_are_announced_where_vision_msgs_is_installed(driver: Driver) -> None:
    vision_msgs = pytest.importorskip("vision_msgs.msg", reason="vision_msgs comes with ROS 2, not with its wheels")
    from rclpy.qos import DurabilityPolicy, QoSProfile

    heard: list = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    driver.node.create_subscription(vision_msgs.LabelInfo, "/segmentation/label_info", heard.append, latched)
    driver.wait_for("label_info", lambda: heard)
    assert [(entry.class_id, entry.class_name) for entry in heard[0].class_map] == list(
        enumerate(("floor", "wall", "chair", "clutter"))
    )
