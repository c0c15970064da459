"""Temperatures: which one counts for which sensors, and that no label changes by them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from m3l_core.bundle import DESCRIPTION_FILE, ModelBundle
from m3l_core.engines.engine import load_engine
from m3l_core.engines.onnx_export import export_onnx
from m3l_core.errors import BundleError
from m3l_core.frames import ModelInput
from m3l_core.metrics import subset_key, subsets
from m3l_core.model.calibration import calibrated, temperature_table

pytestmark = [pytest.mark.needs("torch"), pytest.mark.usefixtures("one_thread")]
NAMES = ("color", "depth", "thermal")


def test_each_subset_has_its_own_temperature_and_1_where_none_is_given() -> None:
    given = {"color": 2.0, "depth+thermal": 3.0, "color+depth+thermal": 0.5}
    table = temperature_table(given, NAMES)
    chosen = subsets(NAMES)
    present = torch.tensor([[name in subset for name in NAMES] for subset in chosen])
    logits = torch.randn(len(chosen), 4, 2, 3)
    found = calibrated(logits, present, table)
    for index, subset in enumerate(chosen):
        torch.testing.assert_close(found[index], logits[index] / given.get(subset_key(subset), 1.0))


def test_without_temperatures_nothing_is_computed() -> None:
    logits = torch.randn(1, 4, 2, 3)
    assert temperature_table({}, NAMES) is None and temperature_table({"color": 1.0}, NAMES) is None
    assert calibrated(logits, torch.ones(1, 3, dtype=torch.bool), None) is logits


def with_temperatures(bundle: Path, folder: Path, temperatures: dict[str, float]) -> Path:
    shutil.copytree(bundle, folder)
    content = yaml.safe_load((folder / DESCRIPTION_FILE).read_text())
    (folder / DESCRIPTION_FILE).write_text(yaml.safe_dump(content | {"temperatures": temperatures}))
    return folder


@pytest.mark.needs("onnx", "onnxscript", "onnxruntime")
def test_they_are_in_the_graph_and_change_confidence_alone(tiny_bundle: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(1).normal(size=(1, 2, 3, 64, 96)).astype(np.float32)
    frame = ModelInput(images, np.ones((1, 2), np.bool_))
    plain = load_engine(ModelBundle.load(tiny_bundle), "torch", "fp32")
    warm = ModelBundle.load(with_temperatures(tiny_bundle, tmp_path / "warm", {"color": 0.2, "color+depth": 5.0}))
    export_onnx(warm, [frame])
    for name in ("torch", "onnxruntime"):
        engine = load_engine(ModelBundle.load(warm.folder), name, "fp32")
        for subset, sign in ((("color",), 1), (("depth",), 0), (("color", "depth"), -1)):
            seen = frame.with_only(subset, ("color", "depth"))
            before, after = plain.infer(seen, (64, 96)), engine.infer(seen, (64, 96))
            assert (before.labels == after.labels).mean() > 0.999
            change = after.confidence.astype(int) - before.confidence.astype(int)
            assert np.abs(change).max() <= 1 if sign == 0 else np.sign(change.mean()) == sign


@pytest.mark.parametrize("temperatures", [{"color": 0.0}, {"color": -1.0}, {"lidar": 1.0}])
def test_impossible_temperatures_are_refused(tiny_bundle: Path, tmp_path: Path, temperatures: dict[str, float]) -> None:
    with pytest.raises(BundleError, match="temperatures"):
        ModelBundle.load(with_temperatures(tiny_bundle, tmp_path / "broken", temperatures))
