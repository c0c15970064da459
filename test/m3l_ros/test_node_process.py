"""scripts/segment_node as users run it: a process of its own, ended by Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.dds_domain import own_domain
from support.driver import Driver
from support.rig import CALM, NodeProcess

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
