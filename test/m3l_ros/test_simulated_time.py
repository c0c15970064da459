"""use_sim_time: waits and timeouts follow /clock, also when it jumps back as in a looping bag."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from rosgraph_msgs.msg import Clock
from support.driver import Driver
from support.engines import ConstantEngine, loader
from support.rig import Rig

from m3l_core.streaming.image_messages import set_stamp

pytestmark = [pytest.mark.needs("rclpy"), pytest.mark.dds]
START_NS = 1_000_000_000_000


class Simulation:
    """Publishes /clock, as fast as the driver waits."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.now_ns = START_NS
        self._publisher = driver.node.create_publisher(Clock, "/clock", 10)
        driver.meanwhile = self.tick
        driver.wait_for("subscription to /clock", self._publisher.get_subscription_count)

    def tick(self) -> None:
        self.now_ns += 20_000_000
        message = Clock()
        set_stamp(message.clock, self.now_ns)
        self._publisher.publish(message)
        self.driver.stamp_ns = max(self.driver.stamp_ns, self.now_ns)

    def jump_to(self, now_ns: int) -> None:
        self.now_ns = self.driver.stamp_ns = now_ns


@pytest.fixture
def simulation(tiny_bundle: Path) -> Iterator[Simulation]:
    parameters = {"use_sim_time": True, "sensor_timeout": 60.0, "sync_timeout": 5.0}
    with Rig(tiny_bundle, parameters, loader(ConstantEngine()), active=False) as rig:
        rig.driver.stamp_ns = START_NS
        simulation = Simulation(rig.driver)
        assert rig.driver.change_state("configure")
        assert rig.driver.change_state("activate")
        yield simulation


def test_waits_last_as_long_as_the_simulation_says(simulation: Simulation) -> None:
    driver = simulation.driver
    driver.repeat("first pair", driver.send_pair, driver.mask)
    stamp_ns = driver.send_color()
    sent_ns = simulation.now_ns
    driver.wait_for_mask(stamp_ns)
    # Of sync_timeout, in a fraction of that time; between two ticks it is guessed how time goes on.
    assert simulation.now_ns - sent_ns >= 4_500_000_000


def test_a_clock_that_jumps_back_starts_over_and_says_so_once(simulation: Simulation) -> None:
    driver = simulation.driver
    driver.label_pair()
    for loop in (1, 2):
        simulation.jump_to(START_NS)
        # Before the first frame: topics have no common order, and a frame that overtakes its clock is a reset, too.
        driver.wait_for(f"{loop} lines about it", lambda loop=loop: len(driver.lines("reset: the clock went")) == loop)
        driver.label_pair()
        driver.wait_for("count of resets", lambda loop=loop: driver.status("segmentation").count("resets") == loop)
    assert len(driver.lines("reset")) == 2


def test_without_a_clock_one_sensor_is_labelled_and_it_is_told(tiny_bundle: Path) -> None:
    parameters = {"use_sim_time": True, "sensor_timeout": 30.0, "sync_timeout": 0.1}
    with Rig(tiny_bundle, parameters, loader(ConstantEngine())) as rig:
        driver = rig.driver
        driver.repeat("mask of color alone", driver.send_color, driver.mask)
        driver.wait_for_line("use_sim_time is set and /clock has not ticked for")
        driver.wait_for("warning", lambda: "/clock has not ticked" in driver.status("segmentation").message)
        assert driver.status("segmentation").level == 1
        driver.label_pair()
        assert len(driver.lines("/clock has not ticked")) == 1
