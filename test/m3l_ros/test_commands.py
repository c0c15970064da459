"""The console scripts on a machine without ROS."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from m3l_core.installation import install_command

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("command", ["segment_node", "demo"])
def test_without_rclpy_a_command_names_the_extra(command: str) -> None:
    blocked = f"import sys; sys.modules['rclpy'] = None; from m3l_ros.commands import {command}; {command}()"
    ended = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert ended.returncode == 1
    assert install_command("ros") in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.parametrize(("argument", "status"), [("--live", 1), ("--help", 0)])
def test_without_rclpy_only_a_live_replay_names_the_extra(argument: str, status: int) -> None:
    blocked = "import sys; sys.modules['rclpy'] = None; from m3l_ros.commands import replay; replay()"
    command = [sys.executable, "-c", blocked, "kitchen", argument]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert ended.returncode == status
    assert (install_command("ros") in ended.stderr) == (status == 1)
    assert "Traceback" not in ended.stderr
