"""Graphs are read and built by TensorRT's own parser and builder: those of TensorRT for RTX, which need no GPU."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support.needs import require_modules
from support.tensorrt_rtx import tensorrt_rtx

from m3l_core.bundle import ModelBundle
from m3l_core.datasets.model_inputs import read_model_inputs
from m3l_core.engines import tensorrt_builder
from m3l_core.engines.build_engine import prepared_graph
from m3l_core.engines.label_sizes import LabelSizes
from m3l_core.engines.onnx_typing import load_graph, typed, with_casts_last
from m3l_core.engines.tensorrt_builder import BuildOptions, build, count_precisions, failure
from m3l_core.errors import BundleError, EngineError
from m3l_core.frames import ModelInput
from m3l_core.shipped import shipped_bundle, shipped_recording

pytestmark = [
    pytest.mark.needs("onnx"),
    pytest.mark.filterwarnings("ignore:.*Timing cache operations are no-ops:DeprecationWarning"),
]
UP_TO = LabelSizes.up_to((200, 240), (64, 96))


@pytest.fixture(scope="module")
def trt() -> Any:
    return tensorrt_rtx()


@pytest.fixture(scope="module")
def bundle(exported_bundle: Path) -> ModelBundle:
    return ModelBundle.load(exported_bundle)


@pytest.fixture
def timing_cache(tmp_path: Path) -> Path:
    return tmp_path / "timing.cache"


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("sizes", [UP_TO, LabelSizes.only((48, 64))], ids=str)
def test_an_exported_graph_becomes_an_engine(
    trt: Any, bundle: ModelBundle, timing_cache: Path, precision: str, sizes: LabelSizes
) -> None:
    options = BuildOptions(sizes, workspace_bytes=1 << 28)
    built = build(trt, prepared_graph(bundle, precision, sizes), options, timing_cache, print)
    assert len(built.content) > 10_000
    assert built.seconds > 0
    assert any("this process: " in line and "MiB" in line for line in built.memory)
    assert any("Peak memory usage" in line for line in built.memory)
    assert timing_cache.stat().st_size > 0


@pytest.mark.parametrize("place", range(3), ids=["color and depth", "color", "depth"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_the_graphs_of_the_shipped_bundle_are_read(trt: Any, precision: str, place: int) -> None:
    sizes = LabelSizes.up_to((720, 1280), (240, 320))
    try:
        graph = prepared_graph(ModelBundle.load(shipped_bundle()).networks()[place], precision, sizes)
    except BundleError as error:
        pytest.skip(f"the shipped bundle has no graph for {precision}: {error}")
    _, network, _ = parsed(trt, graph)
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    assert {each.name: each.is_shape_tensor for each in inputs} == {"images": False, "present": False, "size": True}
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    assert {each.name: each.dtype for each in outputs} == {"labels": trt.uint8, "confidence": trt.uint8}


@pytest.mark.parametrize(
    ("place", "precision"), [(0, "fp16"), (1, "bf16"), (2, "fp32"), (2, "int8")], ids=lambda given: str(given)
)
def test_the_networks_of_the_shipped_bundle_become_engines(
    trt: Any, tmp_path: Path, timing_cache: Path, place: int, precision: str
) -> None:
    """EfficientNets, for both sensors and for one of them."""
    whole = ModelBundle.load(shipped_bundle())
    network = whole.networks()[place]
    if precision == "int8":
        require_modules("onnxruntime")
        from m3l_core.quantization.quantization import quantize

        frames = read_model_inputs(shipped_recording(), whole.description, 1)
        seen = [frame.of_streams(whole.streams_of(network)) for frame in frames]
        network = ModelBundle.load(shutil.copytree(network.folder, tmp_path / "network"))
        network = network.add_graph(quantize(network, seen), "model.int8.onnx")
    sizes = LabelSizes.up_to((720, 1280), (240, 320))
    built = build(trt, prepared_graph(network, precision, sizes), BuildOptions(sizes), timing_cache, print)
    assert 5e6 < len(built.content) < 40e6


@pytest.mark.parametrize(("precision", "floating"), [("fp16", "float16"), ("bf16", "bfloat16")])
def test_every_layer_of_a_typed_graph_computes_in_its_type(
    trt: Any, bundle: ModelBundle, precision: str, floating: str
) -> None:
    _, network, _ = parsed(trt, prepared_graph(bundle, precision, UP_TO))
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    weighty = [each for each in layers if each.type in (trt.LayerType.CONVOLUTION, trt.LayerType.MATRIX_MULTIPLY)]
    assert len(weighty) > 20
    assert {each.get_output(0).dtype for each in weighty} == {getattr(trt, floating)}


def parsed(trt: Any, graph: bytes) -> tuple[Any, Any, Any]:
    builder = trt.Builder(tensorrt_builder.logger_of(trt))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, tensorrt_builder.logger_of(trt))
    assert parser.parse(graph), tensorrt_builder._parser_errors(parser)
    return builder, network, parser


def noise() -> list[ModelInput]:
    generator = np.random.default_rng(0)
    images = [generator.normal(size=(1, 2, 3, 64, 96)).astype(np.float32) for _ in range(2)]
    return [ModelInput(each, np.ones((1, 2), np.bool_)) for each in images]


def test_a_quantized_graph_becomes_an_engine(
    trt: Any, exported_bundle: Path, tmp_path: Path, timing_cache: Path
) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'm3l_ros[onnxruntime]'")
    from m3l_core.quantization.quantization import quantize

    bundle = ModelBundle.load(shutil.copytree(exported_bundle, tmp_path / "bundle"))
    bundle = bundle.add_graph(quantize(bundle, noise()), "model.int8.onnx")
    graph = prepared_graph(bundle, "int8", UP_TO)
    _, network, _ = parsed(trt, graph)
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    assert sum(each.type == trt.LayerType.QUANTIZE for each in layers) > 10
    assert len(build(trt, graph, BuildOptions(UP_TO), timing_cache, print).content) > 10_000


def test_what_onnxruntimes_quantizer_makes_by_itself_is_refused(
    trt: Any, bundle: ModelBundle, tmp_path: Path, timing_cache: Path
) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization", reason="needs onnxruntime")

    class Frames(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            size = np.array((64, 96))
            self.feeds = iter([{"images": each.images, "present": each.present, "size": size} for each in noise()])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.feeds, None)

    model = with_casts_last(load_graph(bundle.graph()))
    onnx.save(model, tmp_path / "float.onnx")
    quantization.quantize_static(
        tmp_path / "float.onnx", tmp_path / "int8.onnx", Frames(), op_types_to_quantize=["Conv", "MatMul"]
    )
    with pytest.raises(EngineError, match=r"TensorRT cannot read the graph: .*(Int32|[Ss]ymmetric|[Zz]ero)"):
        build(trt, (tmp_path / "int8.onnx").read_bytes(), BuildOptions(UP_TO), timing_cache, print)


def test_a_graph_that_cannot_be_read_is_told_in_full(trt: Any, bundle: ModelBundle, timing_cache: Path) -> None:
    model = onnx.load(bundle.graph())  # as it was exported: uint8 inside of the graph
    with pytest.raises(EngineError, match=r"cannot read the graph: Cast '.*UINT8"):
        build(trt, model.SerializeToString(), BuildOptions(UP_TO), timing_cache, print)
    with pytest.raises(EngineError, match="cannot read the graph: "):
        build(trt, b"no graph", BuildOptions(UP_TO), timing_cache, print)


def test_a_graph_that_mixes_types_is_refused(trt: Any, bundle: ModelBundle, timing_cache: Path) -> None:
    model = typed(with_casts_last(load_graph(bundle.graph())), "fp16")
    weight = next(each for each in model.graph.initializer if len(each.dims) == 4)
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight).astype(np.float32), weight.name))
    with pytest.raises(EngineError, match="TensorRT cannot "):
        build(trt, model.SerializeToString(), BuildOptions(UP_TO), timing_cache, print)


def test_a_damaged_timing_cache_is_no_loss(trt: Any, bundle: ModelBundle, timing_cache: Path) -> None:
    graph = prepared_graph(bundle, "fp16", UP_TO)
    timing_cache.write_bytes(b"rubbish" * 100)
    assert build(trt, graph, BuildOptions(UP_TO), timing_cache, print).content
    assert not timing_cache.read_bytes().startswith(b"rubbish")
    assert build(trt, graph, BuildOptions(UP_TO), timing_cache, print).content


def test_the_progress_is_told(
    trt: Any, bundle: ModelBundle, timing_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tensorrt_builder._SECONDS_PER_LINE < 5
    monkeypatch.setattr(tensorrt_builder, "_SECONDS_PER_LINE", 0.05)
    lines: list[str] = []
    build(trt, prepared_graph(bundle, "fp16", UP_TO), BuildOptions(UP_TO), timing_cache, lines.append)
    assert len(lines) > 3
    assert any("/" in line for line in lines)


def test_ctrl_c_stops_the_build(
    trt: Any, bundle: ModelBundle, timing_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_builder, "_SECONDS_PER_LINE", 0.05)
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if "/" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(trt, prepared_graph(bundle, "fp16", UP_TO), BuildOptions(UP_TO), timing_cache, say)
    gc.collect()
    assert not timing_cache.exists()  # it was not built to its end


@pytest.mark.parametrize(
    "said",
    [
        "[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)",
        "Error Code 2: OutOfMemory (Requested size was 536870912 bytes.)",
        "Could not find any implementation for node {ForeignNode} due to insufficient workspace. See verbose log.",
        "Requested amount of GPU memory (8589934592 bytes) could not be allocated.",
        "std::bad_alloc",
    ],
)
def test_running_out_of_memory_says_what_to_do(said: str) -> None:
    assert str(failure("TensorRT cannot build the engine", ["first", said])) == (
        f"TensorRT cannot build the engine: first; {said}. The memory does not suffice: close other programs, take a "
        "lower --max-size or --workspace-gb, and on a Jetson add swap"
    )


def test_another_failure_says_so_too() -> None:
    assert str(failure("TensorRT cannot build the engine", [])) == (
        "TensorRT cannot build the engine: it gives no reason. Another --precision or a newer TensorRT may help"
    )


LAYERS_10 = """{"Layers": [
 {"Name": "Reformat", "LayerType": "Reformat", "Inputs": [{"Name": "images", "Location": "Device", "Dimensions":
  [1,2,3,64,96], "Format/Datatype": "Row major linear FP32"}], "Outputs": [{"Name": "typed", "Dimensions":
  [1,2,3,64,96], "Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}], "TacticName": "int8"},
 {"Name": "conv", "LayerType": "CaskConvolution", "Inputs": [{"Name": "typed", "Format/Datatype": "Half"}],
  "Outputs": [{"Name": "Float", "Format/Datatype": "Half"}], "Weights": {"Type": "Int8", "Count": 1}},
 {"Name": "__myl_Cast", "LayerType": "kgen", "Inputs": [], "Outputs": [{"Name": "b", "Format/Datatype": "BFloat16"}]},
 {"Name": "quantized", "LayerType": "gemm", "Inputs": [{"Name": "c", "Format/Datatype":
  "Thirty-two wide channel vectorized row major Int8 format"}], "Outputs": [{"Name": "d", "Format/Datatype": "Half"}]},
 {"Name": "tail", "LayerType": "Resize", "Inputs": [{"Name": "e", "Format/Datatype": "Float"}], "Outputs": []},
 {"Name": "winner", "LayerType": "Cast", "Outputs": [{"Name": "labels", "Format/Datatype": "UInt8"}]},
 {"Name": "constant", "LayerType": "Constant"}, "a name alone"],
 "Bindings": ["images", "present"]}"""
LAYERS_11 = """{"Layers": [
 {"Name": "conv", "Outputs": [{"Name": "x", "DataType": "Half", "Format": "Row major linear FP16 format (kLINEAR)"}]},
 {"Name": "tail", "Outputs": [{"Name": "y", "DataType": "Float", "Format": "Row major linear FP32 format (kLINEAR)"}]}],
 "I/O Tensors": [{"Name": "images", "IOMode": "Input", "DataType": "Float"}]}"""


def test_the_inspector_of_10_and_of_11_is_understood() -> None:
    expected = {"fp16": 2, "unknown": 2, "bf16": 1, "int8": 1, "fp32": 1, "integers": 1}
    assert count_precisions(LAYERS_10) == expected
    assert count_precisions(LAYERS_11) == {"fp16": 1, "fp32": 1}


@pytest.mark.parametrize("information", ["", "no JSON", "[]", "{}", '{"Bindings": []}', "null"])
def test_an_inspector_that_tells_nothing_does_no_harm(information: str) -> None:
    assert count_precisions(information) == {}
