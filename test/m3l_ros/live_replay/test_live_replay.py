"""``m3l_replay --live``: a real node over real DDS, beside the same replay offline."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.bags import (
    COLOR,
    DEPTH,
    LABEL,
    MS,
    PERIOD_NS,
    SIZE,
    START_NS,
    Recorded,
    compressed,
    image,
    jpeg,
    millimetres,
    rgb,
    write_bag,
)
from support.bundles import write_bundle, write_onnx_bundle
from support.dds_domain import own_domain, processes_of
from support.rig import Rig
from support.two_cameras import camera_info, pinhole

from m3l_core.modalities import ColorModality, DepthModality
from m3l_core.registration.camera_model import CameraModel
from m3l_ros.commands import replay

pytestmark = [pytest.mark.needs("rclpy", "openvino"), pytest.mark.dds]
COUNT = 25
# Long waits: on a busy machine messages sent together may arrive far apart.
CALM = ("--engine", "openvino", "--precision", "fp32", "--threads", 1, "--sync-timeout", 0.5, "--sensor-timeout", 1)
LOST = "name: lost\nfaults:\n  - {kind: gone, modality: depth, from_s: 1}\n"
DAMAGED = """
name: damaged
faults:
  - {kind: noisy, salt_pepper: 0.1, sigma: 0.2}
  - {kind: clock_offset, modality: depth, offset_s: 0.004}
"""


@dataclass
class Ended:
    """How the command ended."""

    status: Any
    error: str
    scenarios: dict[str, Any]
    """Those of the report by name."""


@pytest.fixture
def domain() -> Iterator[int]:
    with own_domain() as domain_id:
        yield domain_id


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs the command."""

    def call(*arguments: object) -> Ended:
        output = tmp_path / "out"
        argv = ["m3l_replay", "--live", *map(str, (*CALM, *arguments)), "--output", str(output)]
        monkeypatch.setattr(sys, "argv", argv)
        status: Any = 0
        try:
            replay()
        except SystemExit as end:
            status = end.code
        file = output / "report.json"
        found = json.loads(file.read_text())["scenarios"] if file.is_file() else []
        return Ended(status, capsys.readouterr().err, {scenario["name"]: scenario for scenario in found})

    return call


def record(path: Path, count: int, compress: bool = True, camera: CameraModel | None = None) -> Path:
    """Color, as jpeg or raw, and raw depth at 10 Hz; ground truth of the first half; camera_info of a ``camera``."""
    beside = f"{COLOR.rpartition('/')[0]}/camera_info"
    recorded = [] if camera is None else [Recorded(beside, START_NS, camera_info(camera, "camera"))]
    for number in range(count):
        stamp = START_NS + number * PERIOD_NS
        color = compressed(jpeg(number), "rgb8; jpeg compressed bgr8", stamp) if compress else None
        recorded.append(Recorded(COLOR, stamp + 3 * MS, color or image(rgb(number), "rgb8", stamp)))
        recorded.append(Recorded(DEPTH, stamp + 5 * MS, image(millimetres(number), "16UC1", stamp)))
        if number < count // 2:
            truth = image(np.ones((24, 32), np.uint8), "mono8", stamp)
            recorded.append(Recorded(LABEL, stamp + 6 * MS, truth))
    return write_bag(path, recorded)


def recorded_robot(bundle: Path) -> Rig:
    """A node that listens to the topics of the recordings."""
    remapped = (
        *(f"color/image_raw:={COLOR}", f"depth/image_rect:={DEPTH}"),
        f"color/camera_info:={COLOR.rpartition('/')[0]}/camera_info",
    )
    return Rig(
        bundle,
        {"engine": "openvino", "sync_timeout": 0.5, "sensor_timeout": 1.0},
        cli_args=["--ros-args", *(word for each in remapped for word in ("-r", each))],
    )


@pytest.mark.slow
def test_node_and_replay_offline_agree_on_every_frame_that_both_labelled(
    played: Callable[..., Ended], domain: int, tmp_path: Path, tiny_bundle: Path
) -> None:
    for name, text in (("lost", LOST), ("damaged", DAMAGED)):
        (tmp_path / f"{name}.yaml").write_text(text)
    ended = played(
        *(record(tmp_path / "hall", COUNT), "--bundle", tiny_bundle, "--domain", domain, "--label-topic", LABEL),
        *("--scenario", tmp_path / "lost.yaml", tmp_path / "damaged.yaml", "none", "--fail-under", "equal=1"),
    )
    assert ended.status == 0, ended.error
    assert list(ended.scenarios) == ["lost", "damaged", "none"]
    for name, scenario in ended.scenarios.items():
        measures, figures = scenario["measures"], scenario["figures"]
        live, labels = measures["live"], measures["delivery"]["number"]
        assert COUNT // 2 < live["frames_labelled_offline_too"] <= labels <= COUNT, name
        assert live["equal"] + live["from_other_images"] == live["frames_labelled_offline_too"], name
        assert live["equal"] >= labels - 2, name
        assert sum(count for _, count in measures["latency_histogram"]) == labels
        assert 0 < figures["latency_p50"] <= figures["latency_p99"] < 20
        assert figures["consistency"] < 1  # the network does not answer the same to everything
        assert 0 < measures["frames_compared"]["truth"] <= COUNT // 2
        for counts in measures["modalities"].values():
            kept = counts["in_complete_sets"] + counts["in_partial_sets"]
            assert kept + sum(counts["dropped"].values()) == counts["arrived"]
    none, lost = (ended.scenarios[name]["measures"] for name in ("none", "lost"))
    assert none["sets"]["partial"] <= 2
    assert none["modalities"]["depth"]["arrived"] == COUNT
    assert lost["modalities"]["depth"]["arrived"] == 10
    assert lost["sets"]["partial"] >= COUNT - 12
    assert lost["modalities"]["depth"]["missing_in_sets"] == lost["sets"]["partial"]
    states = ended.scenarios["lost"]["runs"][0]["states"]["depth"]["changes"]
    assert [state for _, state in states][-1] == "LOST"
    assert 1.8 < states[-1][0] < 2.4
    assert processes_of(domain) == []


