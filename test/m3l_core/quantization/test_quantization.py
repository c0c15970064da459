"""What the quantised graph holds, that CPU engines label with it nearly as before, and what it must not cost."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.rooms import write_rooms

from m3l_core.bundle import ModelBundle
from m3l_core.datasets.folder import Sample, read_index
from m3l_core.datasets.model_inputs import read_model_inputs
from m3l_core.engines.engine import load_engine
from m3l_core.errors import BundleError, DatasetError, EngineError, MissingPackageError
from m3l_core.frames import ModelInput
from m3l_core.installation import install_command
from m3l_core.metrics import subset_key, subsets
from m3l_core.quantization.check import INT8_GRAPH, MOST_LOST, Comparison, accept, subset_miou
from m3l_core.quantization.quantization import quantize
from m3l_core.shipped import shipped_bundle, shipped_recording

pytestmark = pytest.mark.needs("onnx", "onnxruntime")
NAMES = ("color", "depth")
SIZE = (64, 96)
KEYS = [subset_key(subset) for subset in subsets(NAMES)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rooms(tmp_path_factory.mktemp("rooms"))


@pytest.fixture(scope="module")
def samples(data: Path) -> list[Sample]:
    return read_index(data / "val.json")


@pytest.fixture(scope="module")
def frames(data: Path, exported_bundle: Path) -> list[ModelInput]:
    return read_model_inputs(data / "train.json", ModelBundle.load(exported_bundle).description, 4)


@pytest.fixture(scope="module")
def content(exported_bundle: Path, frames: list[ModelInput]) -> bytes:
    return quantize(ModelBundle.load(exported_bundle), frames)


@pytest.fixture
def bundle(exported_bundle: Path, tmp_path: Path) -> ModelBundle:
    return ModelBundle.load(shutil.copytree(exported_bundle, tmp_path / "bundle"))


def faint(frames: Iterable[ModelInput]) -> list[ModelInput]:
    """Nothing that a camera gives: ranges made of these cut off nearly all there is."""
    return [ModelInput(frame.images * np.float32(1e-3), frame.present) for frame in frames]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_convolutions_read_int8_symmetric_and_per_channel_and_their_bias_is_float(
    bundle: ModelBundle, frames: list[ModelInput]
) -> None:
    graph = onnx.load_from_string(quantize(bundle, frames)).graph
    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    pairs = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    for node in pairs:
        _, scale, zero_point = node.input
        assert arrays[zero_point].dtype == np.int8
        assert not arrays[zero_point].any()
        assert (arrays[scale] > 0).all()
    every = [node for node in graph.node if node.op_type == "Conv"]
    convolutions = [node for node in every if producers[node.input[0]].op_type == "DequantizeLinear"]
    assert len(convolutions) > 30
    depthwise = [node for node in every if node not in convolutions]
    assert depthwise and all(arrays[node.input[1]].shape[1] == 1 for node in depthwise)
    for node in convolutions:
        activation, weight = (producers[name] for name in node.input[:2])
        assert {activation.op_type, weight.op_type} == {"DequantizeLinear"}
        assert producers[activation.input[0]].op_type == "QuantizeLinear"
        assert arrays[activation.input[1]].shape == ()
        values, scale = (arrays[name] for name in weight.input[:2])
        assert values.dtype == np.int8
        assert scale.shape == values.shape[:1]
        assert all(arrays[bias].dtype == np.float32 for bias in node.input[2:])
    assert sum(len(node.input) == 3 for node in convolutions) > 20
    dequantized = {node.output[0] for node in pairs if node.op_type == "DequantizeLinear"}
    readers = {node.op_type for node in graph.node if dequantized & set(node.input)}
    assert readers == {"Conv"}


def test_the_file_stands_alone_and_says_what_it_is(content: bytes, bundle: ModelBundle) -> None:
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert not [each.name for each in model.graph.initializer if each.external_data]
    assert len(content) < len((bundle.folder / "weights.safetensors").read_bytes()) + bundle.graph().stat().st_size
    exported = onnx.load(bundle.graph(), load_external_data=False)
    assert list(model.metadata_props) == list(exported.metadata_props)
    assert [each.name for each in (*model.graph.input, *model.graph.output)] == [
        *("images", "present", "size", "labels", "confidence")
    ]


def test_the_same_frames_give_the_same_file(content: bytes, bundle: ModelBundle, frames: list[ModelInput]) -> None:
    before = files(bundle.folder)
    assert quantize(bundle, iter(frames)) == content
    assert files(bundle.folder) == before


@pytest.mark.parametrize("present", [[True, True], [True, False], [False, True]])
@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_labels_are_nearly_those_of_the_float_graph(
    bundle: ModelBundle, content: bytes, frames: list[ModelInput], name: str, present: list[bool]
) -> None:
    pytest.importorskip(name, reason=f"needs {name}: pip install 'm3l_ros[{name}]'")
    given_input = ModelInput(frames[0].images, np.array([present]))
    exact = load_engine(bundle, name, "fp32", 1).infer(given_input, SIZE)
    with bundle.with_trial_graph(content, INT8_GRAPH) as trial:
        engine = load_engine(trial, name, "int8", 1)
        assert engine.precision == "int8"
        quantized = engine.infer(given_input, SIZE)
    assert len(np.unique(exact.labels)) > 2
    assert (exact.labels == quantized.labels).mean() > 0.95
    assert abs(exact.confidence.astype(int) - quantized.confidence).max() < 8


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_the_shipped_network_labels_nearly_as_before(tmp_path: Path, name: str) -> None:
    """An EfficientNet, whose depthwise convolutions OpenVINO computes wrongly in int8."""
    pytest.importorskip(name, reason=f"needs {name}: pip install 'm3l_ros[{name}]'")
    whole = ModelBundle.load(shipped_bundle())
    depth = whole.networks()[-1]
    streams = whole.streams_of(depth)
    seen = [frame.of_streams(streams) for frame in read_model_inputs(shipped_recording(), whole.description, 2)]
    size = depth.description.input_size
    exact = load_engine(depth, name, "fp32", 1).infer(seen[0], size)
    with depth.with_trial_graph(quantize(depth, seen), INT8_GRAPH) as trial:
        quantized = load_engine(trial, name, "int8", 1).infer(seen[0], size)
    assert len(np.unique(exact.labels)) > 2
    assert (exact.labels == quantized.labels).mean() > 0.85


def test_only_the_subsets_that_a_network_runs_with_count(
    bundle: ModelBundle, content: bytes, frames: list[ModelInput], samples: list[Sample]
) -> None:
    of_both = quantize(bundle, frames, [NAMES])
    assert of_both != content
    engine = load_engine(bundle, "onnxruntime", "fp32", 1)
    assert list(subset_miou(engine, bundle.description, samples, runs_with=[NAMES])) == ["color+depth"]
    whole = ModelBundle.load(shipped_bundle())
    runs_with = [whole.runs_with(network) for network in whole.networks()]
    assert runs_with == [[NAMES], [("color",)], [("depth",)]]
    assert whole.alone().runs_with(whole.alone()) == subsets(NAMES)


def test_a_graph_that_loses_little_is_written_and_runs(
    bundle: ModelBundle, content: bytes, samples: list[Sample]
) -> None:
    description = bundle.description
    of_float = subset_miou(load_engine(bundle, "onnxruntime", "fp32", 1), description, samples)
    with bundle.with_trial_graph(content, INT8_GRAPH) as trial:
        of_int8 = subset_miou(load_engine(trial, "onnxruntime", "int8", 1), description, samples)
        assert "model.int8.onnx" not in files(bundle.folder)
    assert not trial.folder.exists()
    assert list(of_float) == list(of_int8) == KEYS
    assert of_float != of_int8
    accept(bundle, content, Comparison(of_float, of_int8))
    found = ModelBundle.load(bundle.folder)
    assert found.graph("model.int8.onnx").read_bytes() == content
    assert found.graph().is_file()
    assert subset_miou(load_engine(found, "onnxruntime", "int8", 1), description, samples) == of_int8


def test_a_graph_that_loses_too_much_is_refused_and_nothing_is_touched(
    bundle: ModelBundle, frames: list[ModelInput], samples: list[Sample]
) -> None:
    before = files(bundle.folder)
    of_float = subset_miou(load_engine(bundle, "onnxruntime", "fp32", 1), bundle.description, samples)
    content = quantize(bundle, faint(frames))
    with bundle.with_trial_graph(content, INT8_GRAPH) as trial:
        engine = load_engine(trial, "onnxruntime", "int8", 1)
        comparison = Comparison(of_float, subset_miou(engine, bundle.description, samples))
    with pytest.raises(EngineError, match=r"int8 loses \d+\.\d\d points of mIoU with \S+, expected at most 1\. "):
        accept(bundle, content, comparison)
    assert files(bundle.folder) == before


miou = st.floats(0.1, 1.0)


@given(miou, miou, miou, st.sampled_from(KEYS), st.floats(0.0, 0.1))
def test_the_subset_that_loses_most_decides(one: float, two: float, three: float, worst: str, lost: float) -> None:
    of_float = dict(zip(KEYS, (one, two, three), strict=True))
    of_int8 = {key: value - (lost if key == worst else 0.0) for key, value in of_float.items()}
    comparison = Comparison(of_float, of_int8)
    if abs(lost - MOST_LOST) > 1e-6:
        assert comparison.accepted == (lost < MOST_LOST)
    if lost > 1e-6:
        assert comparison.worst == worst
    assert Comparison(of_int8, of_float).accepted


def test_a_subset_of_which_nothing_is_known_is_told(bundle: ModelBundle, samples: list[Sample]) -> None:
    blind = [Sample({"color": sample.images["color"]}, sample.label, sample.recording) for sample in samples]
    engine = load_engine(bundle, "onnxruntime", "fp32", 1)
    with pytest.raises(DatasetError, match="no validation frame tells anything of depth: expected labelled frames"):
        subset_miou(engine, bundle.description, blind)


def test_frames_that_cannot_be_are_refused(bundle: ModelBundle, frames: list[ModelInput]) -> None:
    with pytest.raises(EngineError, match="at least one frame to calibrate with, got none"):
        quantize(bundle, [])
    with pytest.raises(EngineError, match=r"expected images of shape \(1, 2, 3, 64, 96\), got \(1, 2, 3, 32, 96\)"):
        quantize(bundle, [ModelInput(frames[0].images[:, :, :, :32], frames[0].present)])


def test_a_bundle_that_was_not_exported_says_so(tiny_bundle: Path, frames: list[ModelInput]) -> None:
    with pytest.raises(BundleError, match=r"has no model.onnx: write it with training/export_onnx.py"):
        quantize(ModelBundle.load(tiny_bundle), frames)


@pytest.mark.parametrize(("module", "extra"), [("onnx", "train"), ("onnxruntime.quantization", "onnxruntime")])
def test_a_missing_package_names_the_extra(
    bundle: ModelBundle, frames: list[ModelInput], monkeypatch: pytest.MonkeyPatch, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackageError, match=rf"'{module}'.*{re.escape(install_command(extra))}"):
        quantize(bundle, frames)
