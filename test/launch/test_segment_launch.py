"""The launch file under ROS's own launch, where ROS 2 has brought it."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ament_index_python import get_package_prefix
from support.dds_domain import own_domain
from support.driver import Driver
from support.rig import CALM

pytestmark = [pytest.mark.needs("launch", "launch_ros", "rclpy"), pytest.mark.dds]
LAUNCH_FILE = Path(__file__).parents[2] / "launch" / "segment.launch.py"
# What `ros2 launch` does, without ros2cli.
RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

service = LaunchService()
arguments = [tuple(each.split(":=")) for each in sys.argv[2:]]
included = IncludeLaunchDescription(PythonLaunchDescriptionSource(sys.argv[1]), launch_arguments=arguments)
service.include_launch_description(LaunchDescription([included]))
sys.exit(service.run())
"""


class Launched:
    """A launch in a process of its own, as from a terminal: Ctrl-C reaches it and its nodes."""

    def __init__(self, folder: Path, domain_id: int, *arguments: str) -> None:
        self._log = folder / "launch.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", RUN, str(LAUNCH_FILE), *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "ROS_DOMAIN_ID": str(domain_id), "ROS_LOG_DIR": str(folder)},
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    def check(self) -> None:
        if self.process.poll() is not None:
            raise RuntimeError(f"the launch ended with {self.process.returncode}:\n{self.output}")

    def __enter__(self) -> Launched:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)


@pytest.fixture(autouse=True)
def _installed() -> None:
    try:
        get_package_prefix("m3l_ros")
    except LookupError:
        pytest.skip("needs m3l_ros in a sourced workspace, as launch looks for the node there")


@pytest.fixture
def driver() -> Iterator[Driver]:
    with own_domain() as domain_id:
        driver = Driver(domain_id)
        yield driver
        driver.close()


def launched(driver: Driver, folder: Path, *arguments: str) -> Launched:
    """With the long waits that a busy machine needs."""
    params_file = folder / "calm.yaml"
    params_file.write_text(yaml.safe_dump({"/**": {"ros__parameters": CALM}}))
    found = Launched(folder, driver.node.context.get_domain_id(), f"params_file:={params_file}", *arguments)
    driver.still_alive = found.check
    return found


def test_the_description_has_the_arguments_that_ros_people_expect() -> None:
    spec = importlib.util.spec_from_file_location("segment_launch", LAUNCH_FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    arguments = {argument.name for argument in module.generate_launch_description().get_launch_arguments()}
    expected = {"params_file", "namespace", "use_sim_time", "log_level", "autostart", "engine", "bundle", "camera"}
    assert arguments == expected


def test_it_labels_and_one_interrupt_of_the_terminal_ends_all_of_it(
    driver: Driver, tmp_path: Path, onnx_bundle: Path
) -> None:
    with launched(driver, tmp_path, f"bundle:={onnx_bundle}") as launch:
        driver.label_pair()
        assert driver.state() == "active"
        os.killpg(launch.process.pid, signal.SIGINT)
        assert launch.process.wait(20) == 0
        assert "Traceback" not in launch.output
        assert "process has finished cleanly" in launch.output


def test_after_a_cleanup_configuring_does_not_activate(driver: Driver, tmp_path: Path, onnx_bundle: Path) -> None:
    with launched(driver, tmp_path, f"bundle:={onnx_bundle}"):
        driver.label_pair()
        for transition in ("deactivate", "cleanup", "configure"):
            assert driver.change_state(transition)
        driver.wait_for("diagnostics", lambda: driver.status("segmentation").message == "inactive")
        assert driver.state() == "inactive"


def test_without_autostart_it_says_what_to_do_next(driver: Driver, tmp_path: Path) -> None:
    with launched(driver, tmp_path, "autostart:=false"):
        driver.wait_for_line("ros2 lifecycle set /segment_node configure")
        assert driver.state() == "unconfigured"


def test_the_camera_may_be_a_file_of_ones_own(driver: Driver, tmp_path: Path, onnx_bundle: Path) -> None:
    camera = tmp_path / "mine.yaml"
    camera.write_text("remappings: {color/image_raw: /mine/color, depth/image_rect: /mine/depth}\n")
    driver.color_topic, driver.depth_topic = "/mine/color", "/mine/depth"
    with launched(driver, tmp_path, f"bundle:={onnx_bundle}", f"camera:={camera}"):
        driver.label_pair()


@pytest.mark.parametrize(
    ("argument", "reason", "started"),
    [
        ("engine:=abacus", "expected one of auto, tensorrt", True),
        ("log_level:=loud", "log level", True),
        ("params_file:=nowhere.yaml", "there is no file nowhere.yaml", False),
        ("params_file:=~nobody_has_this_name/x.yaml", "~nobody_has_this_name/x.yaml: Could not determine", False),
        ("params_file:=broken.yaml", "broken.yaml", True),
        ("params_file:=type.yaml", "expecting type 'DOUBLE'", True),
        ("params_file:=range.yaml", "sensor_timeout", True),
        ("camera:=kinect", "There is: oak, realsense, sample_recording, zed", False),
        ("camera:=./nowhere.yaml", "There is no camera preset nowhere.yaml", False),
        ("camera:=./broken.yaml", "broken.yaml", False),
    ],
)
def test_a_node_that_gives_up_ends_the_launch_and_the_reason_is_the_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str, reason: str, started: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in {"broken": "[broken", "type": "soon", "range": "-1.0"}.items():
        (tmp_path / f"{name}.yaml").write_text(f"/**:\n  ros__parameters:\n    sensor_timeout: {text}\n")
    with own_domain() as domain_id, Launched(tmp_path, domain_id, argument) as launch:
        deadline = time.monotonic() + 60.0
        while "process has died" not in launch.output and launch.process.poll() is None:
            assert time.monotonic() < deadline, launch.output
            time.sleep(0.01)
        assert launch.process.wait(2.0 if started else 20.0) == 1
        assert reason in launch.output.splitlines()[-1], launch.output
        assert ("process started" in launch.output) == started
