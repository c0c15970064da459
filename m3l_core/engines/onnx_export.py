"""A bundle's network as one ONNX graph that every engine without torch runs.

Inputs: ``images`` (1, M, 3, H, W) float32 and ``present`` (1, M) bool, as in ``ModelInput``, and ``size`` (2,) int64,
the height and width to label. Outputs: ``labels`` and ``confidence``, (height, width) uint8. One graph serves every
subset of the sensors.

The weights stay where they are: the graph refers to the float16 values in ``weights.safetensors`` beside it, as
external data, and casts them to float32, which every engine does once, when it loads the graph.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from m3l_core.bundle import WEIGHTS_FILE, BundleDescription, ModelBundle
from m3l_core.engines.engine import Engine
from m3l_core.engines.torch_engine import load, load_network
from m3l_core.errors import EngineError, require
from m3l_core.frames import ModelInput
from m3l_core.metrics import subset_key, subsets

if TYPE_CHECKING:
    import onnx

logger = logging.getLogger(__name__)

OPSET = 20
"""The first in which GELU is one operator; TensorRT 10.3 reads no later one."""

LEAST_AGREEMENT = 0.9999
_TALKERS = ("onnx_ir", "onnxscript", "torch.onnx", "py.warnings")
"""Loggers; the last is that of warnings."""

_TAIL = """
<ir_version: 10, opset_import: ["" : {opset}]>
tail (float[1, {classes}, h, w] tail_logits, int64[2] size)
    => (uint8[height, width] labels, uint8[height, width] confidence)
<int64[1] one = {{1}}, int64[1] classes = {{{classes}}}, int64[1] class_axis = {{1}}, float most = {{255.0}}> {{
    logits_size = Concat<axis = 0>(one, classes, size)
    logits_at_size = Resize<mode = "linear", coordinate_transformation_mode = "align_corners">
        (tail_logits, , , logits_size)
    winner = ArgMax<axis = 1, keepdims = 0>(logits_at_size)
    winner_uint8 = Cast<to = 2>(winner)
    labels = Reshape(winner_uint8, size)
    probability = Softmax<axis = 1>(tail_logits)
    highest = ReduceMax(probability, class_axis)
    scaled = Mul(highest, most)
    height_to_be, width_to_be = Split<axis = 0, num_outputs = 2>(size)
    grid_width = Shape<start = 3, end = 4>(tail_logits)
    as_channels = Transpose<perm = [0, 3, 2, 1]>(scaled)
    size_of_columns = Concat<axis = 0>(one, grid_width, height_to_be, one)
    columns = Resize<mode = "linear", coordinate_transformation_mode = "align_corners">
        (as_channels, , , size_of_columns)
    rows_as_channels = Transpose<perm = [0, 2, 3, 1]>(columns)
    size_of_rows = Concat<axis = 0>(one, height_to_be, one, width_to_be)
    confidence_at_size = Resize<mode = "linear", coordinate_transformation_mode = "align_corners">
        (rows_as_channels, , , size_of_rows)
    rounded = Round(confidence_at_size)
    confidence_uint8 = Cast<to = 2>(rounded)
    confidence = Reshape(confidence_uint8, size)
}}
"""
"""What makes labels and confidence of the logits.