def test_it_plays_into_a_node_that_runs_and_leaves_it_running(
    played: Callable[..., Ended], tmp_path: Path, tiny_bundle: Path
) -> None:
    bag = record(tmp_path / "hall", 10, compress=False)
    with recorded_robot(tiny_bundle) as rig:
        domain = rig.driver.node.context.get_domain_id()
        common = (bag, "--attach", "--domain", domain, "--scenario", "none", "--bundle")
        ended = played(*common, tiny_bundle)
        assert ended.status == 0, ended.error
        live = ended.scenarios["none"]["measures"]["live"]
        assert live["equal"] + live["from_other_images"] == live["frames_labelled_offline_too"] > 5
        again = played(*common, tiny_bundle)
        assert again.scenarios["none"]["measures"]["delivery"]["number"] <= 10
        assert again.scenarios["none"]["measures"]["modalities"]["color"]["arrived"] == 10
        other = played(*common, tiny_bundle, "--max-interval", 0.03)
        assert (other.status, "approx_sync_max_interval 0.02, not 0.03" in other.error) == (1, True)
        assert rig.driver.state() == "active"


def test_a_node_that_dies_is_told_with_its_log(
    played: Callable[..., Ended], domain: int, tmp_path: Path, tiny_bundle: Path
) -> None:
    bag = record(tmp_path / "hall", 300)
    log = tmp_path / "out" / "node.log"

    def kill() -> None:
        deadline = time.monotonic() + 60
        while not (log.is_file() and "tiny from" in log.read_text()) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1)
        for process in processes_of(domain):
            os.kill(process, signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    ended = played(bag, "--bundle", tiny_bundle, "--domain", domain, "--scenario", "none")
    assert ended.status == 1
    assert "the node ended with status -9. Its log ends:" in ended.error
    assert "tiny from" in ended.error
    assert ended.scenarios == {}


@pytest.mark.needs("torch")
def test_a_node_that_cannot_label_says_why(played: Callable[..., Ended], domain: int, tmp_path: Path) -> None:
    from m3l_core.modalities import ColorModality, IntensityModality

    bundle = write_bundle(tmp_path / "infrared", (ColorModality(), IntensityModality(name="near-infrared")))
    options = ("--bundle", bundle, "--engine", "torch", "--domain", domain, "--scenario", "none")
    ended = played(record(tmp_path / "hall", 3), *options, "--topic", "near-infrared=none")
    assert ended.status == 1
    assert "the node cannot configure: " in ended.error
    assert "the bundle calls a modality 'near-infrared', which cannot be a topic of the node" in ended.error


def test_where_no_node_runs_there_is_none_to_attach_to(
    played: Callable[..., Ended], domain: int, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("m3l_ros.live_replay.node._PATIENCE_S", 0.5)
    ended = played(
        *(record(tmp_path / "hall", 3), "--bundle", tiny_bundle, "--domain", domain, "--attach", "--scenario", "none")
    )
    assert ended.status == 1
    assert "no segment_node is heard in this ROS domain" in ended.error


def test_a_node_that_runs_is_told_the_camera_of_each_recording(played: Callable[..., Ended], tmp_path: Path) -> None:
    bundle = write_onnx_bundle(tmp_path / "tiny", (ColorModality(), DepthModality(normalization="geometry")))
    bags = [record(tmp_path / name, 10, False, pinhole(SIZE, SIZE[1] / n)) for name, n in (("wide", 3), ("narrow", 1))]
    with recorded_robot(bundle) as rig:
        domain = rig.driver.node.context.get_domain_id()
        for bag in bags:
            ended = played(bag, "--attach", "--domain", domain, "--scenario", "none", "--bundle", bundle)
            assert ended.status == 0, ended.error
            live = ended.scenarios["none"]["measures"]["live"]
            assert live["frames_labelled_offline_too"] > 5
            assert live["equal"] + live["from_other_images"] >= live["frames_labelled_offline_too"] - 2


@pytest.mark.slow
def test_the_node_is_told_the_camera_of_the_recording(
    played: Callable[..., Ended], domain: int, tmp_path: Path
) -> None:
    bundle = write_onnx_bundle(tmp_path / "tiny", (ColorModality(), DepthModality(normalization="geometry")))
    bag = record(tmp_path / "hall", COUNT, camera=pinhole(SIZE, SIZE[1] / 3))
    ended = played(bag, "--bundle", bundle, "--domain", domain, "--scenario", "none")
    assert not ended.status, ended.error
    live = ended.scenarios["none"]["measures"]["live"]
    # The first set may come before the camera_info, which has a topic of its own.
    assert live["equal"] >= live["frames_labelled_offline_too"] - 2 > COUNT // 2
