"""A GPU, its driver and TensorRT as far as the engine reaches, computed by ONNX Runtime; strict about the context.

A "serialized engine" is the ONNX model itself. Memory of the GPU and of the host are apart, as on a PC.
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from m3l_core.engines import build_engine, check_gpu, cuda_device, cuda_driver, tensorrt_builder, tensorrt_engine

DRIVERS = ("pycuda", "cuda-bindings")
"""Libraries that reach CUDA."""
DEVICE = cuda_device.CudaDevice("Pretended", (8, 7), "12.6")
VERSION = "10.3.0"


class FakeGpu:
    """What the fake modules share."""

    def __init__(self) -> None:
        self.memory: dict[int, np.ndarray] = {}
        self.page_locked: dict[int, Any] = {}
        self.copy_error: str | None = None
        self.enqueued = self.launched = 0
        self.recording: list[Callable[[], None]] | None = None
        self.capture_status = 0
        self.contexts = threading.local()
        self.numbers = itertools.count()
        self.told_types = "Half"
        self.build_error: str | None = None

    def require_context(self) -> None:
        assert getattr(self.contexts, "depth", 0) == 1, "called outside of the context"

    def push(self) -> None:
        self.contexts.depth = getattr(self.contexts, "depth", 0) + 1

    def pop(self) -> None:
        self.contexts.depth -= 1

    def allocate(self, size: int) -> int:
        self.require_context()
        self.memory[address := 1 << 40 | next(self.numbers) << 20] = np.full(size, 0xAA, np.uint8)
        return address

    def free(self, address: int) -> None:
        self.require_context()
        del self.memory[address]

    def execute(self, execution: Any, stream: int) -> None:
        """What TensorRT puts on a stream to run an engine once."""
        assert stream == 7
        self.do(execution.compute)

    def do(self, work: Callable[[], None]) -> None:
        self.require_context()
        if self.recording is None:
            work()
        else:
            self.recording.append(work)


def install(monkeypatch: pytest.MonkeyPatch, *libraries: str) -> FakeGpu:
    """Let this process have the fake GPU until the test ends, reached by these of ``DRIVERS``, by default both."""
    gpu = FakeGpu()
    modules: dict[str, Any] = {"tensorrt": tensorrt_of(gpu)}
    modules |= {"pycuda": _module("pycuda", VERSION_TEXT="2026.1"), "pycuda.driver": _pycuda(gpu)}
    modules |= {"cuda": ModuleType("cuda"), "cuda.bindings": _module("cuda.bindings", __version__="13.5.0")}
    modules["cuda.bindings.driver"] = _cuda_bindings(gpu)
    if libraries and "pycuda" not in libraries:
        modules["pycuda.driver"] = None
    if libraries and "cuda-bindings" not in libraries:
        modules["cuda.bindings"] = modules["cuda.bindings.driver"] = None
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    for user in (build_engine, check_gpu, tensorrt_engine):
        monkeypatch.setattr(user, "cuda_device", lambda: DEVICE)
    forget_the_last_gpu()
    return gpu


def install_for_good() -> None:
    """The same in a process that is all for it."""
    install(pytest.MonkeyPatch())


@contextmanager
def all_freed(gpu: FakeGpu) -> Iterator[FakeGpu]:
    """At its end the engines made within, which go while their GPU is still there, have left nothing on it."""
    gc.freeze()  # what is older is not looked through
    yield gpu
    gc.collect()
    gc.unfreeze()
    assert not gpu.memory
    assert not gpu.page_locked


def forget_the_last_gpu() -> None:
    """A process has one, but tests have several."""
    cuda_driver._pycuda_context.cache_clear()
    cuda_driver._bindings_context.cache_clear()
    tensorrt_builder.logger_of.cache_clear()


def _module(name: str, **members: Any) -> Any:
    module = ModuleType(name)
    module.__dict__.update(members)
    return module


def _pycuda(gpu: FakeGpu) -> Any:
    class Error(Exception):
        pass

    class Memory:
        def __init__(self, size: int) -> None:
            self.address = gpu.allocate(size)
            weakref.finalize(self, gpu.free, self.address).atexit = False

        def __int__(self) -> int:
            return self.address

    def pagelocked_empty(shape: Any, dtype: Any) -> np.ndarray:
        gpu.require_context()
        return np.empty(shape, dtype)

    def memcpy_htod_async(dest: Memory, src: np.ndarray, stream: Any) -> None:
        if gpu.copy_error:
            raise Error(gpu.copy_error)
        gpu.do(lambda: gpu.memory[int(dest)].__setitem__(slice(src.nbytes), src.reshape(-1).view(np.uint8)))

    def memcpy_dtoh_async(dest: np.ndarray, src: Memory, stream: Any) -> None:
        gpu.do(lambda: dest.reshape(-1).view(np.uint8).__setitem__(slice(None), gpu.memory[int(src)][: dest.nbytes]))

    def stream(flags: int) -> Any:
        assert flags == 1, "torch in the same process needs a stream that does not wait for others"
        return SimpleNamespace(handle=7, synchronize=gpu.require_context)

    return _module(
        "pycuda.driver",
        Error=Error,
        Device=lambda number: SimpleNamespace(
            retain_primary_context=lambda: SimpleNamespace(push=gpu.push, pop=gpu.pop)
        ),
        Stream=stream,
        init=lambda: None,
        mem_alloc=Memory,
        memcpy_dtoh_async=memcpy_dtoh_async,
        memcpy_htod_async=memcpy_htod_async,
        pagelocked_empty=pagelocked_empty,
    )


def _cuda_bindings(gpu: FakeGpu) -> Any:
    def begin(stream: int, mode: str) -> tuple[int]:
        assert (stream, mode) == (7, "thread local")
        gpu.recording = []
        return (0,)

    def end(stream: int) -> tuple[int, Any]:
        recorded, gpu.recording = gpu.recording, None
        return gpu.capture_status, recorded

    def launch(executable: list[Callable[[], None]], stream: int) -> tuple[int]:
        gpu.launched += 1
        for work in executable:
            work()
        return (0,)

    def host_alloc(size: int, flags: int) -> tuple[int, int]:
        gpu.require_context()
        buffer = ctypes.create_string_buffer(size)
        gpu.page_locked[ctypes.addressof(buffer)] = buffer
        return 0, ctypes.addressof(buffer)

    def host_free(address: int) -> tuple[int]:
        gpu.require_context()
        del gpu.page_locked[address]
        return (0,)

    class Fault(int):
        def __str__(self) -> str:
            return str(gpu.copy_error)

    def to_gpu(address: int, source: int, size: int, stream: int) -> tuple[int]:
        assert stream == 7
        if gpu.copy_error:
            return (Fault(700),)
        held = (ctypes.c_ubyte * size).from_address(source)
        gpu.do(lambda: gpu.memory[address].__setitem__(slice(size), np.frombuffer(held, np.uint8)))
        return (0,)

    def to_host(target: int, address: int, size: int, stream: int) -> tuple[int]:
        assert stream == 7
        gpu.do(lambda: ctypes.memmove(target, gpu.memory[address].ctypes.data, size) and None)
        return (0,)

    def create_stream(flags: int) -> tuple[int, int]:
        assert flags == 1, "torch in the same process needs a stream that does not wait for others"
        gpu.require_context()
        return 0, 7

    return _module(
        "cuda.bindings.driver",
        CUstreamCaptureMode=SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL="thread local"),
        cuInit=lambda flags: (0,),
        cuDeviceGet=lambda number: (0, "device"),
        cuDevicePrimaryCtxRetain=lambda device: (0, "context"),
        cuCtxPushCurrent=lambda context: (0, gpu.push())[:1],
        cuCtxPopCurrent=lambda: (0, gpu.pop()),
        cuMemHostAlloc=host_alloc,
        cuMemFreeHost=host_free,
        cuMemAlloc=lambda size: (0, gpu.allocate(size)),
        cuMemFree=lambda address: (0, gpu.free(address))[:1],
        cuMemcpyHtoDAsync=to_gpu,
        cuMemcpyDtoHAsync=to_host,
        cuStreamCreate=create_stream,
        cuStreamSynchronize=lambda stream: (0, gpu.require_context())[:1],
        cuStreamDestroy=lambda stream: (0,),
        cuStreamBeginCapture=begin,
        cuStreamEndCapture=end,
        cuGraphInstantiate=lambda graph, flags: (0, graph),
        cuGraphDestroy=lambda graph: (0,),
        cuGraphExecDestroy=lambda graph: (0,),
        cuGraphLaunch=launch,
    )


def tensorrt_of(gpu: FakeGpu) -> Any:
    """A module that stands for TensorRT's and runs engines on this GPU."""
    import onnx
    import onnxruntime

    class Base:
        """ILogger and IProgressMonitor."""

        ERROR, INTERNAL_ERROR, INFO = "error", "internal error", "info"

    class Execution:
        def __init__(self, model: Any) -> None:
            self.session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
            self.inputs = {one.name: one for one in self.session.get_inputs()}
            self.addresses: dict[str, int] = {}

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self.addresses[name] = memory
            return True

        def size(self) -> list[int]:
            if "size" not in self.inputs:
                return list(self.session.get_outputs()[0].shape)
            return list((ctypes.c_int64 * 2).from_address(self.addresses["size"]))

        def infer_shapes(self) -> list[str]:
            return [name for name in self.inputs if name not in self.addresses]

        def get_tensor_shape(self, name: str) -> list[int]:
            return self.size()

        def execute_async_v3(self, stream_handle: int) -> bool:
            gpu.enqueued += 1
            gpu.execute(self, stream_handle)
            return True

        def compute(self) -> None:
            feeds = {}
            for name, one in self.inputs.items():
                if name == "size":
                    feeds[name] = np.array(self.size(), np.int64)
                else:
                    dtype = {"tensor(float)": np.float32, "tensor(bool)": np.bool_}[one.type]
                    size = int(np.prod(one.shape)) * np.dtype(dtype).itemsize
                    feeds[name] = gpu.memory[self.addresses[name]][:size].view(dtype).reshape(one.shape)
            for name in ("labels", "confidence"):
                found = self.session.run([name], feeds)[0]
                gpu.memory[self.addresses[name]][: found.size] = found.reshape(-1)

    class Engine:
        def __init__(self, content: bytes) -> None:
            self.model = onnx.ModelProto.FromString(content)
            self.tensors = [*self.model.graph.input, *self.model.graph.output]
            self.num_io_tensors = len(self.tensors)

        def get_tensor_name(self, index: int) -> str:
            return str(self.tensors[index].name)

        def get_tensor_shape(self, name: str) -> list[int]:
            tensor = next(one for one in self.tensors if one.name == name)
            return [dimension.dim_value or -1 for dimension in tensor.type.tensor_type.shape.dim]

        def create_execution_context(self) -> Execution:
            return Execution(self.model)

        def create_engine_inspector(self) -> Any:
            layers = f'{{"Layers": [{{"Outputs": [{{"Format/Datatype": "{gpu.told_types}"}}]}}]}}'
            return SimpleNamespace(get_engine_information=lambda layer_format: layers)

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger
            self.engine_host_code_allowed = False

        def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
            try:
                return Engine(content)
            except Exception:
                self.logger.log("error", "the engine is no engine")
                return None

    class Builder:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def create_network(self, flags: int) -> Any:
            assert flags == 1 << 1
            return SimpleNamespace(graph=b"")

        def create_builder_config(self) -> Any:
            return SimpleNamespace(
                create_timing_cache=lambda content: content,
                set_timing_cache=lambda timing_cache, ignore: True,
                get_timing_cache=lambda: SimpleNamespace(serialize=lambda: b"timings"),
                add_optimization_profile=lambda profile: 0,
            )

        def create_optimization_profile(self) -> Any:
            return SimpleNamespace(set_shape_input=lambda name, smallest, best, largest: None)

        def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
            if gpu.build_error:
                self.logger.log("error", gpu.build_error)
                return None
            return bytes(network.graph)

    class OnnxParser:
        def __init__(self, network: Any, logger: Any) -> None:
            self.network = network

        def parse(self, graph: bytes) -> bool:
            self.network.graph = graph
            return True

    return _module(
        "tensorrt",
        __version__=VERSION,
        Builder=Builder,
        ILogger=Base,
        IProgressMonitor=Base,
        LayerInformationFormat=SimpleNamespace(JSON="json"),
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
        OnnxParser=OnnxParser,
        ProfilingVerbosity=SimpleNamespace(DETAILED="detailed", NONE="none"),
        Runtime=Runtime,
    )
