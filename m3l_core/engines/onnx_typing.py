"""The exported graph as TensorRT reads it: weights inside, and typed, since TensorRT 11 has no precision flags."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from m3l_core.errors import EngineError, require

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

LOGITS = "logits"
"""What the body of the graph ends with; its tail makes labels of them, and stays float32."""

TYPED = ("fp16", "bf16")
"""The precisions that a body can be typed for."""


def load_graph(path: Path) -> ModelProto:
    """Read an exported graph; its float16 weights become float32 constants.

    Raises:
        MissingPackageError: onnx is not installed.
    """
    onnx = require("onnx", "tensorrt")
    model: ModelProto = onnx.load(str(path))
    graph = model.graph
    halves = {each.name: each for each in graph.initializer if each.data_type == onnx.TensorProto.FLOAT16}
    nodes = []
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in halves:
            values = onnx.numpy_helper.to_array(halves[node.input[0]]).astype(np.float32)
            graph.initializer.append(onnx.numpy_helper.from_array(values, node.output[0]))
        else:
            nodes.append(node)
    read = {name for node in nodes for name in node.input}
    for name in halves.keys() - read:
        graph.initializer.remove(halves[name])
    _replace_nodes(graph, nodes)
    return model


def with_casts_last(model: ModelProto) -> ModelProto:
    """A copy that makes its uint8 of float32, as the very last: TensorRT 10.3 knows no other use of uint8."""
    onnx = require("onnx", "tensorrt")
    result: ModelProto = onnx.ModelProto.FromString(model.SerializeToString())
    graph = result.graph
    producers = {output: node for node in graph.node for output in node.output}
    last = []
    for output in graph.output:
        name = output.name
        reshape = producers[name]
        cast = producers[reshape.input[0]]
        if (cast.op_type, reshape.op_type) != ("Cast", "Reshape"):
            raise EngineError(f"'{name}' is not the reshape of a cast: export the graph with training/export_onnx.py")
        graph.node.remove(cast)
        reshape.input[0], reshape.output[0] = cast.input[0], f"{name}_reshaped"
        to_float = onnx.helper.make_node("Cast", [f"{name}_reshaped"], [f"{name}_float"], to=onnx.TensorProto.FLOAT)
        cast.input[0], cast.output[0] = f"{name}_float", name
        last += [to_float, cast]
    graph.node.extend(last)
    return result


def typed(model: ModelProto, precision: str) -> ModelProto:
    """A copy whose body computes in a precision of ``TYPED``: every float32 tensor between ``images`` and the logits.

    Raises:
        EngineError: the graph has no logits, or a weight is too large for fp16.
    """
    onnx = require("onnx", "tensorrt")
    data_type = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}[precision]
    result: ModelProto = onnx.ModelProto.FromString(model.SerializeToString())
    graph = result.graph
    body = _ancestors(graph, LOGITS)
    constants = [each for each in graph.initializer if any(each.name in node.input for node in body)]
    for node in body:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                constants.append(attribute.t)
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT:
                attribute.i = data_type
        node.input[:] = ["images_typed" if name == "images" else name for name in node.input]
        node.output[:] = ["logits_typed" if name == LOGITS else name for name in node.output]
    for constant in constants:
        if constant.data_type == onnx.TensorProto.FLOAT:
            constant.CopyFrom(_converted(constant, data_type))
    del graph.value_info[:]  # says float32 of everything
    first = onnx.helper.make_node("Cast", ["images"], ["images_typed"], to=data_type)
    last = onnx.helper.make_node("Cast", ["logits_typed"], [LOGITS], to=onnx.TensorProto.FLOAT)
    nodes = [first]
    for node in graph.node:
        nodes += [node, last] if "logits_typed" in node.output else [node]
    _replace_nodes(graph, nodes)
    return result


def with_size(model: ModelProto, size: tuple[int, int]) -> ModelProto:
    """A copy that labels (H, W) = ``size`` pixels alone: its input ``size`` becomes a constant."""
    onnx = require("onnx", "tensorrt")
    result: ModelProto = onnx.ModelProto.FromString(model.SerializeToString())
    graph = result.graph
    graph.input.remove(next(each for each in graph.input if each.name == "size"))
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(size, np.int64), "size"))
    for output in graph.output:
        for dimension, pixels in zip(output.type.tensor_type.shape.dim, size, strict=True):
            dimension.dim_value = pixels
    return result


def _ancestors(graph: GraphProto, name: str) -> list[NodeProto]:
    """Every node that a tensor is computed from."""
    producers = {output: node for node in graph.node for output in node.output}
    if name not in producers:
        raise EngineError(f"the graph computes no '{name}': export it again with training/export_onnx.py")
    found: dict[str, NodeProto] = {}
    names = [name]
    while names:
        node = producers.get(names.pop())
        if node is not None and node.output[0] not in found:
            found[node.output[0]] = node
            names.extend(node.input)
    return list(found.values())


def _converted(tensor: TensorProto, data_type: int) -> TensorProto:
    onnx = require("onnx", "tensorrt")
    values = np.asarray(onnx.numpy_helper.to_array(tensor), np.float32)
    if data_type == onnx.TensorProto.FLOAT16:
        with np.errstate(over="ignore"):
            content = values.astype(np.float16)
        if (np.isinf(content) & ~np.isinf(values)).any():
            raise EngineError(
                f"'{tensor.name}' reaches {np.abs(values).max():.3g}, and fp16 ends at 65504: take bf16 or fp32"
            )
    else:
        bits = values.view(np.uint32)
        # A bfloat16 is the upper half of a float32, rounded to the nearest, ties to even.
        content = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    result: TensorProto = onnx.TensorProto(
        name=tensor.name, dims=tensor.dims, data_type=data_type, raw_data=content.tobytes()
    )
    return result


def _replace_nodes(graph: GraphProto, nodes: list[NodeProto]) -> None:
    del graph.node[:]
    graph.node.extend(nodes)
