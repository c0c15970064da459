"""From a fresh colcon workspace to a node that labels, under an externally managed Python (PEP 668), as robots have it.

ROS, NumPy 1.26, OpenCV 4.6 and pydantic 1.10 of Ubuntu 24.04 come from PyPI's wheels into folders beside the workspace;
the way from there on is that of docs/install.md.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.dds_domain import own_domain
from support.driver import Driver
from support.rig import CALM

pytestmark = [pytest.mark.needs("rclpy"), pytest.mark.dds, pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[1]
PYTHON = "/usr/bin/python3"
ROS = (
    *(f"ros-jazzy-{name}" for name in ("rclpy", "sensor-msgs", "diagnostic-msgs", "lifecycle-msgs", "rosgraph-msgs")),
    *("ros-jazzy-rmw-fastrtps-cpp", "PyYAML", "numpy==1.26.4", "opencv-python-headless==4.6.0.66", "pydantic==1.10.14"),
)
ABOUT = """
import json, sys, sysconfig, pathlib, importlib.util
managed = pathlib.Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists()
print(json.dumps([managed, importlib.util.find_spec("pip") is not None, sys.version_info[:2]]))
"""
# What pip would say of the system, seen from the sourced workspace.
SEEN = """
import json, numpy, cv2, pydantic
print(json.dumps([numpy.__file__, cv2.__file__, pydantic.VERSION, numpy.__version__, cv2.__version__]))
"""
IN_WORKSPACE = ("bash", "-c", 'source install/setup.bash && exec "$@"', "bash")
COLCON = "import sys; from colcon_core.command import main; sys.exit(main())"


@dataclass(frozen=True)
class Workspace:
    folder: Path
    ros: Path
    environment: dict[str, str]

    @property
    def prefix(self) -> Path:
        return self.folder / "install/m3l_ros"

    def run(self, *command: str | Path, timeout_s: float = 300.0) -> subprocess.CompletedProcess[str]:
        """Run a command in a shell in which the workspace is sourced."""
        return subprocess.run(
            [*IN_WORKSPACE, *map(str, command)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )


def pip(*arguments: str) -> None:
    """Into a folder of the test's own; without PyPI there is nothing to test with."""
    done = subprocess.run(
        [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments],
        env=bare_environment(),
        capture_output=True,
        text=True,
        timeout=400,
    )
    if done.returncode:
        pytest.skip(f"needs PyPI's wheels of ROS and colcon for {PYTHON}: {done.stderr.strip().splitlines()[-1:]}")


