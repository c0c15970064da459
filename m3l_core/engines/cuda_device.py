"""The NVIDIA GPU of this machine, asked through the driver alone: no other library may be touched without one."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from m3l_core.errors import EngineError

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of cuda.h


@dataclass(frozen=True, slots=True)
class CudaDevice:
    """What an engine is built for."""

    name: str
    compute_capability: tuple[int, int]
    cuda: str
    """Newest CUDA version that the driver serves."""


def cuda_device() -> CudaDevice:
    """The first GPU that this process may use.

    Raises:
        EngineError: there is no driver or no GPU.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise EngineError(
            f"TensorRT needs an NVIDIA GPU, and its driver cannot be loaded ({error}): install the driver, in a "
            "container start it with --gpus all or --runtime nvidia, or take the engine openvino or onnxruntime"
        ) from error
    _check("cuInit", driver.cuInit(0))
    device, major, minor, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    _check("cuDeviceGet", driver.cuDeviceGet(ctypes.byref(device), 0))
    _check("cuDeviceGetName", driver.cuDeviceGetName(name, len(name), device))
    for attribute, value in ((_MAJOR, major), (_MINOR, minor)):
        _check("cuDeviceGetAttribute", driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device))
    _check("cuDriverGetVersion", driver.cuDriverGetVersion(ctypes.byref(version)))
    cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return CudaDevice(name.value.decode(), (major.value, minor.value), cuda)


def _check(function: str, status: int) -> None:
    if status:
        raise EngineError(
            f"the NVIDIA driver is installed, but {function} ends with status {status} (100: no GPU): see what "
            "nvidia-smi says, or take the engine openvino or onnxruntime"
        )
