"""/diagnostics says what the node does with every frame, and why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support import messages
from support.driver import Driver
from support.engines import ConstantEngine, loader
from support.rig import Rig

from m3l_ros.diagnostics import LatencyMeter
from m3l_ros.labelling_session import STEPS

pytestmark = [pytest.mark.needs("rclpy"), pytest.mark.dds]


@pytest.fixture(scope="module")
def shared_rig(tiny_bundle: Path) -> Iterator[Rig]:
    waits = {"sync_timeout": 0.1, "sensor_timeout": 1.0}
    with Rig(tiny_bundle, waits, loader(ConstantEngine())) as rig:
        yield rig


@pytest.fixture
def driver(shared_rig: Rig) -> Driver:
    return shared_rig.restarted().driver


def expect_the_counts_to_add_up(driver: Driver) -> None:
    if not {"color", "depth", "segmentation"} <= set(driver.statuses):
        return
    total, sensors = driver.status("segmentation"), [driver.status("color"), driver.status("depth")]
    for sensor in sensors:
        parts = ("in complete sets", "in partial sets", "waiting")
        assert sensor.count("frames in") == sum(map(sensor.count, parts)) + sum(sensor.dropped.values())
    assert total.count("frames in") == sum(sensor.count("frames in") for sensor in sensors)
    assert {sensor.count("in complete sets") for sensor in sensors} == {total.count("sets complete")}
    assert sum(sensor.count("in partial sets") for sensor in sensors) == total.count("sets partial")
    for reason, number in total.dropped.items():
        assert number == sum(sensor.count(reason) for sensor in sensors)
    sets = total.count("sets complete") + total.count("sets partial")
    assert total.count("sets published") + total.count("sets replaced by newer ones") <= sets


def test_every_frame_is_accounted_for_at_every_moment(driver: Driver) -> None:
    driver.label_pair()
    driver.meanwhile = lambda: expect_the_counts_to_add_up(driver)
    for _ in range(3):
        driver.wait_for_mask(driver.send_pair())
    driver.send_color(stamp_ns=driver.stamp_ns)
    driver.send_color(stamp_ns=driver.stamp_ns - 50_000_000)
    driver.send_depth(stamp_ns=driver.stamp_ns - 50_000_000)
    driver.send_pair(color=messages.image(messages.rgb(), "rgb565"))
    driver.send_pair(depth=messages.image(np.zeros(messages.SIZE, np.uint16), "16UC1"))
    for _ in range(3):
        driver.wait_for_mask(driver.send_color())
    for _ in range(3):
        driver.wait_for_mask(driver.send_depth())
    driver.label_pair()
    driver.wait_for("every kind of drop", lambda: len(driver.status("segmentation").dropped) >= 3)
    driver.wait_for(
        "end of the waiting",
        lambda: driver.status("color").count("waiting") + driver.status("depth").count("waiting") == 0,
    )
    expect_the_counts_to_add_up(driver)
    assert {"dropped: duplicate", "dropped: late", "dropped: unhealthy"} <= set(driver.status("segmentation").dropped)


def test_each_sensor_has_a_state_a_rate_an_age_and_the_last_reason(driver: Driver) -> None:
    driver.wait_for("first word", lambda: driver.status("color").message)
    assert driver.status("color").values["age [s]"] == "never seen"
    assert driver.status("color").values["last reason"] == "none"
    assert driver.status("color").values["rate [Hz]"] == "0.00"
    driver.repeat(
        "period",
        driver.send_pair,
        lambda _: driver.status("color").values["period of the stamps [s]"] == "0.100000",
        0.2,
    )
    assert 0.5 < float(driver.status("color").values["rate [Hz]"]) < 50
    driver.repeat("health", driver.send_pair, lambda _: driver.status("depth").values["state"] == "OK")
    color = driver.status("color")
    assert (color.level, color.message, color.values["state"]) == (0, "OK", "OK")
    assert 0 <= float(color.values["age [s]"]) < 0.5

    driver.send_pair(depth=messages.image(np.zeros(messages.SIZE, np.uint16), "16UC1"))
    driver.wait_for("reason", lambda: "of the depth is valid" in driver.status("depth").values["last reason"])
    driver.wait_for("loss", lambda: driver.status("depth").values["state"] == "LOST")
    assert driver.status("depth").level == 2
    driver.wait_for("end of the rate", lambda: driver.status("depth").values["rate [Hz]"] == "0.00")
    assert float(driver.status("depth").values["age [s]"]) >= 0.5


def test_a_late_sensor_is_stale_before_it_is_lost(driver: Driver) -> None:
    seen: list[str] = []
    driver.meanwhile = lambda: seen.append(driver.status("color").state)
    driver.repeat(
        "rhythm", driver.send_color, lambda _: driver.status("color").values.get("STALE after [s]") == "0.300", 0.05
    )
    driver.wait_for("loss", lambda: driver.status("color").state == "LOST")
    assert "STALE" in seen[seen.index("OK") :]


def test_the_pipeline_names_its_engine_and_how_long_each_step_takes(driver: Driver) -> None:
    driver.label_pair()
    values = driver.wait_for("latency", lambda: "total p50 [ms]" in (v := driver.status("segmentation").values) and v)
    assert (values["bundle"], values["engine"], values["precision"]) == ("tiny", "constant", "fp32")
    for step in STEPS:
        p50, p95, p99 = (float(values[f"{step} p{rank} [ms]"]) for rank in (50, 95, 99))
        assert 0 <= p50 <= p95 <= p99, step
    assert driver.status("segmentation").level == 0
    assert driver.status("segmentation").message == "labelling"


def test_percentiles_are_those_of_the_last_frames() -> None:
    meter = LatencyMeter(size=100)
    assert meter.percentiles() == {}
    for milliseconds in [1000.0] * 50 + [float(n) for n in range(1, 101)]:
        meter.add(milliseconds)
    assert meter.percentiles() == pytest.approx({"p50": 50.5, "p95": 95.05, "p99": 99.01})
