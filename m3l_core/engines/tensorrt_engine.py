"""The exported graph in TensorRT, on an NVIDIA GPU; ``m3l_build_engine`` builds it, once for each machine.

CUDA is reached through pycuda, in the device's primary context, which torch in the same process uses too.
"""

from __future__ import annotations

import importlib
import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.bundle import BundleDescription, ModelBundle
from m3l_core.engines.cuda_device import CudaDevice, cuda_device
from m3l_core.engines.engine import check_input, check_precision
from m3l_core.engines.engine_cache import StoredEngine, find
from m3l_core.engines.label_sizes import LabelSizes, Size
from m3l_core.engines.tensorrt_builder import failure, logger_of
from m3l_core.errors import EngineError, require
from m3l_core.frames import ModelInput, Segmentation
from m3l_core.installation import command

logger = logging.getLogger(__name__)

PRECISIONS = ("fp32", "fp16", "bf16", "int8")

# CU_STREAM_NON_BLOCKING of cuda.h. Any other stream waits for torch's, and torch's calls fail while it is captured.
_NON_BLOCKING = 1


def load(bundle: ModelBundle, precision: str = "auto", num_threads: int = 0) -> TensorRtEngine:
    """Load the engine that was built for this bundle and machine; ``auto`` is fp16, ``num_threads`` changes nothing.

    Raises:
        EngineError: no driver, no GPU, or no engine that runs here; names the command that builds one.
        MissingPackageError: tensorrt or pycuda is not installed.
        BundleError: the bundle has no such graph.
    """
    check_precision(TensorRtEngine.name, precision, PRECISIONS)
    device = cuda_device()
    trt = require("tensorrt", "tensorrt")
    stored = find(bundle, "fp16" if precision == "auto" else precision, trt.__version__, device)
    return TensorRtEngine(stored, bundle.description, device)


class TensorRtEngine:
    """Runs a built engine; any one thread at a time may call it."""

    name = "tensorrt"

    def __init__(self, stored: StoredEngine, description: BundleDescription, device: CudaDevice) -> None:
        self.precision = stored.facts.precision
        self.device = device.name
        self._description = description
        self._sizes = stored.facts.label_sizes
        self._session = _Session(stored, description)
        weakref.finalize(self, self._session.close)

    def infer(self, model_input: ModelInput, size: tuple[int, int]) -> Segmentation:
        """Labels and confidence of (H, W) = ``size`` pixels.

        A size that the engine was not built for is made from the nearest that it was: labels by nearest neighbour.

        Raises:
            EngineError: the input is not of the bundle's modalities, or the GPU fails.
        """
        check_input(model_input, self._description)
        computed = self._sizes.nearest(size)
        labels, confidence = self._session.run(model_input, computed)
        if computed != size:
            labels = _resized(labels, size, cv2.INTER_NEAREST_EXACT)
            confidence = _resized(confidence, size, cv2.INTER_LINEAR)
        return Segmentation(labels, confidence)


