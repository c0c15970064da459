"""What m3l_core logs appears in the node's log, on the level it was logged."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from rcl_interfaces.msg import Log
from support.engines import ConstantEngine, loader
from support.rig import Rig

from m3l_core.streaming.modality_report import ModalityState, SyncEvent
from m3l_ros.log_bridge import EventLog, LogBridge

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


class Lines:
    """A logger that keeps what it is given."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.infos: list[str] = []
        self.warning, self.info = self.warnings.append, self.infos.append


def test_what_a_setting_mends_is_told_once_for_each_and_all_else_each_time() -> None:
    lines = Lines()
    log = EventLog(lines)
    for shift in ("0.51", "0.52"):  # as after a deactivation and an activation
        log(SyncEvent(f"color and depth differ by {shift} s", "depth", cause="sync_timeout"))
        log(SyncEvent("color and thermal differ by 0.7 s", "thermal", cause="sync_timeout"))
        log(SyncEvent("depth's stamps never meet", "depth", cause="approx_sync_max_interval"))
        log(SyncEvent("reset: the clock went back"))
        log(SyncEvent("depth is LOST", "depth", ModalityState.LOST))
        log(SyncEvent("depth is OK", "depth", ModalityState.OK))
    assert lines.warnings == [
        "color and depth differ by 0.51 s",
        "color and thermal differ by 0.7 s",
        "depth's stamps never meet",
        *2 * ["reset: the clock went back", "depth is LOST"],
    ]
    assert lines.infos == 2 * ["depth is OK"]
