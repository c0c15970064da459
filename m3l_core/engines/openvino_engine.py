"""The exported graph in OpenVINO: the fastest of these on a CPU, Intel's, AMD's or Arm's."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from m3l_core.bundle import ModelBundle
from m3l_core.engines.engine import check_graph, check_input, check_precision, graph_of
from m3l_core.errors import EngineError, require
from m3l_core.frames import ModelInput, Segmentation

_TYPES = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
"""Our name of a precision -> OpenVINO's."""


def load(bundle: ModelBundle, precision: str = "auto", num_threads: int = 0) -> OpenVinoEngine:
    """Load a bundle's graph; ``auto`` is OpenVINO's choice for this processor: bf16 or fp16 where it computes in them.

    Raises:
        MissingPackageError: openvino is not installed.
        EngineError: unknown precision, one that this processor does not compute in, or a graph that is refused, or of
            no such bundle.
        BundleError: the bundle has no such graph.
    """
    engine = OpenVinoEngine(bundle, precision, num_threads)
    check_graph(engine, bundle)
    return engine


class OpenVinoEngine:
    """Runs a bundle's graph in OpenVINO on the CPU."""

    name = "openvino"
    device = "CPU"

    def __init__(self, bundle: ModelBundle, precision: str = "auto", num_threads: int = 0) -> None:
        openvino = require("openvino", "openvino")
        check_precision(self.name, precision, (*_TYPES, "int8"))
        self._description = bundle.description
        graph = graph_of(bundle, precision)
        settings: dict[str, str | int] = {"PERFORMANCE_HINT": "LATENCY"}
        if num_threads > 0:
            settings["INFERENCE_NUM_THREADS"] = num_threads
        if precision in _TYPES:
            settings["INFERENCE_PRECISION_HINT"] = _TYPES[precision]
        core = _core()
        try:
            compiled = core.compile_model(core.read_model(str(graph)), self.device, settings)
        except RuntimeError as error:
            raise EngineError(f"openvino {openvino.__version__} cannot load {graph}: {error}") from error
        used = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if precision in _TYPES and used != _TYPES[precision]:
            raise EngineError(f"openvino computes in {used} on this processor, not in {precision}: take precision auto")
        self.precision = "int8" if precision == "int8" else next(ours for ours, its in _TYPES.items() if its == used)
        self._request = compiled.create_infer_request()

    def infer(self, model_input: ModelInput, size: tuple[int, int]) -> Segmentation:
        """Labels and confidence of (H, W) = ``size`` pixels.

        Raises:
            EngineError: the input is not of the bundle's modalities.
        """
        check_input(model_input, self._description)
        feeds = {"images": model_input.images, "present": model_input.present, "size": np.array(size, np.int64)}
        found = self._request.infer(feeds, share_inputs=True)
        return Segmentation(found["labels"], found["confidence"])


@cache
def _core() -> Any:
    """One for all engines of the process, never given back.

    Each core gives its thread a stack for signals (openvinotoolkit/openvino#11894), and cores that end in another order
    than they came leave it one that is gone: the next Ctrl-C in that thread ends the process with a segmentation fault.
    """
    return require("openvino", "openvino").Core()