class _Session:
    """All that lies on the GPU. Its context is current only inside of these methods."""

    def __init__(self, stored: StoredEngine, description: BundleDescription) -> None:
        self._cuda = require("pycuda.driver", "tensorrt")
        self._context = _primary_context()
        self._trt = require("tensorrt", "tensorrt")
        self._logger = logger_of(self._trt)
        self._runtime: Any = None
        self._engine: Any = None
        self._execution: Any = None
        self._stream: Any = None
        self._host: dict[str, NDArray[Any]] = {}
        self._gpu: dict[str, Any] = {}
        self._size: Size | None = None
        self._replay: _Replay | None = None
        with self._active():
            self._load(stored)
            check_tensors(self._tensor_shapes(), stored.facts.label_sizes, description)
            self._allocate(stored.facts.label_sizes, description)

    def run(self, model_input: ModelInput, size: Size) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Labels and confidence, (H, W) = ``size`` uint8 each."""
        height, width = size
        with self._active():
            for name, array in (("images", model_input.images), ("present", model_input.present)):
                np.copyto(self._host[name], array)
                self._cuda.memcpy_htod_async(self._gpu[name], self._host[name], self._stream)
            if size != self._size:
                self._use_size(size)
            if self._replay:
                self._replay.launch()
            else:
                self._enqueue()
            found = []
            for name in ("labels", "confidence"):
                pixels = self._host[name][: height * width]
                self._cuda.memcpy_dtoh_async(pixels, self._gpu[name], self._stream)
                found.append(pixels)
            self._stream.synchronize()
            labels, confidence = (pixels.reshape(size).copy() for pixels in found)
        return labels, confidence

    def close(self) -> None:
        """Free everything, in the context that it belongs to, whatever thread this is."""
        with self._active():
            if self._replay:
                self._replay.close()
            self._replay = None
            self._execution = self._engine = self._runtime = None
            self._host, self._gpu, self._stream = {}, {}, None

    @contextmanager
    def _active(self) -> Iterator[None]:
        """Push the context on this thread: pycuda aborts the process where one is left when a thread ends."""
        self._context.push()
        try:
            yield
        except self._cuda.Error as error:
            raise failure("the GPU fails", [*self._logger.errors, str(error)]) from error
        finally:
            self._context.pop()

    def _load(self, stored: StoredEngine) -> None:
        trt = self._trt
        self._logger.forget()
        self._runtime = trt.Runtime(self._logger)
        # Such an engine brings the code that runs it; it comes from the user's own cache, checked by its digest.
        self._runtime.engine_host_code_allowed = stored.facts.version_compatible
        self._engine = self._runtime.deserialize_cuda_engine(stored.content)
        if self._engine is None:
            raise failure(
                f"TensorRT cannot load the engine; build it with {command('m3l_build_engine')} --force",
                self._logger.errors,
            )
        self._execution = self._engine.create_execution_context()
        if self._execution is None:
            raise failure("the engine does not fit into the GPU's memory", self._logger.errors)
        self._execution.nvtx_verbosity = trt.ProfilingVerbosity.NONE  # marks for a profiler cost time

    def _tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        return {name: tuple(self._engine.get_tensor_shape(name)) for name in names}

    def _allocate(self, sizes: LabelSizes, description: BundleDescription) -> None:
        pixels = sizes.largest[0] * sizes.largest[1]
        shape = (1, len(description.modalities))
        empty = self._cuda.pagelocked_empty
        self._host = {
            "images": empty((*shape, 3, *description.input_size), np.float32),
            "present": empty(shape, np.bool_),
            "labels": empty(pixels, np.uint8),
            "confidence": empty(pixels, np.uint8),
        }
        self._gpu = {name: self._cuda.mem_alloc(array.nbytes) for name, array in self._host.items()}
        for name, memory in self._gpu.items():
            self._execution.set_tensor_address(name, int(memory))
        if not sizes.fixed:
            self._host["size"] = empty(2, np.int64)  # TensorRT reads shapes on the host
        self._stream = self._cuda.Stream(_NON_BLOCKING)

    def _use_size(self, size: Size) -> None:
        if self._replay:
            self._replay.close()
        self._size, self._replay = None, None
        if "size" in self._host:
            self._host["size"][:] = size
            self._execution.set_tensor_address("size", self._host["size"].ctypes.data)
        if self._execution.infer_shapes() or tuple(self._execution.get_tensor_shape("labels")) != size:
            raise failure(f"the engine cannot label {size[0]}x{size[1]} pixels", self._logger.errors)
        self._enqueue()  # allocates and chooses what a capture must not
        self._stream.synchronize()
        self._replay = _capture(self._stream.handle, self._enqueue)
        self._size = size

    def _enqueue(self) -> None:
        if not self._execution.execute_async_v3(self._stream.handle):
            raise failure("TensorRT cannot run the engine", self._logger.errors)


@cache
def _primary_context() -> Any:
    """The GPU's context that torch uses too, kept for the process: pycuda leaves one current that it releases."""
    cuda = require("pycuda.driver", "tensorrt")
    cuda.init()
    return cuda.Device(0).retain_primary_context()


class _Replay:
    """A CUDA graph of what ``enqueue`` puts on a stream, to launch all at once; by cuda-python, for pycuda has none."""

    def __init__(self, driver: ModuleType, stream: int, enqueue: Callable[[], None]) -> None:
        self._driver, self._stream = driver, stream
        # Of this thread alone: what torch allocates in another meanwhile would end a global capture.
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call(driver.cuStreamBeginCapture, stream, mode)
        try:
            enqueue()
        finally:
            graph = self._call(driver.cuStreamEndCapture, stream)
        self._executable = self._call(driver.cuGraphInstantiate, graph, 0)
        self._call(driver.cuGraphDestroy, graph)

    def launch(self) -> None:
        self._call(self._driver.cuGraphLaunch, self._executable, self._stream)

    def close(self) -> None:
        self._call(self._driver.cuGraphExecDestroy, self._executable)

    def _call(self, function: Callable[..., tuple[Any, ...]], *arguments: Any) -> Any:
        status, *results = function(*arguments)
        if status != self._driver.CUresult.CUDA_SUCCESS:
            raise EngineError(f"{function.__name__} ends with {status}")
        return results[0] if results else None


def check_tensors(shapes: dict[str, tuple[int, ...]], sizes: LabelSizes, description: BundleDescription) -> None:
    """Refuse an engine whose inputs and outputs are not those of a bundle.

    Args:
        shapes: of every input and output by its name; -1 where it is found out at run time.
        sizes: what the engine is said to label.
        description: the bundle's.

    Raises:
        EngineError: it was built for other shapes.
    """
    labels = sizes.largest if sizes.fixed else (-1, -1)
    expected = {
        "images": (1, len(description.modalities), 3, *description.input_size),
        "present": (1, len(description.modalities)),
        "labels": labels,
        "confidence": labels,
    }
    if not sizes.fixed:
        expected["size"] = (2,)
    if shapes != expected:
        raise EngineError(
            f"the engine was built for other shapes: expected {expected}, got {shapes}: build it with "
            f"{command('m3l_build_engine')} --force"
        )


def _capture(stream: int, enqueue: Callable[[], None]) -> _Replay | None:
    """A replay of ``enqueue``, or None where cuda-python is not installed or the engine cannot be captured."""
    try:
        return _Replay(importlib.import_module("cuda.bindings.driver"), stream, enqueue)
    except (ImportError, EngineError) as error:
        logger.info("no CUDA graph, so each frame is enqueued layer by layer: %s", error)
        return None


def _resized(image: NDArray[np.uint8], size: Size, interpolation: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=interpolation), np.uint8)