The confidence is brought to its size axis by axis, the other axis being its channels: OpenVINO works on 16 channels at
a time, so that the only channel of a map costs as much as all classes do.
"""


def export_onnx(bundle: ModelBundle, frames: Sequence[ModelInput]) -> ModelBundle:
    """Write the graph into a bundle, once ONNX Runtime labels with it what torch labels; and those of its subsets.

    Args:
        frames: real ones with every modality; each is compared with every subset of the modalities.

    Raises:
        MissingPackageError: a package of the extra ``train`` is not installed.
        BundleError: the weights are not those of the network.
        EngineError: fewer than 99.99 % of the pixels agree; the bundle is left as it was.
    """
    for package in ("torch", "onnx", "onnxscript", "onnxruntime"):
        require(package, "train")
    model = _graph(bundle)
    _refer_to_weights(model, bundle.folder / WEIGHTS_FILE)
    content: bytes = model.SerializeToString(deterministic=True)
    with bundle.with_trial_graph(content) as trial:
        _compare(trial, frames)
    for subset in bundle.subset_bundles().values():
        export_onnx(subset, [frame.of_streams(bundle.streams_of(subset)) for frame in frames])
    return bundle.add_graph(content)


@contextmanager
def exporter_log(file: Path) -> Iterator[None]:
    """What torch's exporter and its optimizer say of their passes, hundreds of lines, goes to ``file`` in this block.

    Raises:
        OSError: the file cannot be written.
    """
    handler = logging.FileHandler(file, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    talkers = [logging.getLogger(name) for name in _TALKERS]
    logging.captureWarnings(True)
    for talker in talkers:
        talker.addHandler(handler)
        talker.propagate = False
    try:
        yield
    finally:
        for talker in talkers:
            talker.removeHandler(handler)
            talker.propagate = True
        logging.captureWarnings(False)
        handler.close()


def _graph(bundle: ModelBundle) -> onnx.ModelProto:
    """The whole graph with its weights inside."""
    import onnx
    import torch
    from onnx import compose, parser
    from onnxscript import optimizer

    from m3l_core.model.calibration import calibrated, temperature_table

    description = bundle.description
    network = load_network(bundle).requires_grad_(False)
    temperatures = temperature_table(description.temperatures, description.modality_names)

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
            return calibrated(network.ensemble(network(images, present), present), present, temperatures)

    modalities = len(description.modalities)
    program = torch.onnx.export(
        Logits().eval(),
        (torch.zeros(1, modalities, 3, *description.input_size), torch.ones(1, modalities, dtype=torch.bool)),
        input_names=["images", "present"],
        output_names=["logits"],
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    # Without limits: the maps that the head folds out of its weights are larger than those of the exporter.
    optimizer.optimize_ir(program.model, input_size_limit=2**31, output_size_limit=2**31)
    body = program.model_proto
    tail = parser.parse_model(_TAIL.format(opset=OPSET, classes=len(description.labels)))
    body.ir_version = tail.ir_version
    model: onnx.ModelProto = compose.merge_models(body, tail, io_map=[("logits", "tail_logits")])
    del model.opset_import[1:]  # of the tail: the same again
    onnx.helper.set_model_props(model, _metadata(description))
    for node in model.graph.node:  # where in the source it comes from: more than all the rest
        del node.metadata_props[:]
        node.doc_string = ""
    return model


def _metadata(description: BundleDescription) -> dict[str, str]:
    """For whoever meets the file alone."""
    return {
        "name": description.name,
        "weights_sha256": description.weights_sha256,
        "classes": json.dumps(description.labels.names),
        "modalities": json.dumps([modality.model_dump(mode="json") for modality in description.modalities]),
    }


def _refer_to_weights(model: onnx.ModelProto, weights: Path) -> None:
    """Replace each float32 initializer that the weights file holds, in whatever shape, by a reference and a cast."""
    from onnx import TensorProto, helper, numpy_helper

    places = _places(weights)
    graph = model.graph
    casts = []
    for initializer in list(graph.initializer):
        if initializer.data_type != TensorProto.FLOAT:
            continue
        half = numpy_helper.to_array(initializer).astype(np.float16)
        place = places.get(_digest(half.tobytes()))
        if place is None:
            continue
        reference = TensorProto(name=f"{initializer.name}_float16", dims=initializer.dims)
        reference.data_type = TensorProto.FLOAT16
        reference.data_location = TensorProto.EXTERNAL
        for key, value in {"location": weights.name, "offset": str(place[0]), "length": str(place[1])}.items():
            reference.external_data.add(key=key, value=value)
        casts.append(helper.make_node("Cast", [reference.name], [initializer.name], to=TensorProto.FLOAT))
        graph.initializer.remove(initializer)
        graph.initializer.append(reference)
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _places(weights: Path) -> dict[str, tuple[int, int]]:
    """Digest of each float16 tensor in a safetensors file -> offset and length of its bytes in that file."""
    content = weights.read_bytes()
    header_length = int.from_bytes(content[:8], "little")
    begin = 8 + header_length
    places = {}
    for name, entry in json.loads(content[8:begin]).items():
        if name != "__metadata__" and entry["dtype"] == "F16":
            first, last = (begin + offset for offset in entry["data_offsets"])
            places[_digest(content[first:last])] = (first, last - first)
    return places


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _compare(exported: ModelBundle, frames: Sequence[ModelInput]) -> None:
    from m3l_core.engines.onnx_runtime_engine import OnnxRuntimeEngine

    reference, engine = load(exported, "fp32", device="cpu"), OnnxRuntimeEngine(exported, "fp32")
    names = exported.description.modality_names
    for subset in subsets(names):
        agreement = min(_agreement(reference, engine, frame.with_only(subset, names)) for frame in frames)
        logger.info("%s: %.3f %% of the pixels as in torch", subset_key(subset), 100 * agreement)
        if agreement < LEAST_AGREEMENT:
            raise EngineError(
                f"with {subset_key(subset)} the exported graph labels {agreement:.4%} of the pixels as torch does, "
                f"expected {LEAST_AGREEMENT:.2%}. Nothing was written; another version of torch or onnxscript may help"
            )


def _agreement(reference: Engine, engine: Engine, frame: ModelInput) -> float:
    """Share of the pixels that both label alike, at twice the input's size, as cameras have it."""
    height, width = (2 * side for side in frame.images.shape[-2:])
    ours, theirs = (one.infer(frame, (height, width)).labels for one in (engine, reference))
    return float((ours == theirs).mean())
