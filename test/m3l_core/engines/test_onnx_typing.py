"""The graph that TensorRT gets computes what was exported, in the type that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from m3l_core.bundle import ModelBundle
from m3l_core.engines.onnx_typing import _converted, load_graph, typed, with_casts_last, with_size
from m3l_core.errors import EngineError

pytestmark = pytest.mark.needs("onnx", "onnxruntime")


FLOAT, FLOAT16, BFLOAT16, UINT8 = 1, 10, 16, 2
SIZE = (80, 120)


@pytest.fixture(scope="module")
def path(exported_bundle: Path) -> Path:
    return ModelBundle.load(exported_bundle).graph()


@pytest.fixture(scope="module")
def model(path: Path) -> Any:
    return load_graph(path)


def run(model: Any, present: Sequence[bool] = (True, True), **more: Any) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    content = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).normal(size=(1, 2, 3, 64, 96)).astype(np.float32)
    found: list[np.ndarray] = session.run(None, {"images": images, "present": np.array([present]), **more})
    return found


def types_of_constants(model: Any) -> set[int]:
    return {each.data_type for each in model.graph.initializer}


def test_a_read_graph_holds_its_weights_and_computes_the_same(path: Path, model: Any) -> None:
    assert FLOAT16 in types_of_constants(onnx.load(path, load_external_data=False))
    assert FLOAT16 not in types_of_constants(model)
    assert not any(each.HasField("data_location") and each.external_data for each in model.graph.initializer)
    size = np.array(SIZE)
    for ours, theirs in zip(run(model, size=size), run(path, size=size), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_uint8_is_made_of_float_and_only_at_the_end(model: Any) -> None:
    result = with_casts_last(model)
    onnx.checker.check_model(result, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(result, strict_mode=True)
    types = {each.name: each.type.tensor_type.elem_type for each in inferred.graph.value_info}
    assert UINT8 not in types.values()
    for name in ("labels", "confidence"):
        cast = next(node for node in result.graph.node if name in node.output)
        assert (cast.op_type, types[cast.input[0]]) == ("Cast", FLOAT)
    size = np.array(SIZE)
    for ours, theirs in zip(run(result, size=size), run(model, size=size), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_all_of_the_body_has_the_type(model: Any, precision: str) -> None:
    result = typed(model, precision)
    wanted, other = (FLOAT16, BFLOAT16) if precision == "fp16" else (BFLOAT16, FLOAT16)
    types = [each.data_type for each in result.graph.initializer]
    assert types.count(wanted) > 50
    assert other not in types
    assert types.count(FLOAT) == 1  # the 255 of the confidence, in the tail
    casts = {node.output[0]: node.attribute[0].i for node in result.graph.node if node.op_type == "Cast"}
    assert casts["images_typed"] == wanted
    assert casts["logits"] == FLOAT
    assert [name for name, to in casts.items() if to == FLOAT] == ["logits"]
    places = {name: index for index, node in enumerate(result.graph.node) for name in node.output}
    for index, node in enumerate(result.graph.node):  # sorted, as ONNX wants it
        assert all(places.get(name, -1) < index for name in node.input)


@pytest.mark.parametrize("present", [[True, True], [True, False], [False, True]])
def test_in_fp16_the_labels_are_nearly_the_same(model: Any, present: list[bool]) -> None:
    size = np.array(SIZE)
    (labels, confidence), (exact, exact_confidence) = (
        run(each, present, size=size) for each in (typed(model, "fp16"), model)
    )
    assert len(np.unique(exact)) > 1
    assert (labels == exact).mean() > 0.98
    assert np.abs(confidence.astype(int) - exact_confidence).max() <= 4


def test_typing_leaves_the_graph_that_it_got_alone(model: Any) -> None:
    former = model.SerializeToString(deterministic=True)
    typed(model, "fp16")
    with_casts_last(model)
    with_size(model, SIZE)
    assert model.SerializeToString(deterministic=True) == former


def test_one_size_alone_is_an_input_less(model: Any) -> None:
    fixed = with_size(typed(model, "fp16"), SIZE)
    assert [each.name for each in fixed.graph.input] == ["images", "present"]
    for output in fixed.graph.output:
        assert [side.dim_value for side in output.type.tensor_type.shape.dim] == list(SIZE)
    for ours, theirs in zip(run(fixed), run(typed(model, "fp16"), size=np.array(SIZE)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_weight_that_fp16_cannot_hold_is_named(model: Any) -> None:
    large = onnx.ModelProto.FromString(model.SerializeToString())
    weight = next(each for each in large.graph.initializer if each.data_type == FLOAT and len(each.dims) == 4)
    weight.CopyFrom(onnx.numpy_helper.from_array(np.full(weight.dims, 1e5, np.float32), weight.name))
    with pytest.raises(EngineError, match=rf"'{weight.name}' reaches 1e\+05, and fp16 ends at 65504: take bf16"):
        typed(large, "fp16")
    typed(large, "bf16")


def test_a_graph_of_another_kind_is_refused() -> None:
    graph = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[1] a) => (float[1] b) {b = Relu(a)}'
    )
    with pytest.raises(EngineError, match="computes no 'logits': export it again"):
        typed(graph, "fp16")
    graph.graph.node.add(op_type="Abs", input=["b"], output=["c"])
    graph.graph.output[0].name = "c"
    with pytest.raises(EngineError, match="'c' is not the reshape of a cast: export the graph"):
        with_casts_last(graph)


def test_a_constant_inside_of_a_node_and_a_cast_are_typed_too() -> None:
    graph = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[2] images, bool[2] present) => (float[2] logits) {'
        " two = Constant <value = float[1] {2.0}> ()\n there = Cast <to = 1> (present)\n"
        " double = Mul(images, two)\n logits = Mul(double, there)}"
    )
    session = onnxruntime.InferenceSession(typed(graph, "fp16").SerializeToString())
    feeds = {"images": np.array([1.5, 3.0], np.float32), "present": np.array([True, False])}
    np.testing.assert_array_equal(session.run(None, feeds)[0], np.array([3.0, 0.0], np.float32))


@given(arrays(np.float32, 8, elements=st.floats(-(2.0**120), 2.0**120, width=32)))
def test_bfloat16_is_rounded_to_the_nearest(values: np.ndarray) -> None:
    result = _converted(onnx.numpy_helper.from_array(values, "weight"), BFLOAT16)
    rounded = (np.frombuffer(result.raw_data, np.uint16).astype(np.uint32) << 16).view(np.float32)
    half_a_step = np.maximum(np.abs(values.astype(np.float64)) * 2.0**-8, 2.0**-134)
    assert (np.abs(rounded.astype(np.float64) - values) <= half_a_step).all()
    again = _converted(onnx.numpy_helper.from_array(rounded, "weight"), BFLOAT16)
    assert again.raw_data == result.raw_data
    assert (result.name, list(result.dims), result.data_type) == ("weight", [8], BFLOAT16)


def test_a_tie_of_bfloat16_goes_to_the_even() -> None:
    values = np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8], np.float32)
    result = _converted(onnx.numpy_helper.from_array(values, "weight"), BFLOAT16)
    rounded = (np.frombuffer(result.raw_data, np.uint16).astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(rounded, np.array([1, 1 + 2.0**-6], np.float32))
