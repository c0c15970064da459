"""The launch file, where ROS 2 has brought launch and launch_ros."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs("launch", "launch_ros")
LAUNCH_FILE = Path(__file__).parents[2] / "launch" / "segment.launch.py"


def test_the_description_has_the_arguments_that_ros_people_expect() -> None:
    spec = importlib.util.spec_from_file_location("segment_launch", LAUNCH_FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    arguments = {argument.name for argument in module.generate_launch_description().get_launch_arguments()}
    expected = {"params_file", "namespace", "use_sim_time", "log_level", "autostart", "engine", "bundle", "camera"}
    assert arguments == expected
