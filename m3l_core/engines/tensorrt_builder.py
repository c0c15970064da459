"""An ONNX graph to a serialized TensorRT engine, by TensorRT 10.3 to 11: explicit batch, strongly typed.

Every function takes TensorRT's Python module: ``tensorrt``, or one of the same interface.
"""

from __future__ import annotations

import json
import re
import resource
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from m3l_core.engines.label_sizes import LabelSizes
from m3l_core.errors import EngineError
from m3l_core.files import replacing_file

_SECONDS_PER_LINE = 4.0
_MEMORY = re.compile(r"out ?of ?memory|insufficient.*workspace|could not be allocated|bad_alloc", re.IGNORECASE)
_TYPES = {
    "int8": "Int8",
    "fp8": "FP8",
    "bf16": "BF16|BFloat16",
    "fp16": "FP16|Half",
    "fp32": "FP32|Float",
    "integers": "Int32|Int64|UInt8|Bool",
}
"""Our name of a precision -> how TensorRT's versions write it; the narrowest first."""


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What an engine is asked to be."""

    label_sizes: LabelSizes
    workspace_bytes: int | None = None
    """What a layer may use while it is tried and run; None = all that the GPU has."""
    version_compatible: bool = False
    """Also runs on later releases of the same major version of TensorRT."""
    hardware_compatible: bool = False
    """Also runs on other GPUs, from Ampere on; not on a Jetson."""


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """A serialized engine and what it took."""

    content: bytes
    seconds: float
    memory: tuple[str, ...]
    """Peaks, as TensorRT and the system name them."""


def build(trt: Any, graph: bytes, options: BuildOptions, timing_cache: Path, say: Callable[[str], None]) -> BuiltEngine:
    """Build an engine; ``say`` hears of the progress at least every 5 s.

    Ctrl-C ends the build at TensorRT's next step.

    Args:
        trt: TensorRT's module.
        graph: a serialized ONNX model with its weights inside, as ``onnx_typing`` prepares it.
        options: what to build.
        timing_cache: what former builds measured; written again, and no loss if it is damaged.
        say: called with lines for the user.

    Raises:
        EngineError: TensorRT refuses the graph or cannot build it; says what it said and what to do.
    """
    started = time.monotonic()
    logger, monitor = logger_of(trt), _make_monitor(trt)
    logger.forget()
    with ThreadPoolExecutor(max_workers=1) as executor:
        future = executor.submit(_build, trt, graph, options, timing_cache, logger, monitor)
        try:
            while wait([future], timeout=_SECONDS_PER_LINE).not_done:
                say(f"{time.monotonic() - started:5.0f} s: {monitor.current()}")
        except BaseException:
            monitor.stop = True
            raise
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return BuiltEngine(future.result(), time.monotonic() - started, (f"this process: {peak} MiB", *logger.memory))


def inspect(trt: Any, content: bytes) -> dict[str, int]:
    """How many layers of a serialized engine compute in which precision; needs the GPU.

    Raises:
        EngineError: TensorRT cannot load the engine that it built.
    """
    logger = logger_of(trt)
    logger.forget()
    runtime = trt.Runtime(logger)
    runtime.engine_host_code_allowed = True  # a version-compatible engine brings code, here just built
    engine = runtime.deserialize_cuda_engine(content)
    if engine is None:
        raise failure("TensorRT cannot load the engine that it built", logger.errors)
    inspector = engine.create_engine_inspector()
    return count_precisions(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def count_precisions(information: str) -> dict[str, int]:
    """The layers in the engine inspector's JSON by the narrowest type that each reads or writes.

    A layer of which TensorRT does not tell the types counts as ``unknown``.
    """
    try:
        layers = json.loads(information)["Layers"]
    except (ValueError, KeyError, TypeError):
        return {}
    return dict(Counter(_precision(layer) for layer in layers).most_common())


def failure(what: str, errors: Iterable[str]) -> EngineError:
    """What went wrong, what TensorRT said of it, and what to do."""
    said = " ".join("; ".join(errors).split()) or "it gives no reason"
    if _MEMORY.search(said):
        advice = (
            "The memory does not suffice: close other programs, take a lower --max-size or --workspace-gb, "
            "and on a Jetson add swap"
        )
    else:
        advice = "Another --precision or a newer TensorRT may help"
    return EngineError(f"{what}: {said}. {advice}")


@cache
def logger_of(trt: Any) -> Any:
    """The logger of this process: TensorRT keeps to the first that it gets, and to its address.

    It holds what matters: the last ``errors``, and ``memory``, the peaks of a build.
    """

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=20)
            self.memory: deque[str] = deque(maxlen=5)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(msg.strip())
            elif "Peak memory usage" in msg:
                self.memory.append(msg.partition("] ")[2] or msg)

        def forget(self) -> None:
            self.errors.clear()
            self.memory.clear()

    return Logger()


def _make_monitor(trt: Any) -> Any:
    """What TensorRT is at, and a way to stop it."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.stop = False
            self._phases: dict[str, tuple[int, int]] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._phases[phase_name] = (0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._phases[phase_name] = (step + 1, self._phases.get(phase_name, (0, step + 1))[1])
            return not self.stop

        def phase_finish(self, phase_name: str) -> None:
            self._phases.pop(phase_name, None)

        def current(self) -> str:
            phases = [f"{name} {done}/{steps}" for name, (done, steps) in list(self._phases.items())]
            return ", ".join(phases[-2:]) or "starting"

    return Monitor()


def _build(trt: Any, graph: bytes, options: BuildOptions, timing_cache: Path, logger: Any, monitor: Any) -> bytes:
    try:
        builder = trt.Builder(logger)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, logger)
        if not parser.parse(graph):
            raise failure("TensorRT cannot read the graph", _parser_errors(parser))
        config = _configuration(trt, builder, options)
        config.progress_monitor = monitor
        _use_timing_cache(config, timing_cache)
        serialized = builder.build_serialized_network(network, config)
        if serialized is None:
            raise failure("TensorRT cannot build the engine", logger.errors)
        measured = config.get_timing_cache()
        if measured is not None:
            with suppress(OSError), replacing_file(timing_cache) as temporary:
                temporary.write_bytes(bytes(measured.serialize()))
        return bytes(serialized)
    except (MemoryError, RuntimeError, TypeError, ValueError) as error:  # how its C++ exceptions arrive
        raise failure("TensorRT cannot build the engine", [*logger.errors, str(error)]) from error


