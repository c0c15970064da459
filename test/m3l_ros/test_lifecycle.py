"""A managed node: what it does in each state, and that no order of transitions breaks it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from lifecycle_msgs.msg import Transition
from support.driver import COLOR, DEPTH, Driver
from support.engines import ConstantEngine, loader
from support.rig import Rig

from m3l_ros.labelling_session import LabellingSession

pytestmark = [pytest.mark.needs("rclpy"), pytest.mark.dds]


@pytest.fixture
def driver(tiny_bundle: Path) -> Iterator[Driver]:
    with Rig(tiny_bundle, engine_loader=loader(ConstantEngine()), active=False) as rig:
        yield rig.driver


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What waits for Python's collector may wait for hours."""
    gc.disable()
    yield
    gc.enable()


def outputs(driver: Driver) -> int:
    return driver.node.count_publishers("/segmentation/mask")


def test_the_states_follow_each_other_and_can_be_walked_again(driver: Driver) -> None:
    assert driver.state() == "unconfigured"
    for _ in range(2):
        assert driver.change_state("configure")
        assert driver.state() == "inactive"
        driver.wait_for("outputs", lambda: outputs(driver) == 1)
        for _ in range(2):
            assert driver.change_state("activate")
            assert driver.state() == "active"
            driver.clear()
            driver.label_pair()
            assert driver.change_state("deactivate")
            assert driver.state() == "inactive"
        assert driver.change_state("cleanup")
        assert driver.state() == "unconfigured"
        driver.wait_for("end of the outputs", lambda: outputs(driver) == 0)
    assert driver.change_state("shutdown")
    assert driver.state() == "finalized"


def test_an_inactive_node_does_not_listen_and_labels_nothing(driver: Driver) -> None:
    assert driver.change_state("configure")
    assert driver.change_state("activate")
    driver.label_pair()
    assert driver.change_state("deactivate")
    for topic in (COLOR, DEPTH):
        driver.wait_for(f"end of listening to {topic}", lambda topic=topic: driver.subscribers_of(topic) == 0)
    driver.wait_for("word of being inactive", lambda: driver.status("segmentation").message == "inactive")
    driver.clear()
    assert driver.change_state("activate")
    mask = driver.label_pair()
    assert [mask] == [m for m in driver.received["mask"] if m.header == mask.header]


@pytest.mark.parametrize("state", ["unconfigured", "inactive", "active"])
def test_it_can_be_shut_down_from_any_state(driver: Driver, state: str) -> None:
    for transition in {"unconfigured": [], "inactive": ["configure"], "active": ["configure", "activate"]}[state]:
        assert driver.change_state(transition)
    assert driver.change_state("shutdown")
    assert driver.state() == "finalized"
    driver.wait_for("end of the outputs", lambda: outputs(driver) == 0)
    driver.clear()
    driver.wait_for("word of the finalized node", lambda: driver.status("segmentation").message)


def test_an_impossible_transition_is_refused_and_the_node_lives(driver: Driver) -> None:
    assert not driver.change_state("activate")
    assert not driver.change_state(number=Transition.TRANSITION_ACTIVATE)
    assert driver.state() == "unconfigured"
    assert driver.change_state("configure")
    assert not driver.change_state("configure")
    assert not driver.change_state("no such transition")
    assert not driver.change_state(number=Transition.TRANSITION_CONFIGURE)
    driver.wait_for_line("ChangeState refused")
    assert driver.state() == "inactive"
    assert driver.change_state("activate")
    driver.label_pair()


@pytest.mark.parametrize(
    ("topic", "transition"),
    [("/segmentation/mask.publisher", "configure"), ("/color/image_raw.subscription", "activate")],
)
def test_what_fails_on_the_way_is_told(tiny_bundle: Path, topic: str, transition: str) -> None:
    overrides = {f"qos_overrides.{topic}.reliability": "now and then"}
    with Rig(tiny_bundle, overrides, loader(ConstantEngine()), active=False) as rig:
        for step in ("configure", "activate"):
            assert rig.driver.change_state(step) == (step != transition)
            if step == transition:
                break
        assert rig.driver.wait_for_line(f"cannot be {transition}d: ")
        rig.driver.wait_for("problem in the diagnostics", lambda: rig.driver.status("segmentation").level == 2)


def test_to_be_activated_again_and_again_leaves_nothing_behind(tiny_bundle: Path, no_collector: None) -> None:
    with Rig(tiny_bundle, engine_loader=loader(ConstantEngine()), active=False) as rig:
        assert rig.driver.change_state("configure")
        known = []
        for _ in range(4):
            assert rig.driver.change_state("activate")
            known.append(len(rig.node.default_callback_group.entities))
            assert rig.driver.change_state("deactivate")
            # The executor may hold the last one until it has something else to do.
            assert sum(type(each) is LabellingSession for each in gc.get_objects()) <= 1
        assert max(known[2:]) <= max(known[:2])
