"""What runs a network, and which of them this machine has."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Protocol

import numpy as np

from m3l_core.bundle import BundleDescription, GraphFile, ModelBundle
from m3l_core.engines.subset_engine import SubsetEngine
from m3l_core.errors import EngineError
from m3l_core.frames import ModelInput, Segmentation
from m3l_core.labels import IGNORE

logger = logging.getLogger(__name__)


class Engine(Protocol):
    """Runs one bundle. Owned by one thread."""

    name: str
    precision: str
    device: str
    """Where it computes, such as ``CPU`` or the name of a GPU."""

    def infer(self, model_input: ModelInput, size: tuple[int, int]) -> Segmentation:
        """Labels and confidence of (H, W) = ``size`` pixels."""
        ...


EngineLoader = Callable[[ModelBundle, str, int], Engine]

ENGINES: dict[str, str] = {
    "tensorrt": "m3l_core.engines.tensorrt_engine:load",
    "openvino": "m3l_core.engines.openvino_engine:load",
    "onnxruntime": "m3l_core.engines.onnx_runtime_engine:load",
    "torch": "m3l_core.engines.torch_engine:load",
    "torch_compiled": "m3l_core.engines.torch_engine:load_compiled",
}
"""Engine -> its ``EngineLoader``, imported when it is asked for."""

AUTO = ("tensorrt", "openvino", "onnxruntime", "torch")
"""What ``auto`` tries: all that start within seconds."""

PRECISIONS = ("fp32", "bf16", "fp16", "int8")
"""Of all engines together."""
_TRIAL_SIZE = (37, 53)
"""(H, W) of labels: the sides of no network's input."""


def load_engine(bundle: ModelBundle, name: str = "auto", precision: str = "auto", num_threads: int = 0) -> Engine:
    """Load an engine for a bundle.

    Args:
        bundle: the model.
        name: one of ``ENGINES``, or ``auto``: the one that is fastest here and now. It is logged, and on the level of
            debugging what it was compared with.
        precision: one of ``PRECISIONS``, or ``auto``: the engine's fastest that loses nothing to speak of, so not int8.
        num_threads: CPU threads; 0 = the library's choice.

    Raises:
        EngineError: no such engine or precision, or none can be loaded; says why for each.
        MissingPackageError: the engine's package is not installed.
        BundleError: the bundle lacks what the engine needs, or its weights are not those of its network.
    """
    if name != "auto":
        return _load_with_subsets(bundle, name, precision, num_threads)
    failures: list[str] = []
    loaded: list[tuple[float, Engine]] = []
    for candidate in AUTO:
        try:
            engine = _load_with_subsets(bundle, candidate, precision, num_threads)
            seconds = seconds_per_frame(engine, bundle.description)
        except Exception as error:  # whatever one candidate raises, the others may work
            failures.append(f"{candidate}: {error}")
            logger.debug("engine auto: not %s", _short(failures[-1]))
        else:
            loaded.append((seconds, engine))
            logger.debug("engine auto: %s %s %.1f ms", engine.name, engine.precision, seconds * 1e3)
    if not loaded:
        raise EngineError("no engine can be loaded. " + "; ".join(failures))
    seconds, engine = min(loaded, key=lambda entry: entry[0])
    logger.info("engine auto: %s %s, %.1f ms a frame", engine.name, engine.precision, seconds * 1e3)
    return engine


def _load_with_subsets(bundle: ModelBundle, name: str, precision: str, num_threads: int) -> Engine:
    """The engine of a bundle's network, with those of its subset networks at the same precision."""
    load = _loader(name)
    full = load(bundle, precision, num_threads)
    of_subsets = {
        bundle.streams_of(subset): load(subset, full.precision, num_threads)
        for subset in bundle.subset_bundles().values()
    }
    return SubsetEngine(full, of_subsets) if of_subsets else full


def seconds_per_frame(engine: Engine, description: BundleDescription, runs: int = 5) -> float:
    """The least of ``runs`` frames of the bundle's input size, after one that allocates: what else runs only adds."""
    return min(latencies(engine, [_nothing(description)], description.input_size, 1, runs))


def latencies(
    engine: Engine, frames: Sequence[ModelInput], size: tuple[int, int], warm_up: int, runs: int
) -> list[float]:
    """Seconds of each of ``runs`` inferences after ``warm_up`` that do not count."""
    seconds = []
    for index in range(warm_up + runs):
        started = time.perf_counter()
        engine.infer(frames[index % len(frames)], size)
        seconds.append(time.perf_counter() - started)
    return seconds[warm_up:]


def check_input(model_input: ModelInput, description: BundleDescription) -> None:
    """What every engine asks of its input.

    Raises:
        EngineError: the images are not of the bundle's modalities and size.
    """
    expected = (1, len(description.modalities), 3, *description.input_size)
    if model_input.images.shape != expected:
        raise EngineError(f"expected images of shape {expected}, got {model_input.images.shape}")


def check_graph(engine: Engine, bundle: ModelBundle) -> None:
    """Run an engine once: a graph from a stranger may take or give something else.

    Raises:
        EngineError: it is no graph of such a bundle.
    """
    known = len(bundle.description.labels)
    try:
        found = engine.infer(_nothing(bundle.description), _TRIAL_SIZE)
        sound = (
            all(image.shape == _TRIAL_SIZE and image.dtype == np.uint8 for image in (found.labels, found.confidence))
            and ((found.labels < known) | (found.labels == IGNORE)).all()
        )
        why = f"it should give labels and confidence of any size, uint8 with ids below {known}"
    except Exception as error:  # of a class for each kind of failure
        sound, why = False, _short(str(error))
    if not sound:
        raise EngineError(f"{engine.name} cannot use the graph of {bundle.folder}: {why}. Export it again")


def _nothing(description: BundleDescription) -> ModelInput:
    """An input as a frame gives it, of zeros."""
    shape = (1, len(description.modalities))
    return ModelInput(np.zeros((*shape, 3, *description.input_size), np.float32), np.ones(shape, np.bool_))


def check_precision(engine: str, precision: str, known: Sequence[str]) -> None:
    """Refuse a precision that an engine does not know.

    Raises:
        EngineError: it is neither ``auto`` nor one of ``known``.
    """
    if precision not in ("auto", *known):
        raise EngineError(f"the {engine} engine has no precision '{precision}', expected auto, {', '.join(known)}")


def graph_of(bundle: ModelBundle, precision: str) -> Path:
    """The bundle's ONNX file for a precision.

    Raises:
        BundleError: the bundle has none, or not the one that was exported.
    """
    return bundle.graph(graph_file(precision))


def graph_file(precision: str) -> GraphFile:
    """Name of the ONNX file that a bundle has for a precision."""
    return "model.int8.onnx" if precision == "int8" else "model.onnx"


def _short(text: str) -> str:
    """One line of it, with room for a path and what to do about it."""
    return shorten(text, 300, placeholder="...")


def _loader(name: str) -> EngineLoader:
    if name not in ENGINES:
        raise EngineError(f"unknown engine '{name}', expected auto or one of {', '.join(ENGINES)}")
    module, function = ENGINES[name].split(":")
    loader: EngineLoader = getattr(importlib.import_module(module), function)
    return loader
