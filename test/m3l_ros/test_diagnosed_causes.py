"""/diagnostics and the log say why: who publishes what, which geometry does not fit, which sensor is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import messages
from support.driver import Driver
from support.engines import ConstantEngine, loader
from support.rig import Rig

pytestmark = [pytest.mark.needs("rclpy"), pytest.mark.dds]
HEIGHT, WIDTH = messages.SIZE


@pytest.fixture(scope="module")
def shared_rig(tiny_bundle: Path) -> Iterator[Rig]:
    waits = {
        "sync_timeout": 0.1,
        "sensor_timeout": 1.0,
        "health.size_change_frames": 0,
        "qos_overrides./depth/image_rect.subscription.reliability": "reliable",
    }
    with Rig(tiny_bundle, waits, loader(ConstantEngine())) as rig:
        yield rig


@pytest.fixture
def driver(shared_rig: Rig) -> Driver:
    return shared_rig.restarted().driver


def test_a_lost_sensor_says_who_publishes_what(driver: Driver) -> None:
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import CompressedImage, Image

    def says(sensor: str, text: str) -> None:
        driver.wait_for(f"'{text}'", lambda: text in driver.status(sensor).message)

    says("color", "LOST: 0 publishers on /color/image_raw")
    assert driver.status("color").values["topic"] == "/color/image_raw"
    assert driver.status("color").values["type"] == "sensor_msgs/msg/Image"
    assert driver.status("color").values["publishers"] == "0"
    driver.wait_for("both to be missed", lambda: "color and depth are LOST" in driver.status("segmentation").message)
    assert driver.status("segmentation").level == 2

    made = [driver.node.create_publisher(CompressedImage, "/color/image_raw/compressed", 5)]
    says("color", "but 1 on /color/image_raw/compressed: set image_transport to compressed")
    made.append(driver.node.create_publisher(CompressedImage, "/color/image_raw", 5))
    says("color", "LOST: 1 publisher on /color/image_raw, but of CompressedImage: set image_transport to compressed")
    made.append(driver.node.create_publisher(Image, "/depth/image_rect", qos_profile_sensor_data))
    says("depth", "LOST: 1 publisher on /depth/image_rect, but QoS does not match: ")
    for publisher in made:
        driver.node.destroy_publisher(publisher)


def test_one_lost_sensor_is_a_warning_of_the_whole(driver: Driver) -> None:
    driver.repeat("word of it", driver.send_color, lambda _: "without depth" in driver.status("segmentation").message)
    assert (driver.status("segmentation").level, driver.status("color").level) == (1, 0)


def test_camera_info_is_scaled_to_the_mask_or_left_out_and_both_are_told_once(driver: Driver) -> None:
    from sensor_msgs.msg import CameraInfo

    def of_size(height: int, width: int) -> CameraInfo:
        return CameraInfo(height=height, width=width, k=[8.0, 0.0, 4.0, 0.0, 8.0, 3.0, 0.0, 0.0, 1.0])

    def send(info: CameraInfo) -> int:
        driver.send("/color/camera_info", info, driver.stamp_ns)
        return driver.send_pair()

    driver.repeat("camera_info", lambda: send(of_size(2 * HEIGHT, 2 * WIDTH)), lambda _: driver.received["camera_info"])
    scaled = driver.received["camera_info"][0]
    assert (scaled.height, scaled.width, list(scaled.k)[:6]) == (HEIGHT, WIDTH, [4.0, 0.0, 1.75, 0.0, 4.0, 1.25])
    for _ in range(3):
        driver.repeat("pair", lambda: send(of_size(WIDTH, WIDTH)), driver.mask)
    assert not [line for line in driver.lines("color/camera_info is of") if line.count("scaled") != 1]
    driver.wait_for_line("it cannot be scaled to that and is not passed on")
    number = len(driver.received["camera_info"])
    driver.repeat("pair", lambda: send(of_size(WIDTH, WIDTH)), driver.mask)
    assert len(driver.received["camera_info"]) == number
    assert len(driver.lines("color/camera_info is of")) == 2


def test_depth_of_another_aspect_ratio_is_not_stretched_over_color(driver: Driver) -> None:
    driver.make_depth = lambda seed: messages.depth(seed, (HEIGHT, HEIGHT))
    driver.label_pair()
    driver.label_pair()
    assert len(driver.lines("does not lie over color")) == 1
    driver.wait_for("warning", lambda: "does not lie over color" in driver.status("segmentation").message)
    assert driver.status("segmentation").level == 1
    driver.make_depth = messages.depth
    driver.label_pair()
    driver.wait_for("end of it", lambda: "does not lie over" not in driver.status("segmentation").message)


def test_an_engine_that_is_too_slow_is_told_with_its_rate() -> None:
    from m3l_ros.diagnostics import LoadMeter

    now_s = [0.0]
    meter = LoadMeter(lambda: now_s[0])
    assert meter.overload(0, 0, 0) == ""
    for second in range(1, 20):
        now_s[0] = second
        told = meter.overload(30 * second, 27 * second, 3 * second)
        assert told == "", "a tenth is no warning"
    for second in range(20, 30):
        now_s[0] = second
        told = meter.overload(30 * second, 27 * 19 + 8 * (second - 19), 3 * 19 + 22 * (second - 19))
    assert told.startswith("the engine holds 8.0 frame sets a second of 30.0")
    for second in range(30, 40):
        now_s[0] = second
        told = meter.overload(30 * 29, 1000, 3 * 19 + 22 * 10)
    assert told == "", "nothing comes any more"


def test_names_are_those_of_the_node_and_hardware_is_the_topic() -> None:
    from m3l_core.streaming.modality_report import ModalityReport, ModalityState
    from m3l_ros.diagnostics import modality_status, pipeline_status
    from m3l_ros.topic_facts import TopicFacts

    report = ModalityReport(ModalityState.OK, 0, None, 0.0, None, 10**9, 1, 0, 0, {}, 0, 0, "", "stamps never meet")
    status = modality_status("/front/segment_node", "color", report, TopicFacts("/front/rgb", {"publishers": 2}, ""))
    assert (status.name, status.hardware_id) == ("/front/segment_node: color", "/front/rgb")
    assert (status.level, status.message) == (b"\x01", "OK: stamps never meet")
    assert "publishers" in {pair.key for pair in status.values}
    whole = pipeline_status("/front/segment_node", True, (["color"], 3), {}, "", "the engine is slow")
    assert (whole.name, whole.level) == ("/front/segment_node: segmentation", b"\x01")
    assert whole.message == "labelling without color; the engine is slow"
    assert pipeline_status("/n", True, ([], 2), {}, "", "nothing is missed").message == "labelling; nothing is missed"
    assert pipeline_status("/n", False, ([], 2), {}, "", "").message == "inactive"
    assert pipeline_status("/n", True, ([], 2), {}, "out of luck", "").level == b"\x02"
