"""A tiny segmentation network as an ONNX file, written without torch or onnx: its protobuf messages are few.

Field numbers are those of onnx.proto3 (ONNX 1.12, opset 17).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_FLOAT, _UINT8, _INT64, _BOOL = 1, 2, 7, 9
_TYPES = {np.dtype(np.float32): _FLOAT, np.dtype(np.int64): _INT64}


def tiny_graph(num_modalities: int, num_classes: int, height: int, width: int, seed: int = 0) -> bytes:
    """A convolution of one pixel over the modalities that are present; inputs and outputs as of an exported bundle."""
    random = np.random.default_rng(seed)
    channels = 3 * num_modalities
    constants = {
        "weight": random.normal(size=(num_classes, channels, 1, 1)).astype(np.float32),
        "bias": random.normal(size=num_classes).astype(np.float32),
        "per_modality": np.array([1, num_modalities, 1, 1, 1]),
        "stacked": np.array([1, channels, height, width]),
        "before_size": np.array([1, num_classes]),
        "first": np.array([0]),
        "most": np.array(255.0, np.float32),
    }
    nodes = [
        _node("Cast", "present", "flag", to=_FLOAT),
        _node("Reshape", "flag per_modality", "flags"),
        _node("Mul", "images flags", "shown"),
        _node("Reshape", "shown stacked", "input"),
        _node("Conv", "input weight bias", "small_logits"),
        _node("Concat", "before_size size", "full_shape", axis=0),
        _node("Resize", ["small_logits", "", "", "full_shape"], "logits", mode="linear"),
        _node("Softmax", "logits", "probabilities", axis=1),
        _node("ArgMax", "probabilities", "winners", axis=1, keepdims=0),
        _node("Squeeze", "winners first", "winner"),
        _node("Cast", "winner", "labels", to=_UINT8),
        _node("ReduceMax", "probabilities", "best", axes=[1], keepdims=0),
        _node("Squeeze", "best first", "sure"),
        _node("Mul", "sure most", "scaled"),
        _node("Round", "scaled", "rounded"),
        _node("Cast", "rounded", "confidence", to=_UINT8),
    ]
    inputs = [
        _value("images", _FLOAT, [1, num_modalities, 3, height, width]),
        _value("present", _BOOL, [1, num_modalities]),
        _value("size", _INT64, [2]),
    ]
    outputs = [_value(name, _UINT8, ["height", "width"]) for name in ("labels", "confidence")]
    graph = b"".join(
        [
            *(_bytes(1, node) for node in nodes),
            _bytes(2, b"tiny"),
            *(_bytes(5, _tensor(name, constant)) for name, constant in constants.items()),
            *(_bytes(11, value) for value in inputs),
            *(_bytes(12, value) for value in outputs),
        ]
    )
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, _bytes(1, b"") + _number(2, 17))


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _node(operator: str, inputs: str | Sequence[str], output: str, **attributes: Any) -> bytes:
    names = inputs.split() if isinstance(inputs, str) else inputs
    parts = [*(_bytes(1, name.encode()) for name in names), _bytes(2, output.encode()), _bytes(4, operator.encode())]
    for name, value in attributes.items():
        parts.append(_bytes(5, _bytes(1, name.encode()) + _attribute(value)))
    return b"".join(parts)


def _attribute(value: int | str | list[int]) -> bytes:
    if isinstance(value, int):
        return _number(3, value) + _number(20, 2)
    if isinstance(value, str):
        return _bytes(4, value.encode()) + _number(20, 3)
    return b"".join(_number(8, each) for each in value) + _number(20, 7)


def _tensor(name: str, array: np.ndarray[Any, Any]) -> bytes:
    sizes = b"".join(_number(1, size) for size in array.shape)
    return sizes + _number(2, _TYPES[array.dtype]) + _bytes(8, name.encode()) + _bytes(9, array.tobytes())


def _value(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    sizes = [_number(1, size) if isinstance(size, int) else _bytes(2, size.encode()) for size in shape]
    tensor = _number(1, kind) + _bytes(2, b"".join(_bytes(1, size) for size in sizes))
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, tensor))
