"""What m3l_core logs appears in the node's log, on the level it was logged."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from rcl_interfaces.msg import Log
from support.engines import ConstantEngine, loader
from support.rig import Rig

from m3l_ros.log_bridge import LogBridge

pytestmark = [pytest.mark.needs("rclpy"), pytest.mark.dds]
CORE = logging.getLogger("m3l_core")


def test_lines_of_the_core_reach_rosout_with_their_level(tiny_bundle: Path) -> None:
    log = logging.getLogger("m3l_core.somewhere")
    with Rig(tiny_bundle, engine_loader=loader(ConstantEngine()), active=False) as rig:
        for _ in range(2):
            log.error("an %s", "error")
            log.warning("a warning")
            log.info("some information")
            log.debug("too much detail")
        try:
            raise ValueError("the cause")
        except ValueError:
            log.exception("it failed")
        rig.driver.wait_for_line("it failed")
        said = [(entry.level, entry.msg) for entry in rig.driver.log if entry.name == "segment_node"]
        assert "ValueError: the cause" in said[-1][1]
        expected = [(Log.ERROR, "an error"), (Log.WARN, "a warning"), (Log.INFO, "some information")]
        assert said[-7:-1] == 2 * expected
    assert not any(isinstance(handler, LogBridge) for handler in CORE.handlers)
    assert CORE.propagate


def test_other_libraries_keep_their_own_log(tiny_bundle: Path) -> None:
    with Rig(tiny_bundle, engine_loader=loader(ConstantEngine()), active=False) as rig:
        logging.getLogger("somebody.else").error("not ours")
        logging.getLogger("m3l_core.last").info("ours")
        rig.driver.wait_for_line("ours")
        assert not rig.driver.lines("not ours")
