"""CUDA's driver through cuda-bindings, NVIDIA's wheels for every platform; CUDA graphs, which pycuda has none of."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

from m3l_core.errors import EngineError

logger = logging.getLogger(__name__)


class CudaError(EngineError):
    """The GPU or its driver fails."""


def bindings() -> ModuleType:
    """The module of the driver's functions; it loads the driver with the first call.

    Raises:
        ImportError: cuda-bindings is not installed.
    """
    return importlib.import_module("cuda.bindings.driver")


def call(function: Callable[..., tuple[Any, ...]], *arguments: Any) -> Any:
    """What a function of the driver gives beside its status.

    Raises:
        CudaError: the driver fails, or does not have this function.
    """
    name = getattr(function, "__name__", "a function of CUDA")
    try:
        status, *results = function(*arguments)
    except RuntimeError as error:
        raise CudaError(
            f"{name}: {error}. Install the cuda-bindings whose major version is that of your driver's CUDA"
        ) from error
    if int(status) != 0:  # CUDA_SUCCESS
        raise CudaError(f"{name} ends with {status}")
    return results[0] if results else None


def release(function: Callable[..., tuple[Any, ...]], handle: Any) -> None:
    """Free something; after a fault on the GPU the driver frees nothing any more, and that is no second error."""
    with suppress(CudaError):
        call(function, handle)


class CudaGraph:
    """What ``enqueue`` puts on a stream, to launch all at once."""

    def __init__(self, stream: int, enqueue: Callable[[], None]) -> None:
        self._driver, self._stream = bindings(), stream
        # Of this thread alone: what torch allocates in another meanwhile would end a global capture.
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        call(self._driver.cuStreamBeginCapture, stream, mode)
        try:
            enqueue()
        finally:
            graph = call(self._driver.cuStreamEndCapture, stream)
        self._executable = call(self._driver.cuGraphInstantiate, graph, 0)
        call(self._driver.cuGraphDestroy, graph)

    def launch(self) -> None:
        call(self._driver.cuGraphLaunch, self._executable, self._stream)

    def close(self) -> None:
        release(self._driver.cuGraphExecDestroy, self._executable)


def capture(stream: int, enqueue: Callable[[], None]) -> CudaGraph | None:
    """A graph of ``enqueue``, or None where cuda-bindings is not installed or the work cannot be captured."""
    try:
        return CudaGraph(stream, enqueue)
    except (ImportError, EngineError) as error:
        # Its text alone: whoever keeps the record would keep the engine, by the traceback.
        logger.info("no CUDA graph, so each frame is enqueued layer by layer: %s", str(error))
        return None
