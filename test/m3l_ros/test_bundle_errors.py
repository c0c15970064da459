"""A bundle that cannot be used: configuring fails, the reason is told, the node lives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.bundles import BREAKAGES, write_broken_bundle, write_bundle
from support.engines import ConstantEngine, loader
from support.rig import Rig

from m3l_core.engines.engine import load_engine
from m3l_core.errors import EngineError
from m3l_core.modalities import ColorModality, DepthModality

pytestmark = [pytest.mark.needs("rclpy", "torch"), pytest.mark.dds]


def expect_refusal(bundle: Path | str, reason: str, engine_loader: Callable[..., Any] = load_engine) -> None:
    with Rig(bundle, {"engine": "torch"}, engine_loader, active=False) as rig:
        driver = rig.driver
        for _ in range(2):
            assert not driver.change_state("configure")
            assert driver.state() == "unconfigured"
        driver.wait_for("reason in the diagnostics", lambda: reason in driver.status("segmentation").message)
        assert driver.status("segmentation").level == 2
        assert "cannot be configured" in driver.wait_for_line(reason)
        assert driver.node.count_publishers("/segmentation/mask") == 0


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_bundle_is_refused(tmp_path: Path, breakage: str) -> None:
    expect_refusal(write_broken_bundle(tmp_path / "bundle", breakage), BREAKAGES[breakage][1])


@pytest.mark.parametrize("name", ["left eye", "2nd", "front-rear", "front__rear", "segmentation"])
def test_a_modality_that_cannot_be_a_topic_is_refused(tmp_path: Path, name: str) -> None:
    modalities = (ColorModality(name=name), DepthModality())
    expect_refusal(write_bundle(tmp_path / "bundle", modalities), f"calls a modality '{name}', which cannot be a topic")


def test_a_file_is_no_bundle(tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_text("name: tiny")
    expect_refusal(file, "is not a model bundle")


def test_an_engine_that_cannot_be_loaded_is_refused(tiny_bundle: Path) -> None:
    def fail(*_: Any) -> Any:
        raise EngineError("no engine today")

    expect_refusal(tiny_bundle, "no engine today", fail)


def test_an_error_that_nobody_foresaw_is_told_too(tiny_bundle: Path) -> None:
    def fail(*_: Any) -> Any:
        raise OSError("disk on fire")

    expect_refusal(tiny_bundle, "disk on fire", fail)


def test_the_node_can_be_configured_once_the_bundle_is_whole(tmp_path: Path) -> None:
    folder = write_broken_bundle(tmp_path / "bundle", "no weights")
    with Rig(folder, engine_loader=loader(ConstantEngine()), active=False) as rig:
        driver = rig.driver
        assert not driver.change_state("configure")
        driver.wait_for("reason in the diagnostics", lambda: driver.status("segmentation").level == 2)
        write_bundle(folder)
        assert driver.change_state("configure")
        assert driver.change_state("activate")
        driver.wait_for("end of the problem", lambda: driver.status("segmentation").level == 0)
        driver.label_pair()
