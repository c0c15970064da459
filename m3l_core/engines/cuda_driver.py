"""What the TensorRT engine asks of CUDA, by pycuda where it is installed, else by cuda-bindings."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from m3l_core.engines.cuda_bindings import CudaError, bindings, call, release
from m3l_core.errors import MissingPackageError
from m3l_core.installation import install_command

# CU_STREAM_NON_BLOCKING of cuda.h. Any other stream waits for torch's, and torch's calls fail while it is captured.
_NON_BLOCKING = 1


class CudaDriver(Protocol):
    """Memory and one stream on the first GPU, in its primary context, which torch in the same process uses too.

    All but ``active`` is called inside of ``active`` and raises CudaError where the GPU fails.
    """

    library: str
    """What reaches CUDA, with its version."""
    stream: int
    """Handle of the stream that copies are put on."""

    def active(self) -> AbstractContextManager[None]:
        """The context current on this thread, and not any more at the end."""
        ...

    def host_array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """A page-locked array, not to be used after ``close``."""
        ...

    def allocate(self, size: int) -> int:
        """Address of ``size`` bytes on the GPU."""
        ...

    def to_gpu(self, address: int, array: NDArray[Any]) -> None:
        """Begin to copy a page-locked array to the GPU."""
        ...

    def to_host(self, array: NDArray[Any], address: int) -> None:
        """Begin to fill a page-locked array from the GPU."""
        ...

    def synchronize(self) -> None:
        """Wait for all that is on the stream."""
        ...

    def close(self) -> None:
        """Free what was given."""
        ...


class PycudaDriver:
    """CUDA through pycuda; see ``CudaDriver``."""

    def __init__(self) -> None:
        self._cuda: Any = importlib.import_module("pycuda.driver")
        self.library = f"pycuda {getattr(importlib.import_module('pycuda'), 'VERSION_TEXT', '')}".strip()
        self._context = _pycuda_context()
        self._memory: dict[int, Any] = {}
        with self.active():
            self._stream: Any = self._cuda.Stream(_NON_BLOCKING)
        self.stream: int = self._stream.handle

    @contextmanager
    def active(self) -> Iterator[None]:
        """Push the context on this thread: pycuda aborts the process where one is left when a thread ends."""
        self._context.push()
        try:
            yield
        except self._cuda.Error as error:
            raise CudaError(str(error)) from error
        finally:
            self._context.pop()

    def host_array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        array: NDArray[Any] = self._cuda.pagelocked_empty(shape, dtype)
        return array

    def allocate(self, size: int) -> int:
        memory = self._cuda.mem_alloc(size)
        self._memory[int(memory)] = memory
        return int(memory)

    def to_gpu(self, address: int, array: NDArray[Any]) -> None:
        self._cuda.memcpy_htod_async(self._memory[address], array, self._stream)

    def to_host(self, array: NDArray[Any], address: int) -> None:
        self._cuda.memcpy_dtoh_async(array, self._memory[address], self._stream)

    def synchronize(self) -> None:
        self._stream.synchronize()

    def close(self) -> None:
        self._memory.clear()
        self._stream = None


class BindingsDriver:
    """CUDA through cuda-bindings; see ``CudaDriver``."""

    def __init__(self) -> None:
        self._cuda: Any = bindings()
        self.library = f"cuda-bindings {getattr(importlib.import_module('cuda.bindings'), '__version__', '')}".strip()
        self._context = _bindings_context()
        self._owned = ExitStack()
        with self.active():
            self.stream = int(call(self._cuda.cuStreamCreate, _NON_BLOCKING))
            self._owned.callback(release, self._cuda.cuStreamDestroy, self.stream)

    @contextmanager
    def active(self) -> Iterator[None]:
        call(self._cuda.cuCtxPushCurrent, self._context)
        try:
            yield
        finally:
            call(self._cuda.cuCtxPopCurrent)

    def host_array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        size = prod(shape) * np.dtype(dtype).itemsize
        address = int(call(self._cuda.cuMemHostAlloc, size, 0))
        self._owned.callback(release, self._cuda.cuMemFreeHost, address)
        memory: Any = (ctypes.c_ubyte * size).from_address(address)
        return np.frombuffer(memory, np.dtype(dtype)).reshape(shape)

    def allocate(self, size: int) -> int:
        address = int(call(self._cuda.cuMemAlloc, size))
        self._owned.callback(release, self._cuda.cuMemFree, address)
        return address

    def to_gpu(self, address: int, array: NDArray[Any]) -> None:
        call(self._cuda.cuMemcpyHtoDAsync, address, array.ctypes.data, array.nbytes, self.stream)

    def to_host(self, array: NDArray[Any], address: int) -> None:
        call(self._cuda.cuMemcpyDtoHAsync, array.ctypes.data, address, array.nbytes, self.stream)

    def synchronize(self) -> None:
        call(self._cuda.cuStreamSynchronize, self.stream)

    def close(self) -> None:
        self._owned.close()


@cache
def _pycuda_context() -> Any:
    """The GPU's primary context, kept for the process: pycuda leaves one current that it releases."""
    cuda: Any = importlib.import_module("pycuda.driver")
    cuda.init()
    return cuda.Device(0).retain_primary_context()


@cache
def _bindings_context() -> Any:
    """The same by cuda-bindings."""
    cuda: Any = bindings()
    call(cuda.cuInit, 0)
    return call(cuda.cuDevicePrimaryCtxRetain, call(cuda.cuDeviceGet, 0))


_DRIVERS: dict[str, Callable[[], CudaDriver]] = {
    "pycuda.driver": PycudaDriver,
    "cuda.bindings.driver": BindingsDriver,
}
"""Module -> the driver that it makes; the first that can be imported is taken."""


def find_driver() -> Callable[[], CudaDriver]:
    """What makes a driver here.

    Raises:
        MissingPackageError: neither library is installed; names the extras that bring them.
    """
    failures = []
    for module, driver in _DRIVERS.items():
        try:
            importlib.import_module(module)
            return driver
        except ImportError as error:
            failures.append(f"{module}: {error}")
    raise MissingPackageError(
        f"TensorRT's engine reaches CUDA by pycuda or cuda-bindings, and neither can be imported "
        f"({'; '.join(failures)}). Install one with: {install_command('tensorrt')}, which compiles pycuda, or "
        f"{install_command('tensorrtbindings')}"
    )
