"""scripts/segment_node as users run it: a process of its own, ended by Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.dds_domain import own_domain
from support.driver import Driver
from support.python_path import python_path
from support.rig import CALM, ROOT, NodeProcess

pytestmark = [pytest.mark.needs("rclpy"), pytest.mark.dds]


@pytest.fixture
def driver() -> Iterator[Driver]:
    with own_domain() as domain_id:
        driver = Driver(domain_id)
        yield driver
        driver.close()


def start(driver: Driver, folder: Path, parameters: dict[str, Any]) -> NodeProcess:
    node = NodeProcess(folder, {**CALM, **parameters}, driver.node.context.get_domain_id())
    driver.still_alive = node.check
    return node


def expect_a_clean_end(node: NodeProcess, *signals: int) -> None:
    status = node.stop(*signals)
    assert status == 0, node.output
    assert "Traceback" not in node.output


def test_with_autostart_it_labels_at_once_and_two_interrupts_end_it_cleanly(
    driver: Driver, tmp_path: Path, tiny_bundle: Path
) -> None:
    with start(driver, tmp_path, {"bundle": tiny_bundle, "autostart": True}) as node:
        assert driver.label_pair().encoding == "mono8"
        assert driver.state() == "active"
        expect_a_clean_end(node, signal.SIGINT, signal.SIGINT)


@pytest.mark.parametrize("pause_s", [0.0, 0.1, 0.3])
def test_a_second_sigterm_changes_nothing(driver: Driver, tmp_path: Path, tiny_bundle: Path, pause_s: float) -> None:
    with start(driver, tmp_path, {"bundle": tiny_bundle, "autostart": True}) as node:
        driver.label_pair()
        node.process.terminate()
        time.sleep(pause_s)
        expect_a_clean_end(node, signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_by_lifecycle_services_it_goes_through_its_states(
    driver: Driver, tmp_path: Path, tiny_bundle: Path, number: int
) -> None:
    with start(driver, tmp_path, {"bundle": tiny_bundle}) as node:
        assert driver.state() == "unconfigured"
        assert driver.change_state("configure")
        assert driver.change_state("activate")
        driver.label_pair()
        assert driver.change_state("deactivate")
        assert driver.state() == "inactive"
        assert driver.change_state("cleanup")
        assert driver.state() == "unconfigured"
        expect_a_clean_end(node, number)


def test_with_autostart_and_no_bundle_it_lives_and_says_why_it_does_not_label(driver: Driver, tmp_path: Path) -> None:
    with start(driver, tmp_path, {"bundle": tmp_path / "nowhere", "autostart": True}) as node:
        reason = "nowhere is not a model bundle"
        driver.wait_for("reason in the diagnostics", lambda: reason in driver.status("segmentation").message)
        assert driver.state() == "unconfigured"
        driver.wait_for_line(reason)
        expect_a_clean_end(node, signal.SIGINT, signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.2, 0.4, 0.7, 1.1, 1.6, 2.2])
def test_one_signal_ends_it_quietly_at_any_moment_of_its_start(
    driver: Driver, tmp_path: Path, tiny_bundle: Path, delay_s: float, number: int
) -> None:
    with start(driver, tmp_path, {"bundle": tiny_bundle, "autostart": True}) as node:
        node.wait_until_it_takes_signals()
        time.sleep(delay_s)  # that long into the imports, the construction, or the loading of the engine
        expect_a_clean_end(node, number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seconds", [0.3, 60.0])
def test_one_signal_ends_it_quietly_while_its_engine_labels(
    driver: Driver, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, number: int
) -> None:
    monkeypatch.setenv("M3L_TEST_SECONDS", str(seconds))
    parameters = {**CALM, "bundle": tiny_bundle, "autostart": True}
    domain_id = driver.node.context.get_domain_id()
    with NodeProcess(tmp_path, parameters, domain_id, ROOT / "test/support/slow_node.py") as node:
        driver.still_alive = node.check
        driver.send_pair()
        driver.wait_for("word of being active", lambda: driver.state() == "active")
        for _ in range(5):
            driver.send_pair()
        begun = time.monotonic()
        expect_a_clean_end(node, number)
        assert "ERROR" not in node.output
        assert time.monotonic() - begun < 10.0  # an engine that hangs does not keep the process


def test_without_autostart_it_says_what_to_do_next(driver: Driver, tmp_path: Path, tiny_bundle: Path) -> None:
    with start(driver, tmp_path, {"bundle": tiny_bundle}) as node:
        driver.wait_for_line(
            "ros2 lifecycle set /segment_node configure, then ros2 lifecycle set /segment_node activate"
        )
        expect_a_clean_end(node, signal.SIGINT)


def test_after_a_cleanup_configuring_does_not_activate(driver: Driver, tmp_path: Path, tiny_bundle: Path) -> None:
    with start(driver, tmp_path, {"bundle": tiny_bundle, "autostart": True}) as node:
        driver.label_pair()
        for transition in ("deactivate", "cleanup", "configure"):
            assert driver.change_state(transition)
        assert driver.state() == "inactive"
        expect_a_clean_end(node, signal.SIGINT)


def test_a_parameter_that_it_does_not_know_is_told_with_the_nearest(
    driver: Driver, tmp_path: Path, tiny_bundle: Path
) -> None:
    wrong = {"sensor_timout": 3.0, "health.black": 5, "qos_overrides./depth/image_rect.subscription.depth": 3}
    with start(driver, tmp_path, {"bundle": tiny_bundle, **wrong}) as node:
        driver.wait_for_line(
            "no parameter 'sensor_timout', so its value has no effect; the nearest is 'sensor_timeout'"
        )
        driver.wait_for_line("no parameter 'health.black', so its value has no effect; the nearest is")
        assert not driver.lines("qos_overrides")
        expect_a_clean_end(node, signal.SIGINT)


@pytest.mark.parametrize(
    ("option", "text", "reason"),
    [
        ("--log-level", "loud", "log level"),
        ("--params-file", "nowhere.yaml", "nowhere.yaml"),
        ("--params-file", "broken.yaml", "broken.yaml"),
        ("-p", "sensor_timeout:=3", "'sensor_timeout' to '3' of type 'INTEGER', expecting type 'DOUBLE'"),
    ],
)
def test_what_it_cannot_start_with_is_the_last_line(tmp_path: Path, option: str, text: str, reason: str) -> None:
    (tmp_path / "broken.yaml").write_text("/**:\n  ros__parameters:\n    sensor_timeout: [broken\n")
    with own_domain() as domain_id:
        done = subprocess.run(
            [sys.executable, ROOT / "scripts" / "segment_node", "--ros-args", option, text],
            cwd=tmp_path,
            env={**os.environ, "ROS_DOMAIN_ID": str(domain_id), "PYTHONPATH": python_path()},
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("segment_node: ")
    assert reason in last
