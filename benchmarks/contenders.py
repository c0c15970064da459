"""What ``benchmarks.engines`` compares: our engines, the published order of computation, and what else one would pick.

A contender is a function that loads it: (work folder, threads) -> function of a frame and a size that gives the labels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3l_core.bundle import ModelBundle, join_bundles, save_bundle
from m3l_core.datasets.model_inputs import read_model_inputs
from m3l_core.engines.engine import load_engine
from m3l_core.engines.onnx_export import export_onnx
from m3l_core.errors import require
from m3l_core.frames import ModelInput
from m3l_core.metrics import subset_key
from m3l_core.shipped import shipped_bundle, shipped_recording

Size = tuple[int, int]
Labeller = Callable[[ModelInput, Size], NDArray[np.uint8]]


def prepare_bundles(work: Path, encoder: str | None, size: Size, label_size: Size) -> None:
    """Write ``work/bundle``, the shipped one or a random one of another encoder, and ``work/published``.

    The second is a Mix Transformer of random weights, which run as fast as trained ones: what the published code has.
    """
    shipped = ModelBundle.load(shipped_bundle())
    if encoder is None:
        parts = [_resized(network, work / f"part{number}", size) for number, network in enumerate(shipped.networks())]
        keys = [subset_key(part.description.modality_names) for part in parts[1:]]
        bundle = join_bundles(work / "bundle", parts[0], dict(zip(keys, parts[1:], strict=True)), "# Of a benchmark\n")
    else:
        bundle = _random(shipped, work / "bundle", encoder, size)
    transformer = encoder if encoder is not None and encoder.startswith("mit_") else "mit_b0"
    published = _random(shipped, work / "published", transformer, size)
    for each in (bundle, published):
        export_onnx(each, read_model_inputs(shipped_recording(), each.description, 1))
    _export_published(published, work / "published.onnx", label_size)


def _resized(bundle: ModelBundle, folder: Path, size: Size) -> ModelBundle:
    """The same network for another input."""
    changes: dict[str, Any] = {"input_height": size[0], "input_width": size[1], "graphs": {}, "graphs_of_weights": ""}
    return save_bundle(
        folder, bundle.description.model_copy(update=changes), bundle.read_weights(), "# Of a benchmark\n"
    )


def _random(like: ModelBundle, folder: Path, encoder: str, size: Size) -> ModelBundle:
    from m3l_core.model.network import LinearFusionSegFormer
    from m3l_core.trainer.export import weights_of

    network = like.description.network.model_copy(update={"encoder": encoder, "head": "streams", "head_width": 256})
    changes = {"name": encoder, "network": network, "miou": {}, "temperatures": {}, "subset_networks": {}}
    changes |= {"input_height": size[0], "input_width": size[1], "graphs": {}, "graphs_of_weights": ""}
    description = like.description.model_copy(update=changes)
    return save_bundle(folder, description, weights_of(LinearFusionSegFormer(network)), "# Of a benchmark\n")


def prepare_others(work: Path, label_size: Size) -> None:
    """Write ``work/segformer.onnx``: SegFormer b0 with random weights, color alone, for the same input and classes."""
    import torch
    import transformers

    description = ModelBundle.load(work / "bundle").description

    class SegFormer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            config = transformers.SegformerConfig(num_labels=len(description.labels))
            self.network = transformers.SegformerForSemanticSegmentation(config)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return _labels(self.network(images[:, 0]).logits, label_size)

    _export(SegFormer(), (torch.zeros(1, 2, 3, *description.input_size),), ["images"], work / "segformer.onnx")


def _export_published(bundle: ModelBundle, path: Path, label_size: Size) -> None:
    import torch

    from benchmarks.published_order import PublishedOrder
    from m3l_core.engines.torch_engine import load_network

    network = load_network(bundle)

    class Published(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.published = PublishedOrder(network)

        def forward(self, images: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
            return _labels(network.ensemble(self.published(images, present), present), label_size)

    inputs = (torch.zeros(1, 2, 3, *bundle.description.input_size), torch.ones(1, 2, dtype=torch.bool))
    _export(Published(), inputs, ["images", "present"], path)


def _labels(logits: Any, size: Size) -> Any:
    """As the published code ends: upsampled, then argmax."""
    import torch

    return torch.nn.functional.interpolate(logits, size, mode="bilinear", align_corners=True).argmax(dim=1)[0]


def _export(module: Any, inputs: tuple[Any, ...], names: list[str], path: Path) -> None:
    import torch

    program = torch.onnx.export(
        module.eval().requires_grad_(False),
        inputs,
        input_names=names,
        output_names=["labels"],
        opset_version=20,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.save(path)


def _published_in_torch(work: Path, threads: int) -> Labeller:
    import torch

    from benchmarks.published_order import PublishedOrder
    from m3l_core.engines.torch_engine import load_network
    from m3l_core.model.network import upsample

    torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = load_network(ModelBundle.load(work / "published")).requires_grad_(False).to(device)
    published = PublishedOrder(network)

    def label(frame: ModelInput, size: Size) -> NDArray[np.uint8]:
        with torch.inference_mode():
            images, present = (torch.from_numpy(array).to(device) for array in (frame.images, frame.present))
            logits = network.ensemble(published(images, present), present)
            labels: NDArray[np.uint8] = upsample(logits, size).argmax(dim=1)[0].to(torch.uint8).cpu().numpy()
            return labels

    return label


def _openvino(file: str, work: Path, threads: int) -> Labeller:
    """A graph that is not ours, in bf16."""
    openvino = require("openvino", "openvino")
    settings = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(str(work / file)), "CPU", settings)
    request = compiled.create_infer_request()
    names = [port.get_any_name() for port in compiled.inputs]

    def label(frame: ModelInput, size: Size) -> NDArray[np.uint8]:
        feeds = {name: getattr(frame, name) for name in names}
        labels: NDArray[np.uint8] = request.infer(feeds, share_inputs=True)["labels"].astype(np.uint8)
        return labels

    return label


def _ours(engine: str, precision: str, work: Path, threads: int, folder: str = "bundle") -> Labeller:
    loaded = load_engine(ModelBundle.load(work / folder), engine, precision, threads)
    return lambda frame, size: loaded.infer(frame, size).labels


def _alone(place: int, work: Path, threads: int) -> Labeller:
    """With one sensor left."""
    loaded = load_engine(ModelBundle.load(work / "bundle"), "openvino", "bf16", threads)

    def label(frame: ModelInput, size: Size) -> NDArray[np.uint8]:
        present = np.arange(frame.present.shape[1])[None] == place
        return loaded.infer(ModelInput(frame.images, present), size).labels

    return label


BASELINE = "MiT in the published order, torch fp32"
REFERENCE = "torch fp32"
ENGINES: dict[str, Callable[[Path, int], Labeller]] = {
    REFERENCE: partial(_ours, "torch", "fp32"),
    "torch bf16": partial(_ours, "torch", "bf16"),
    "torch_compiled bf16": partial(_ours, "torch_compiled", "bf16"),
    "onnxruntime fp32": partial(_ours, "onnxruntime", "fp32"),
    "openvino fp32": partial(_ours, "openvino", "fp32"),
    "openvino bf16": partial(_ours, "openvino", "bf16"),
}
"""The same network, whose labels can be compared."""
OTHERS: dict[str, Callable[[Path, int], Labeller]] = {
    BASELINE: _published_in_torch,
    "MiT in the published order, openvino bf16": partial(_openvino, "published.onnx"),
    "MiT, openvino bf16": partial(_ours, "openvino", "bf16", folder="published"),
    "color alone, openvino bf16": partial(_alone, 0),
    "depth alone, openvino bf16": partial(_alone, 1),
}
SEGFORMER: dict[str, Callable[[Path, int], Labeller]] = {
    "SegFormer b0, color alone, openvino bf16": partial(_openvino, "segformer.onnx"),
}
CONTENDERS = OTHERS | ENGINES | SEGFORMER
