"""The exported graph in ONNX Runtime: on the CPU, or on an NVIDIA GPU where the installed build reaches one."""

from __future__ import annotations

from typing import Any

import numpy as np

from m3l_core.bundle import ModelBundle
from m3l_core.engines.engine import check_graph, check_input, check_precision, graph_of
from m3l_core.errors import EngineError, require
from m3l_core.files import cache_folder
from m3l_core.frames import ModelInput, Segmentation

PRECISIONS = ("fp32", "fp16", "int8")
_CPU, _CUDA, _TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


def load(bundle: ModelBundle, precision: str = "auto", num_threads: int = 0) -> OnnxRuntimeEngine:
    """Load a bundle's graph; ``auto`` is fp16 where TensorRT's provider is there, else fp32.

    Raises:
        MissingPackageError: onnxruntime is not installed.
        EngineError: unknown precision, ONNX Runtime refuses the graph, or it is no graph of such a bundle.
        BundleError: the bundle has no such graph.
    """
    engine = OnnxRuntimeEngine(bundle, precision, num_threads)
    check_graph(engine, bundle)
    return engine


class OnnxRuntimeEngine:
    """Runs a bundle's graph in ONNX Runtime."""

    name = "onnxruntime"

    def __init__(self, bundle: ModelBundle, precision: str = "auto", num_threads: int = 0) -> None:
        runtime = require("onnxruntime", "onnxruntime")
        check_precision(self.name, precision, PRECISIONS)
        available = runtime.get_available_providers()
        if precision == "auto":
            precision = "fp16" if _TENSORRT in available else "fp32"
        if precision == "fp16" and _TENSORRT not in available:
            raise EngineError(
                f"onnxruntime computes in fp16 with its {_TENSORRT} alone, and this build has {', '.join(available)}: "
                "install onnxruntime-gpu, or take precision fp32"
            )
        self.precision = precision
        self._description = bundle.description
        options = runtime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.log_severity_level = 3
        graph = graph_of(bundle, precision)
        providers = [provider for provider in _providers(precision) if _name(provider) in available]
        try:
            self._session = runtime.InferenceSession(str(graph), options, providers)
        except Exception as error:  # of a class for each kind of failure, in a private module
            raise EngineError(f"onnxruntime {runtime.__version__} cannot load {graph}: {error}") from error
        self.device = self._session.get_providers()[0].removesuffix("ExecutionProvider")

    def infer(self, model_input: ModelInput, size: tuple[int, int]) -> Segmentation:
        """Labels and confidence of (H, W) = ``size`` pixels.

        Raises:
            EngineError: the input is not of the bundle's modalities.
        """
        check_input(model_input, self._description)
        feeds = {"images": model_input.images, "present": model_input.present, "size": np.array(size, np.int64)}
        return Segmentation(*self._session.run(("labels", "confidence"), feeds))


def _providers(precision: str) -> list[str | tuple[str, dict[str, Any]]]:
    """What to run a precision on, the fastest first."""
    if precision == "int8":
        return [_CPU]
    if precision == "fp32":
        return [_CUDA, _CPU]
    cached = {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(cache_folder() / "onnxruntime")}
    return [(_TENSORRT, {"trt_fp16_enable": True, **cached}), _CUDA, _CPU]


def _name(provider: str | tuple[str, dict[str, Any]]) -> str:
    return provider if isinstance(provider, str) else provider[0]
