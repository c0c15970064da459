"""A sensor drops out, or never was there: labels go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import messages
from support.driver import Driver
from support.rig import Rig

pytestmark = [pytest.mark.needs("rclpy"), pytest.mark.dds]


@pytest.fixture(scope="module")
def shared_rig(tiny_bundle: Path) -> Iterator[Rig]:
    with Rig(tiny_bundle, {"sync_timeout": 0.1, "sensor_timeout": 0.5}) as rig:
        yield rig


@pytest.fixture
def driver(shared_rig: Rig) -> Driver:
    return shared_rig.restarted().driver


def test_without_depth_every_color_frame_is_labelled(driver: Driver) -> None:
    driver.label_pair()
    driver.received["mask"].clear()
    sent = []
    for _ in range(6):
        sent.append(driver.send_color())
        driver.wait_for_mask(sent[-1])
    assert driver.mask_stamps() == sent
    assert {mask.header.frame_id for mask in driver.received["mask"]} == {"color_optical_frame"}
    driver.wait_for("word of depth being lost", lambda: driver.status("depth").state == "LOST")
    driver.wait_for_line("depth is LOST")


def test_without_color_the_masks_are_those_of_depth_until_both_are_back(driver: Driver) -> None:
    driver.make_depth = lambda seed: messages.depth(seed, (32, 48))
    driver.label_pair()
    driver.received["mask"].clear()
    sent = []
    for _ in range(6):
        sent.append(driver.send_depth())
        mask = driver.wait_for_mask(sent[-1])
        assert mask.header.frame_id == "depth_optical_frame"
        assert (mask.height, mask.width) == (32, 48)
    assert driver.mask_stamps() == sent
    driver.wait_for("word of color being lost", lambda: driver.status("color").state == "LOST")

    complete = driver.status("segmentation").count("sets complete")
    driver.repeat(
        "complete set",
        driver.send_pair,
        lambda stamp: driver.mask(stamp) and driver.status("segmentation").count("sets complete") > complete,
    )
    assert driver.received["mask"][-1].header.frame_id == "color_optical_frame"
    driver.wait_for_line("color is LOST")


def test_a_sensor_that_never_was_there_is_not_waited_for(driver: Driver) -> None:
    mask = driver.repeat("mask of color alone", driver.send_color, driver.mask)
    assert mask.header.frame_id == "color_optical_frame"
    status = driver.wait_for("word of depth being lost", lambda: (s := driver.status("depth")).state == "LOST" and s)
    assert status.values["age [s]"] == "never seen"
    assert status.count("frames in") == 0


def test_the_console_says_each_change_once_however_many_frames_come(driver: Driver) -> None:
    driver.label_pair()
    for _ in range(5):
        driver.wait_for_mask(driver.send_color())
    driver.wait_for("word of depth being lost", lambda: driver.status("depth").state == "LOST")
    for _ in range(5):
        driver.wait_for_mask(driver.send_color())
    driver.wait_for_line("depth is LOST")
    assert len(driver.lines("depth is LOST")) == 1


def test_stamps_that_jump_back_as_when_a_bag_loops_do_not_end_the_labelling(driver: Driver) -> None:
    driver.label_pair()
    driver.label_pair()
    driver.stamp_ns -= 60_000_000_000
    driver.label_pair()
    driver.wait_for_line("jumped back by")
    assert len(driver.lines("reset")) == 1
    assert driver.wait_for("count of resets", lambda: driver.status("segmentation").count("resets")) == 1


def test_clocks_that_disagree_are_named_and_do_not_silence_the_node(driver: Driver) -> None:
    def send() -> int:
        stamp_ns = driver.send_color()
        driver.send_depth(stamp_ns=stamp_ns - 700_000_000)
        return stamp_ns

    driver.repeat("word of it", send, lambda _: driver.lines("color and depth differ by 0.7"), 0.2)
    driver.repeat("mask", send, driver.mask)
    assert "stamp_offset.depth" in driver.lines("color and depth differ by 0.7")[0]
