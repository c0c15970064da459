"""Each snippet of the docs runs as it stands."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
from support.dds_domain import own_domain
from support.python_path import python_path

ROOT = Path(__file__).parents[2]
SNIPPETS = ROOT / "docs" / "snippets"


def run(name: str, folder: Path) -> list[str]:
    command = [sys.executable, SNIPPETS / name]
    environment = os.environ | {"PYTHONPATH": python_path()}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_frames_are_synchronized_and_go_on_without_depth(tmp_path: Path) -> None:
    *sets, color, depth = run("synchronize_frames.py", tmp_path)
    assert [line.split("s: ")[1].split(" - ")[0] for line in sets] == ["color depth"] * 3 + ["color"] * 7
    assert color == "color: OK, 3 in complete sets, 7 alone"
    assert depth.startswith("depth: LOST")


@pytest.mark.needs("openvino")
def test_a_pair_is_labelled_and_depth_alone(tmp_path: Path) -> None:
    both, alone = run("label_images.py", tmp_path)
    assert both.startswith("{'") and alone.startswith("{'")
    assert cv2.imread(str(tmp_path / "labels.png")).shape == (480, 640, 3)


@pytest.mark.needs("openvino")
def test_a_recording_is_labelled(tmp_path: Path) -> None:
    lines = run("read_bag.py", tmp_path)
    assert len(lines) == 5
    assert all("(240, 320)" in line and 0 < float(line.split()[-1]) <= 1 for line in lines)


@pytest.mark.dds
@pytest.mark.needs("rclpy", "message_filters")
def test_a_node_hears_that_depth_is_missing(tmp_path: Path) -> None:
    import rclpy
    from rclpy.node import Node
    from sensor_msgs.msg import Image

    from m3l_core.streaming.image_messages import set_stamp

    log, context = tmp_path / "log", rclpy.Context()
    with own_domain() as domain, log.open("w") as file:
        environment = os.environ | {
            "ROS_DOMAIN_ID": str(domain),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "PYTHONPATH": python_path(),
        }
        command = [sys.executable, SNIPPETS / "synchronizer_filter.py"]
        listener = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
        rclpy.init(context=context, domain_id=domain)
        camera = Node("camera", context=context)
        try:
            color = camera.create_publisher(Image, "color/image_raw", 5)
            deadline_s = time.monotonic() + 60
            while "missing: {'depth'" not in log.read_text():
                assert listener.poll() is None and time.monotonic() < deadline_s, log.read_text()
                message = Image(height=2, width=2, encoding="mono8", step=2, data=[0, 50, 100, 150])
                set_stamp(message.header.stamp, time.time_ns())
                color.publish(message)
                time.sleep(0.05)
        finally:
            listener.kill()
            listener.wait()
            camera.destroy_node()
            rclpy.try_shutdown(context=context)
