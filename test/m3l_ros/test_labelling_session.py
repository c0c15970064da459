"""An engine that is slow or fails: the newest frame set wins, the node goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.driver import Driver
from support.engines import FailingEngine, GatedEngine, loader
from support.rig import Rig

pytestmark = [pytest.mark.needs("rclpy"), pytest.mark.dds]


def sets(driver: Driver) -> int:
    status = driver.status("segmentation")
    return status.count("sets complete") + status.count("sets partial")


def send_a_set(driver: Driver) -> int:
    """Send a pair and wait until the node has made a set of it; the engine may be busy meanwhile."""
    before = sets(driver)
    sent: list[int] = []

    def send() -> int:
        sent.append(driver.send_pair())
        return sent[-1]

    driver.repeat("frame set", send, lambda _: sets(driver) > before)
    return sent[-1]


def test_a_slow_engine_gets_the_newest_set_and_the_replaced_ones_are_counted(tiny_bundle: Path) -> None:
    engine = GatedEngine()
    with Rig(tiny_bundle, engine_loader=loader(engine)) as rig:
        driver = rig.driver
        try:
            for rounds in range(1, 4):
                first = send_a_set(driver)
                driver.wait_for("busy engine", lambda rounds=rounds: engine.begun == 2 * rounds - 1)
                for _ in range(4):
                    newest = send_a_set(driver)
                engine.gate.release(2)
                driver.wait_for_mask(newest)
                assert driver.mask_stamps()[-2:] == [first, newest]  # so the delay is the same in every round
                status = driver.status("segmentation")
                assert sets(driver) == 5 * rounds
                driver.wait_for(
                    "count of replaced sets",
                    lambda rounds=rounds: (
                        driver.status("segmentation").count("sets replaced by newer ones") == 3 * rounds
                        and driver.status("segmentation").count("sets published") == 2 * rounds
                    ),
                )
                assert status.count("errors") == 0
        finally:
            engine.gate.release(100)


def test_deactivating_waits_for_the_set_that_is_being_labelled(tiny_bundle: Path) -> None:
    engine = GatedEngine()
    with Rig(tiny_bundle, engine_loader=loader(engine)) as rig:
        stamp_ns = send_a_set(rig.driver)
        rig.driver.wait_for("busy engine", lambda: engine.begun == 1)
        engine.gate.release()
        assert rig.driver.change_state("deactivate")
        rig.driver.wait_for_mask(stamp_ns)


def test_an_engine_that_fails_on_a_set_is_counted_told_and_asked_again(tiny_bundle: Path) -> None:
    engine = FailingEngine()
    with Rig(tiny_bundle, engine_loader=loader(engine)) as rig:
        driver = rig.driver
        driver.label_pair()
        engine.failing = True
        failed = send_a_set(driver)
        driver.wait_for("count of errors", lambda: driver.status("segmentation").count("errors") == 1)
        driver.wait_for("word of the error", lambda: "out of luck" in driver.status("segmentation").message)
        assert driver.status("segmentation").level == 2
        driver.wait_for_line("out of luck")
        engine.failing = False
        driver.label_pair()
        assert failed not in driver.mask_stamps()
        driver.wait_for("end of the problem", lambda: driver.status("segmentation").level == 0)
        assert driver.status("segmentation").count("errors") == 1