def bare_environment() -> dict[str, str]:
    """Without what the environment of these tests adds, such as its own wheels of ROS."""
    kept = ("HOME", "LANG", "TMPDIR", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "SSL_CERT_FILE")
    proxies = {name: text for name, text in os.environ.items() if name.lower().endswith("_proxy")}
    return {name: os.environ[name] for name in kept if name in os.environ} | proxies | {"PATH": "/usr/bin:/bin"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    if not Path(PYTHON).exists():
        pytest.skip(f"needs {PYTHON}, externally managed")
    about = subprocess.run([PYTHON, "-c", ABOUT], capture_output=True, text=True, env=bare_environment(), timeout=60)
    managed, has_pip, version = json.loads(about.stdout)
    if not managed or not has_pip or not (3, 10) <= tuple(version) <= (3, 12):
        pytest.skip(f"needs {PYTHON} to be externally managed, 3.10 to 3.12 as NumPy 1.26 is, and to have pip")
    folder = tmp_path_factory.mktemp("robot")
    pip("--prefix", str(folder / "ros"), *ROS)
    pip("--target", str(folder / "colcon"), "colcon-common-extensions")
    (rclpy,) = (path.parent for path in folder.glob("ros/**/rclpy/node.py"))
    libraries = rclpy.parent
    # Debian's pip puts some of it into dist-packages and some into site-packages.
    for other in libraries.parent.glob("*-packages"):
        if other != libraries:
            shutil.copytree(other, libraries, dirs_exist_ok=True)
    found = Workspace(
        folder / "ros2_ws",
        libraries,
        bare_environment()
        | {
            "PYTHONPATH": str(libraries),
            "LD_LIBRARY_PATH": ":".join(map(str, [*libraries.parents[2].glob("lib"), *libraries.glob("*.libs")])),
            "AMENT_PREFIX_PATH": str(libraries.parents[2]),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        },
    )
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "test", "*.egg-info", "runs")
    shutil.copytree(ROOT, found.folder / "src/m3l_ros", ignore=unwanted)
    built = subprocess.run(
        [PYTHON, "-c", COLCON, "build", "--packages-select", "m3l_ros"],
        cwd=found.folder,
        env=found.environment | {"PYTHONPATH": f"{folder / 'colcon'}:{libraries}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return found


@pytest.fixture(scope="module")
def installed(workspace: Workspace) -> Workspace:
    """The same, after the one command that docs/install.md has for it."""
    node = workspace.run(workspace.prefix / "lib/m3l_ros/segment_node")
    assert node.returncode == 1
    assert "Traceback" not in node.stderr
    assert node.stderr.splitlines()[-1].endswith("ros2 run m3l_ros install_packages"), node.stderr
    done = workspace.run(workspace.prefix / "lib/m3l_ros/install_packages", "onnxruntime")
    assert done.returncode == 0, done.stderr
    assert "onnxruntime==" in done.stdout and "pydantic==2" in done.stdout
    return workspace


@pytest.fixture
def driver() -> Iterator[Driver]:
    with own_domain() as domain_id:
        driver = Driver(domain_id)
        yield driver
        driver.close()


def test_the_systems_numpy_and_opencv_stay_those_that_are_used(installed: Workspace) -> None:
    numpy, cv2, pydantic, *versions = json.loads(installed.run("python3", "-c", SEEN).stdout)
    for path in (numpy, cv2):
        assert Path(path).is_relative_to(installed.ros)
    assert versions == ["1.26.4", "4.6.0"]
    assert pydantic.startswith("2.")
    target = installed.prefix / "opt/m3l_ros/python"
    assert not {"numpy", "cv2"} & {path.name for path in target.iterdir()}


def test_a_second_time_nothing_is_missing(installed: Workspace) -> None:
    done = installed.run(installed.prefix / "lib/m3l_ros/install_packages", "onnxruntime")
    assert (done.returncode, done.stdout) == (0, "nothing is missing\n"), done.stderr


@pytest.mark.parametrize("extra", ["abacus", "ros"])
def test_an_extra_that_there_is_not_is_told_with_those_there_are(installed: Workspace, extra: str) -> None:
    done = installed.run(installed.prefix / "lib/m3l_ros/install_packages", extra)
    assert done.returncode == 1
    assert f"there is no extra {extra}; there is: " in done.stderr
    assert "openvino" in done.stderr


def test_the_other_commands_are_reached_and_name_the_one_that_works_here(installed: Workspace, tmp_path: Path) -> None:
    commands = installed.prefix / "lib/m3l_ros"
    for name in ("m3l_replay", "m3l_build_engine", "m3l_check_gpu", "m3l_label_space"):
        assert installed.run(commands / name, "--help").returncode == 0, name
    recording = installed.folder / "src/m3l_ros/m3l_core/data/recordings/rooms_a"
    refused = installed.run(commands / "m3l_replay", recording, "--engine", "openvino", "--output", tmp_path / "out")
    assert refused.returncode == 1
    assert "Install it with: ros2 run m3l_ros install_packages openvino" in refused.stderr


def test_the_node_labels(installed: Workspace, driver: Driver, onnx_bundle: Path, tmp_path: Path) -> None:
    parameters = {**CALM, "engine": "onnxruntime", "bundle": onnx_bundle, "autostart": "true"}
    options = [word for name, text in parameters.items() for word in ("-p", f"{name}:={text}")]
    log = tmp_path / "node.log"
    command = [installed.prefix / "lib/m3l_ros/segment_node", "--ros-args", *options]
    with log.open("w") as output:
        node = subprocess.Popen(
            [*IN_WORKSPACE, *map(str, command)],
            cwd=installed.folder,
            env=installed.environment | {"ROS_DOMAIN_ID": str(driver.node.context.get_domain_id())},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        driver.wait_for("diagnostics", lambda: driver.status("segmentation").message == "labelling", 60.0)
        driver.label_pair()
        assert driver.status("segmentation").values["engine"] == "onnxruntime"
        node.terminate()
        assert node.wait(20) == 0, log.read_text()
    finally:
        node.kill()
        node.wait(20)
