"""nav2_lifecycle_manager's bond: formed when the node is activated, broken when it is deactivated or dies."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.dds_domain import own_domain
from support.driver import Driver
from support.engines import ConstantEngine, loader
from support.needs import require_modules
from support.rig import CALM, NodeProcess, Rig

from m3l_ros import manager_bond

pytestmark = [pytest.mark.needs("rclpy"), pytest.mark.dds]
BOND_TIMEOUT_S = 1.0


class Manager:
    """The manager's side of the bond, as nav2_lifecycle_manager makes it once the node is active."""

    def __init__(self, driver: Driver) -> None:
        from bond.msg import Status
        from bondpy.bondpy import Bond

        self._driver = driver
        self.formed = self.broken = False
        heard: list[Status] = []
        statuses = driver.node.create_subscription(Status, "/bond", heard.append, 10)
        self._bond: Any = Bond(
            driver.node, "bond", "segment_node", on_broken=self._on_broken, on_formed=self._on_formed
        )
        self._bond.heartbeat_timeout = BOND_TIMEOUT_S
        self._bond.heartbeat_period = 0.1
        self._bond.start()
        driver.wait_for("bond", lambda: self.formed)
        # The first heartbeat forms it, only with the second is it missed.
        heard.clear()
        driver.wait_for("heartbeats", lambda: sum(each.instance_id != self._bond.instance_id for each in heard) > 2)
        driver.forget(statuses)

    def close(self) -> None:
        self._bond.shutdown()
        self._driver.node.destroy_subscription(self._bond.sub)
        self._driver.node.destroy_publisher(self._bond.pub)

    def _on_formed(self) -> None:
        self.formed = True

    def _on_broken(self) -> None:
        self.broken = True


@pytest.fixture
def driver(tiny_bundle: Path) -> Iterator[Driver]:
    with Rig(tiny_bundle, engine_loader=loader(ConstantEngine()), active=False) as rig:
        assert rig.driver.change_state("configure")
        yield rig.driver


def test_the_bond_lives_as_long_as_the_node_is_active(driver: Driver) -> None:
    require_modules("bondpy")
    for _ in range(2):
        assert driver.change_state("activate")
        manager = Manager(driver)
        driver.label_pair()
        assert not manager.broken
        assert driver.change_state("deactivate")
        driver.wait_for("end of the bond", lambda manager=manager: manager.broken, 0.9 * BOND_TIMEOUT_S)
        driver.wait_for("end of its topic", lambda: not listens(driver))
        manager.close()


def listens(driver: Driver) -> bool:
    infos = driver.node.get_subscriptions_info_by_topic("/bond")
    return "segment_node" in {info.node_name for info in infos}


def test_a_node_that_is_killed_breaks_the_bond(tmp_path: Path, tiny_bundle: Path) -> None:
    require_modules("bondpy")
    with own_domain() as domain_id:
        parameters = {**CALM, "bundle": tiny_bundle, "autostart": True, "bond_heartbeat_period": 0.1}
        driver = Driver(domain_id)
        try:
            with NodeProcess(tmp_path, parameters, domain_id) as node:
                driver.wait_for("active node", lambda: listens(driver), 60.0)
                manager = Manager(driver)
                node.process.send_signal(signal.SIGKILL)
                driver.wait_for("end of the bond", lambda: manager.broken)
                manager.close()
        finally:
            driver.close()


def test_without_a_manager_or_without_heartbeats_the_node_labels(tiny_bundle: Path) -> None:
    with Rig(tiny_bundle, {"bond_heartbeat_period": 0.0}, loader(ConstantEngine())) as rig:
        rig.driver.label_pair()
        assert not listens(rig.driver)
        assert not rig.driver.lines("bond")


def test_without_bondpy_the_log_says_what_the_manager_needs(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager_bond, "Bond", None)
    assert driver.change_state("activate")
    driver.wait_for_line("bondpy is not installed: nav2_lifecycle_manager needs bond_timeout: 0.0")
    driver.label_pair()
