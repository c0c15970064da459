"""The demo as users start it: the real node, the shipped recording, the shipped bundle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
from support.dds_domain import own_domain, processes_of
from support.python_path import python_path

pytestmark = [pytest.mark.needs("rclpy"), pytest.mark.dds, pytest.mark.slow]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def domain() -> Iterator[int]:
    with own_domain() as domain_id:
        yield domain_id


def start_demo(domain: int, output: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "m3l_ros.demo", "--domain", str(domain), "--output", str(output), *options]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": python_path()},
        cwd=output.parent,
        start_new_session=True,
    )


def test_labels_go_on_while_a_stock_synchronizer_would_give_none(domain: int, tmp_path: Path) -> None:
    output = tmp_path / "shown"
    demo = start_demo(domain, output)
    said, complained = demo.communicate(timeout=110)
    assert demo.returncode == 0, complained
    assert said.splitlines()[-1] == str(output)
    phases: list[dict[str, Any]] = json.loads((output / "report.json").read_text())["phases"]
    assert [phase["phase"] for phase in phases] == ["both sensors", "depth lost", "color lost", "both again"]
    for phase in phases:
        assert phase["labelled"] > 0 and phase["mean_iou"] > 0
        lost = "lost" in phase["phase"]
        assert phase["stock_sets"] == (0 if lost else phase["frames"])
    picture = cv2.imread(str(output / "demo.png"))
    assert picture is not None and picture.shape[1] == 4 * 320


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_node_as_well(domain: int, tmp_path: Path, number: int) -> None:
    output = tmp_path / "shown"
    demo = start_demo(domain, output)
    deadline = time.monotonic() + 60
    while not (output / "node.log").is_file() or "indoor" not in (output / "node.log").read_text():
        assert demo.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    demo.send_signal(number)
    _, complained = demo.communicate(timeout=30)
    assert demo.returncode == 128 + number and "Traceback" not in complained
    assert processes_of(domain) == []


def test_a_recording_that_is_none_is_refused_before_anything_starts(domain: int, tmp_path: Path) -> None:
    demo = start_demo(domain, tmp_path / "shown", "--recording", str(tmp_path / "absent"))
    _, complained = demo.communicate(timeout=30)
    assert demo.returncode == 1
    assert complained.startswith("demo: ") and "absent" in complained and "Traceback" not in complained
    assert not (tmp_path / "shown").exists()
