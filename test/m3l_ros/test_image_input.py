"""Bad images: each is a counted drop with its reason, and the next good pair is labelled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import Image
from support import messages
from support.driver import Driver
from support.messages import SIZE
from support.rig import Rig

pytestmark = [pytest.mark.needs("rclpy"), pytest.mark.dds]
HEIGHT, WIDTH = SIZE


@pytest.fixture(scope="module")
def shared_rig(tiny_bundle: Path) -> Iterator[Rig]:
    with Rig(tiny_bundle, {"sync_timeout": 0.3, "health.size_change_frames": 3, "health.frozen_frames": 4}) as rig:
        yield rig


@pytest.fixture
def driver(shared_rig: Rig) -> Driver:
    return shared_rig.restarted().driver


def edited(message: Image, **fields: Any) -> Image:
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def cut(message: Image) -> Image:
    return edited(message, data=message.data[: len(message.data) // 2])


def metric(value: float) -> Image:
    return messages.image(np.full(SIZE, value, np.float32), "32FC1")


def flat(value: int) -> Image:
    return messages.image(np.full((*SIZE, 3), value, np.uint8), "rgb8")


BAD_COLOR: dict[str, tuple[Callable[[], Image], str]] = {
    "unknown encoding": (lambda: edited(messages.color(), encoding="rgb565"), "Encoding 'rgb565' is not supported"),
    "no encoding": (lambda: edited(messages.color(), encoding=""), "Encoding '' is not supported"),
    "data shorter than height * step": (lambda: cut(messages.color()), "needs 18432 bytes of data, got 9216"),
    "step shorter than a row": (lambda: edited(messages.color(), step=WIDTH), "needs a step of 288 bytes"),
    "no data": (lambda: edited(messages.color(), data=b""), "it has no data"),
    "zero size": (lambda: Image(encoding="rgb8"), "is empty"),
    "zero width": (lambda: Image(encoding="rgb8", height=HEIGHT), "is empty"),
    "immense size": (lambda: edited(messages.color(), height=2**32 - 1, width=2**32 - 1, step=2**32 - 1), "needs"),
    "depth on the color topic": (messages.depth, "not a color image"),
    "odd yuv": (lambda: messages.image(np.ones((4, 3, 2), np.uint8), "yuv422"), "width must be even"),
    "covered lens": (lambda: flat(2), "black image"),
    "blinded lens": (lambda: flat(255), "saturated image"),
}
BAD_DEPTH: dict[str, tuple[Callable[[], Image], str]] = {
    "unknown encoding": (lambda: edited(messages.depth(), encoding="64FC1"), "Encoding '64FC1' is not supported"),
    "data shorter than height * step": (lambda: cut(messages.depth()), "needs 12288 bytes of data, got 6144"),
    "zero size": (lambda: Image(encoding="16UC1"), "is empty"),
    "all NaN": (lambda: metric(np.nan), "0% of the depth is valid"),
    "all Inf": (lambda: metric(np.inf), "0% of the depth is valid"),
    "all -Inf": (lambda: metric(-np.inf), "0% of the depth is valid"),
    "all zero": (lambda: messages.image(np.zeros(SIZE, np.uint16), "16UC1"), "0% of the depth is valid"),
    "color on the depth topic": (messages.color, "not a depth image"),
}


def expect_drop(driver: Driver, modality: str, send: Callable[[], int], reason: str, patience_s: float = 3.0) -> None:
    """What is sent, often enough, must be dropped as unhealthy and for this reason."""

    def dropped(_: int) -> bool:
        return reason in driver.status(modality).values.get("last reason", "")

    driver.repeat(f"drop of {modality} because '{reason}'", send, dropped, patience_s)
    assert driver.status(modality).count("dropped: unhealthy") > 0
    assert driver.status("segmentation").count("dropped: unhealthy") > 0


@pytest.mark.parametrize("case", BAD_COLOR)
def test_bad_color_is_dropped_with_its_reason_and_depth_is_labelled_without_it(driver: Driver, case: str) -> None:
    make, reason = BAD_COLOR[case]
    driver.label_pair()
    expect_drop(driver, "color", lambda: driver.send_pair(color=make()), reason)
    assert driver.wait_for_mask(driver.stamp_ns).header.frame_id == "depth_optical_frame"
    driver.wait_for_line(reason)
    assert driver.label_pair().header.frame_id == "color_optical_frame"


@pytest.mark.parametrize("case", BAD_DEPTH)
def test_bad_depth_is_dropped_with_its_reason_and_color_is_labelled_without_it(driver: Driver, case: str) -> None:
    make, reason = BAD_DEPTH[case]
    if "all" in case and "zero" not in case:
        driver.make_depth = lambda seed: messages.image(messages.metres(seed), "32FC1")
    driver.label_pair()
    expect_drop(driver, "depth", lambda: driver.send_pair(depth=make()), reason)
    driver.wait_for_mask(driver.stamp_ns)
    driver.wait_for_line(reason)
    driver.label_pair()
    assert driver.status("segmentation").count("sets partial") >= 1


def test_depth_with_holes_is_used(driver: Driver) -> None:
    def with_holes(seed: int) -> Image:
        depth = messages.metres(seed)
        depth[:20], depth[20:40], depth[40:50], depth[50:60] = np.nan, np.inf, -np.inf, 0.0
        return messages.image(depth, "32FC1")

    driver.make_depth = with_holes
    driver.label_pair()
    assert driver.status("segmentation").dropped == {}


@pytest.mark.parametrize("modality", ["color", "depth"])
def test_frames_without_a_stamp_are_dropped_with_that_reason(driver: Driver, modality: str) -> None:
    driver.label_pair()
    send = driver.send_color if modality == "color" else driver.send_depth
    expect_drop(driver, modality, lambda: send(stamp_ns=0), "its stamp is zero")
    driver.label_pair()
    assert 0 not in driver.mask_stamps()


def test_another_resolution_is_refused_at_first_and_labelled_once_it_lasts(driver: Driver) -> None:
    driver.label_pair()
    small = (32, 48)
    expect_drop(
        driver, "color", lambda: driver.send_pair(messages.color(driver.count, small)), "size 96x64 became 48x32", 0.2
    )
    driver.make_color = lambda seed: messages.color(seed, small)
    mask = driver.label_pair(0.2)
    assert (mask.height, mask.width) == small
    driver.make_color = messages.color
    mask = driver.label_pair(0.2)
    assert (mask.height, mask.width) == SIZE


def test_a_frozen_sensor_is_dropped_until_it_moves(driver: Driver) -> None:
    driver.label_pair()
    frozen = messages.color(1)
    expect_drop(driver, "color", lambda: driver.send_pair(frozen), "same image 4 or more times in a row", 0.2)
    driver.label_pair()
