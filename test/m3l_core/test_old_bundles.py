"""A bundle that an early release wrote is loaded, exported and quantized as if it were new."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from m3l_core.bundle import DESCRIPTION_FILE, ModelBundle
from m3l_core.engines.onnx_export import export_onnx
from m3l_core.errors import BundleError
from m3l_core.frames import ModelInput
from m3l_core.quantization.check import INT8_GRAPH
from m3l_core.quantization.quantization import quantize

pytestmark = pytest.mark.needs("torch", "onnx", "onnxscript", "onnxruntime")
LATER = ("graphs_of_weights", "temperatures", "subset_networks")
LATER_OF_NETWORK = ("head", "missing")
"""What the first releases' model.yaml does not have."""


def aged(bundle: Path, folder: Path) -> ModelBundle:
    """A copy as the first releases wrote it."""
    file = shutil.copytree(bundle, folder) / DESCRIPTION_FILE
    described = yaml.safe_load(file.read_text())
    for name in LATER:
        del described[name]
    for name in LATER_OF_NETWORK:
        del described["network"][name]
    if not described["graphs"]:
        del described["graphs"]
    file.write_text(yaml.safe_dump(described, sort_keys=False))
    return ModelBundle.load(folder)


def frames() -> list[ModelInput]:
    noise = np.random.default_rng(0).normal(size=(1, 2, 3, 64, 96)).astype(np.float32)
    return [ModelInput(noise, np.ones((1, 2), np.bool_))]


def test_without_a_graph_it_says_how_to_write_one_and_takes_it(tiny_bundle: Path, tmp_path: Path) -> None:
    old = aged(tiny_bundle, tmp_path / "old")
    assert old.description == ModelBundle.load(tiny_bundle).description
    with pytest.raises(BundleError, match=r"has no model\.onnx: write it with training/export_onnx\.py"):
        old.graph()
    exported = export_onnx(old, frames())
    assert exported.description.graphs_of_weights == old.description.weights_sha256
    assert ModelBundle.load(old.folder).graph().is_file()


def test_its_graph_is_used_and_quantized(exported_bundle: Path, tmp_path: Path) -> None:
    old = aged(exported_bundle, tmp_path / "old")
    assert old.networks()[0].graph().is_file()
    old.add_graph(quantize(old, frames()), INT8_GRAPH)
    now = ModelBundle.load(old.folder)
    assert now.graph().is_file() and now.graph(INT8_GRAPH).is_file()
    assert now.description.graphs_of_weights == old.description.weights_sha256
