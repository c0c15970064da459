"""A bundle's graph with convolutions in int8, by post-training quantisation: one file for every engine.

QuantizeLinear and DequantizeLinear stand before every convolution, symmetric as TensorRT asks, with one scale for an
input and one per output channel for weights (weight and activation quantization of arXiv 1806.08342). Biases and
outputs stay float, and so does all else: the tail, norms, and attention, whose matrices are small. So do depthwise
convolutions: they have little to multiply, and OpenVINO 2026.4 computes those of an EfficientNet wrongly in int8.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3l_core.bundle import BundleDescription, ModelBundle
from m3l_core.engines.engine import check_input
from m3l_core.engines.onnx_typing import load_graph
from m3l_core.errors import EngineError, require
from m3l_core.frames import ModelInput
from m3l_core.metrics import subsets

if TYPE_CHECKING:
    from onnx import ModelProto

_QUANTIZED = ["Conv"]
_OPTIONS = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,  # TensorRT refuses an int32 bias
    # Int8 outputs cost up to 2 points of mIoU where one sensor is left.
    "OpTypesToExcludeOutputQuantization": _QUANTIZED,
}
_PREPARED = {"onnx.quant.pre_process": "onnxruntime.quant"}
"""Tells the quantizer that constants are folded; else it asks the user to do so."""


def quantize(
    bundle: ModelBundle, calibration: Iterable[ModelInput], runs_with: Sequence[tuple[str, ...]] | None = None
) -> bytes:
    """The bundle's model.onnx as a serialized model with int8 convolutions and its weights inside.

    Args:
        bundle: with model.onnx.
        calibration: real frames with every modality; the range of each activation is the widest that they give,
            over the subsets of the modalities.
        runs_with: the subsets that the network is given in use; None: all.

    Raises:
        MissingPackageError: onnx or onnxruntime is not installed.
        BundleError: the bundle has no graph.
        EngineError: there is no frame, or one is not of the bundle's modalities and size.
    """
    onnx = require("onnx", "train")
    quantization = require("onnxruntime.quantization", "onnxruntime")
    model = load_graph(bundle.graph())
    described = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, described | _PREPARED)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.int8.onnx"
        quantization.quantize_static(
            model,
            path,
            _Reader(bundle.description, calibration, runs_with or subsets(bundle.description.modality_names)),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=_QUANTIZED,
            nodes_to_exclude=_depthwise(model),
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options=_OPTIONS,
        )
        quantized: ModelProto = onnx.load(path)
    onnx.helper.set_model_props(quantized, described)
    content: bytes = quantized.SerializeToString(deterministic=True)
    return content


def _depthwise(model: ModelProto) -> list[str]:
    """Names of the convolutions that have a group for each channel."""
    shapes = {each.name: each.dims for each in model.graph.initializer}
    convolutions = (node for node in model.graph.node if node.op_type == "Conv")
    return [node.name for node in convolutions if shapes[node.input[1]][1] == 1 < shapes[node.input[1]][0]]


class _Reader:
    """Hands ONNX Runtime every frame with each of the subsets of the modalities."""

    def __init__(
        self, description: BundleDescription, frames: Iterable[ModelInput], runs_with: Sequence[tuple[str, ...]]
    ) -> None:
        self._feeds = self._feed(description, frames, runs_with)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)

    @staticmethod
    def _feed(
        description: BundleDescription, frames: Iterable[ModelInput], runs_with: Sequence[tuple[str, ...]]
    ) -> Iterator[dict[str, Any]]:
        names = description.modality_names
        frame = None
        for frame in frames:
            check_input(frame, description)
            for subset in runs_with:
                given = frame.with_only(subset, names)
                yield {
                    "images": given.images,
                    "present": given.present,
                    "size": np.array(description.input_size, np.int64),
                }
        if frame is None:
            raise EngineError("expected at least one frame to calibrate with, got none")