def _configuration(trt: Any, builder: Any, options: BuildOptions) -> Any:
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # for inspect()
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    sizes = options.label_sizes
    if not sizes.fixed:
        profile = builder.create_optimization_profile()
        profile.set_shape_input("size", sizes.smallest, sizes.best, sizes.largest)
        config.add_optimization_profile(profile)
    return config


def _use_timing_cache(config: Any, path: Path) -> None:
    for content in (path.read_bytes() if path.is_file() else b"", b""):
        timing_cache = config.create_timing_cache(content)
        if timing_cache is not None and config.set_timing_cache(timing_cache, False):
            return


def _parser_errors(parser: Any) -> list[str]:
    errors = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        errors.append(f"{error.node_operator()} '{error.node_name()}': {error.desc()}")
    return errors


def _precision(layer: Any) -> str:
    tensors = [*layer.get("Inputs", []), *layer.get("Outputs", [])] if isinstance(layer, dict) else []
    # 10 writes one text, such as "Row major linear FP16 format", where 11 also has keys of their own.
    texts = [str(value) for tensor in tensors for key, value in tensor.items() if re.search("(?i)format|type", key)]
    for precision, words in _TYPES.items():
        if any(re.search(rf"\b({words})\b", text, re.IGNORECASE) for text in texts):
            return precision
    return "unknown"
