"""The exported graph: what it takes and gives, where its weights are, and that nothing unequal leaves the exporter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support.bundles import describe, write_bundle, write_exported_bundle

from m3l_core.bundle import DESCRIPTION_FILE, ModelBundle, save_bundle
from m3l_core.engines import onnx_export
from m3l_core.engines.engine import load_engine
from m3l_core.errors import BundleError, EngineError
from m3l_core.frames import ModelInput
from m3l_core.metrics import subsets
from m3l_core.modalities import ColorModality, DepthModality, HeightModality
from m3l_core.model.network import LinearFusionSegFormer
from m3l_core.shipped import shipped_bundle

pytestmark = [pytest.mark.needs("onnx"), pytest.mark.usefixtures("one_thread")]


def noise(modalities: int, seed: int = 1) -> ModelInput:
    shape = (1, modalities)
    images = np.random.default_rng(seed).normal(size=(*shape, 3, 64, 96)).astype(np.float32)
    return ModelInput(images, np.ones(shape, np.bool_))


def shape_of(value: Any) -> list[int | str]:
    return [dimension.dim_param or dimension.dim_value for dimension in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("folder", ["tiny", "shipped"])
def test_the_graph_has_the_inputs_and_outputs_that_it_says(exported_bundle: Path, folder: str) -> None:
    bundle = ModelBundle.load(exported_bundle if folder == "tiny" else shipped_bundle())
    model = onnx.load(bundle.graph())
    onnx.checker.check_model(model, full_check=True)
    height, width = bundle.description.input_size
    assert {value.name: shape_of(value) for value in model.graph.input} == {
        "images": [1, 2, 3, height, width],
        "present": [1, 2],
        "size": [2],
    }
    assert {value.name: shape_of(value) for value in model.graph.output} == {
        "labels": ["height", "width"],
        "confidence": ["height", "width"],
    }
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["classes"]) == list(bundle.description.labels.names)
    assert json.loads(metadata["modalities"])[1]["kind"] == "depth"
    assert metadata["weights_sha256"] == bundle.description.weights_sha256


def test_the_shipped_weights_are_stored_once() -> None:
    for network in ModelBundle.load(shipped_bundle()).networks():
        assert network.graph().stat().st_size < network.folder.joinpath("weights.safetensors").stat().st_size / 5


@pytest.mark.parametrize(
    "modalities",
    [(ColorModality(),), (ColorModality(), DepthModality(), HeightModality())],
    ids=["one", "three"],
)
def test_any_number_of_modalities(tmp_path: Path, modalities: tuple[Any, ...]) -> None:
    bundle = ModelBundle.load(write_exported_bundle(tmp_path / "bundle", modalities))
    frame = noise(len(modalities), seed=5)
    names = bundle.description.modality_names
    for subset in subsets(names):
        given = ModelInput(frame.images, np.array([[name in subset for name in names]]))
        engines = (load_engine(bundle, name, "fp32") for name in ("torch", "onnxruntime"))
        expected, found = (engine.infer(given, (64, 96)) for engine in engines)
        assert (expected.labels == found.labels).mean() >= 0.9999


def test_a_joint_head_is_exported_as_torch_computes_it(tmp_path: Path) -> None:
    network = describe().network.model_copy(update={"head": "joint"})
    weights = LinearFusionSegFormer(network).state_dict()
    arrays = {name: each.numpy() for name, each in weights.items() if not name.endswith("num_batches_tracked")}
    described = describe().model_copy(update={"network": network})
    exported = onnx_export.export_onnx(save_bundle(tmp_path / "joint", described, arrays, "# joint\n"), [noise(2)])
    assert exported.description.network.head == "joint"


def test_streams_that_are_left_out_are_left_out_of_the_graph_as_well(tmp_path: Path) -> None:
    described = write_bundle(tmp_path / "bundle") / DESCRIPTION_FILE
    described.write_text(described.read_text().replace("missing: mask_token", "missing: no_stream"))
    exported = onnx_export.export_onnx(ModelBundle.load(described.parent), [noise(2)])
    assert exported.description.network.missing == "no_stream"
    with_token = write_exported_bundle(tmp_path / "token")
    given = ModelInput(noise(2, seed=5).images, np.array([[False, True]]))
    left_out, masked = (
        load_engine(each, "onnxruntime").infer(given, (64, 96)) for each in (exported, ModelBundle.load(with_token))
    )
    assert (left_out.confidence != masked.confidence).any()


def test_a_graph_that_labels_otherwise_than_torch_is_refused_and_leaves_the_bundle_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = ModelBundle.load(write_bundle(tmp_path / "bundle"))
    former = {file.name: file.read_bytes() for file in bundle.folder.iterdir()}
    tail = onnx_export._TAIL.replace("winner = ArgMax<", "winner = ArgMin<")
    assert tail != onnx_export._TAIL
    monkeypatch.setattr(onnx_export, "_TAIL", tail)
    with pytest.raises(EngineError, match=r"with color\+depth the exported graph labels .*%.* expected 99\.99%"):
        onnx_export.export_onnx(bundle, [noise(2)])
    assert {file.name: file.read_bytes() for file in bundle.folder.iterdir()} == former


def test_a_graph_of_another_bundle_is_refused(exported_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(exported_bundle, folder)
    shutil.copy(shipped_bundle() / "model.onnx", folder / "model.onnx")
    with pytest.raises(BundleError, match=r"model\.onnx is not the file that model\.yaml describes"):
        load_engine(ModelBundle.load(folder), "onnxruntime")


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_damaged_graph_is_refused_with_the_engines_own_words(
    exported_bundle: Path, tmp_path: Path, name: str
) -> None:
    pytest.importorskip(name, reason=f"needs {name}: scripts/setup_env {name}")
    folder = tmp_path / "bundle"
    shutil.copytree(exported_bundle, folder)
    bundle = ModelBundle.load(folder).add_graph((folder / "model.onnx").read_bytes()[:-2000])
    with pytest.raises(EngineError, match=rf"{name} .* cannot load .*model\.onnx: "):
        load_engine(bundle, name)
