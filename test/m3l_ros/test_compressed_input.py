"""Images through compressed transports, whole and damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sensor_msgs.msg import CompressedImage
from support import messages
from support.driver import Driver
from support.messages import SIZE
from support.rig import Rig

pytestmark = [pytest.mark.needs("rclpy"), pytest.mark.dds]
TRANSPORTS = {"image_transport": "compressed", "depth_image_transport": "compressedDepth", "sync_timeout": 0.3}
REMAPPINGS = ("color/image_raw:=/camera/rgb", "depth/image_rect:=/camera/aligned_depth")


@pytest.fixture(scope="module")
def shared_rig(tiny_bundle: Path) -> Iterator[Rig]:
    cli_args = ["--ros-args", *(word for remapping in REMAPPINGS for word in ("-r", remapping))]
    with Rig(tiny_bundle, TRANSPORTS, cli_args=cli_args, active=False) as rig:
        rig.driver.color_topic, rig.driver.depth_topic = (
            "/camera/rgb/compressed",
            "/camera/aligned_depth/compressedDepth",
        )
        assert rig.driver.change_state("configure")
        assert rig.driver.change_state("activate")
        yield rig


@pytest.fixture
def driver(shared_rig: Rig) -> Driver:
    driver = shared_rig.restarted().driver
    driver.make_color, driver.make_depth = messages.jpeg, messages.compressed_depth
    return driver


@pytest.mark.parametrize("make_depth", [messages.compressed_depth, messages.compressed_metric_depth])
def test_compressed_transports_follow_the_remapping_of_their_base_topics(
    driver: Driver, make_depth: Callable[[int], CompressedImage]
) -> None:
    driver.make_depth = make_depth
    mask = driver.label_pair()
    assert (mask.height, mask.width) == SIZE
    assert mask.header.frame_id == "color_optical_frame"
    assert driver.status("segmentation").dropped == {}


def part(message: CompressedImage, share: float) -> CompressedImage:
    message.data = message.data[: int(len(message.data) * share)]
    return message


BAD_COLOR: dict[str, tuple[Callable[[], CompressedImage], str]] = {
    "truncated jpeg": (lambda: part(messages.jpeg(), 0.5), "jpeg truncated"),
    "truncated png": (lambda: part(messages.png(), 0.5), "png truncated"),
    "empty": (lambda: messages.compressed(b"", "jpeg"), "it is empty, 0 bytes"),
    "no image": (lambda: messages.compressed(b"no image at all", "jpeg"), "must hold a jpeg or png"),
    "head and end of a jpeg alone": (lambda: messages.compressed(b"\xff\xd8\xff\xd9", "jpeg"), "corrupt jpeg"),
    "depth": (messages.compressed_depth, "not a color image"),
}
BAD_DEPTH: dict[str, tuple[Callable[[], CompressedImage], str]] = {
    "truncated png": (lambda: part(messages.compressed_depth(), 0.5), "png truncated"),
    "less than the header": (lambda: messages.compressed(b"\0\0", "16UC1; compressedDepth png"), "its 2 bytes end"),
    "empty": (lambda: messages.compressed(b"", "16UC1; compressedDepth png"), "it is empty, 0 bytes"),
    "RVL": (lambda: messages.compressed(bytes(64), "16UC1; compressedDepth rvl"), "corrupt rvl"),
    "jpeg": (lambda: messages.compressed(bytes(64), "8UC1; compressedDepth png"), "is not a depth image"),
    "no format": (lambda: messages.compressed(bytes(64), ""), "must hold a png"),
}


@pytest.mark.parametrize("case", BAD_COLOR)
def test_damaged_color_is_dropped_with_its_reason_and_the_next_pair_is_labelled(driver: Driver, case: str) -> None:
    make, reason = BAD_COLOR[case]
    driver.label_pair()
    expect_drop(driver, "color", lambda: driver.send_pair(color=make()), reason)
    driver.label_pair()


@pytest.mark.parametrize("case", BAD_DEPTH)
def test_damaged_depth_is_dropped_with_its_reason_and_color_is_labelled_without_it(driver: Driver, case: str) -> None:
    make, reason = BAD_DEPTH[case]
    driver.label_pair()
    expect_drop(driver, "depth", lambda: driver.send_pair(depth=make()), reason)
    driver.wait_for_mask(driver.stamp_ns)
    driver.label_pair()


def expect_drop(driver: Driver, modality: str, send: Callable[[], int], reason: str) -> None:
    driver.repeat(
        f"drop of {modality} because '{reason}'",
        send,
        lambda _: reason in driver.status(modality).values.get("last reason", ""),
    )
    assert driver.status(modality).count("dropped: unhealthy") > 0
    driver.wait_for_line(reason)
