"""Hints name what works in the installation at hand."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from m3l_core.installation import command, in_workspace, install_command


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The prefix of a colcon workspace that is sourced in a shell without a virtual environment."""
    marker = tmp_path / "install/m3l_ros/share/colcon-core/packages/m3l_ros"
    marker.parent.mkdir(parents=True)
    marker.touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join(["/opt/ros/jazzy", str(tmp_path / "install/m3l_ros")]))
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    return marker


def test_in_a_sourced_workspace_it_is_ros2_run(workspace: Path) -> None:
    assert in_workspace()
    assert command("m3l_replay") == "ros2 run m3l_ros m3l_replay"
    assert install_command() == "ros2 run m3l_ros install_packages"
    assert install_command("openvino") == "ros2 run m3l_ros install_packages openvino"
    assert install_command("ros") == "source /opt/ros/$ROS_DISTRO/setup.bash"


def test_elsewhere_it_is_pip(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.unlink()
    assert command("m3l_replay") == "m3l_replay"
    assert install_command() == "pip install m3l_ros"
    assert install_command("openvino") == "pip install 'm3l_ros[openvino]'"
    monkeypatch.delenv("AMENT_PREFIX_PATH")
    assert not in_workspace()


def test_a_virtual_environment_has_its_own_commands(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", "/home/you/m3l_ros/.venv")
    assert command("m3l_replay") == "m3l_replay"
