"""The exported graph in TensorRT, on an NVIDIA GPU; ``m3l_build_engine`` builds it, once for each machine.

What it asks of CUDA is ``cuda_driver``'s.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.bundle import BundleDescription, ModelBundle
from m3l_core.engines.cuda_bindings import CudaError, CudaGraph, capture
from m3l_core.engines.cuda_device import CudaDevice, cuda_device
from m3l_core.engines.cuda_driver import find_driver
from m3l_core.engines.engine import check_input, check_precision
from m3l_core.engines.engine_cache import StoredEngine, find
from m3l_core.engines.label_sizes import LabelSizes, Size
from m3l_core.engines.tensorrt_builder import failure, logger_of
from m3l_core.errors import EngineError, require
from m3l_core.frames import ModelInput, Segmentation
from m3l_core.installation import command

PRECISIONS = ("fp32", "fp16", "bf16", "int8")


def load(bundle: ModelBundle, precision: str = "auto", num_threads: int = 0) -> TensorRtEngine:
    """Load the engine that was built for this bundle and machine; ``auto`` is fp16, ``num_threads`` changes nothing.

    Raises:
        EngineError: no driver, no GPU, or no engine that runs here; names the command that builds one.
        MissingPackageError: tensorrt is not installed, or neither pycuda nor cuda-bindings.
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
        self.cuda = self._session.cuda.library
        """What reaches CUDA, with its version."""
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
        self.cuda = find_driver()()
        self._trt = require("tensorrt", "tensorrt")
        self._logger = logger_of(self._trt)
        self._runtime: Any = None
        self._engine: Any = None
        self._execution: Any = None
        self._host: dict[str, NDArray[Any]] = {}
        self._gpu: dict[str, int] = {}
        self._size: Size | None = None
        self._replay: CudaGraph | None = None
        try:
            with self._active():
                self._load(stored)
                check_tensors(self._tensor_shapes(), stored.facts.label_sizes, description)
                self._allocate(stored.facts.label_sizes, description)
        except BaseException:
            self.close()
            raise

    def run(self, model_input: ModelInput, size: Size) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Labels and confidence, (H, W) = ``size`` uint8 each."""
        height, width = size
        with self._active():
            for name, array in (("images", model_input.images), ("present", model_input.present)):
                np.copyto(self._host[name], array)
                self.cuda.to_gpu(self._gpu[name], self._host[name])
            if size != self._size:
                self._use_size(size)
            if self._replay:
                self._replay.launch()
            else:
                self._enqueue()
            found = []
            for name in ("labels", "confidence"):
                pixels = self._host[name][: height * width]
                self.cuda.to_host(pixels, self._gpu[name])
                found.append(pixels)
            self.cuda.synchronize()
            labels, confidence = (pixels.reshape(size).copy() for pixels in found)
        return labels, confidence

    def close(self) -> None:
        """Free everything, in the context that it belongs to, whatever thread this is."""
        with self._active():
            if self._replay:
                self._replay.close()
            self._replay = None
            self._execution = self._engine = self._runtime = None
            self._host, self._gpu = {}, {}
            self.cuda.close()

    @contextmanager
    def _active(self) -> Iterator[None]:
        try:
            with self.cuda.active():
                yield
        except CudaError as error:
            raise failure("the GPU fails", [*self._logger.errors, str(error)]) from error

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
        empty = self.cuda.host_array
        self._host = {
            "images": empty((*shape, 3, *description.input_size), np.float32),
            "present": empty(shape, np.bool_),
            "labels": empty((pixels,), np.uint8),
            "confidence": empty((pixels,), np.uint8),
        }
        self._gpu = {name: self.cuda.allocate(array.nbytes) for name, array in self._host.items()}
        for name, address in self._gpu.items():
            self._execution.set_tensor_address(name, address)
        if not sizes.fixed:
            self._host["size"] = empty((2,), np.int64)  # TensorRT reads shapes on the host

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
        self.cuda.synchronize()
        self._replay = capture(self.cuda.stream, self._enqueue)
        self._size = size

    def _enqueue(self) -> None:
        if not self._execution.execute_async_v3(self.cuda.stream):
            raise failure("TensorRT cannot run the engine", self._logger.errors)


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


def _resized(image: NDArray[np.uint8], size: Size, interpolation: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=interpolation), np.uint8)
