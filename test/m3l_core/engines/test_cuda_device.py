"""What is asked of the driver, and what is said where there is none."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from m3l_core.engines.cuda_device import CudaDevice, cuda_device
from m3l_core.errors import EngineError


class Driver:
    """libcuda of a Jetson Orin."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing

    def __getattr__(self, function: str) -> Any:
        def call(*arguments: Any) -> int:
            if function == self.failing:
                return 100
            if function == "cuDeviceGetName":
                arguments[0].value = b"Orin"
            elif function == "cuDeviceGetAttribute":
                arguments[0]._obj.value = {75: 8, 76: 7}[arguments[1]]
            elif function == "cuDriverGetVersion":
                arguments[0]._obj.value = 12060
            return 0

        return call


def test_the_device_is_what_the_driver_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver())
    assert cuda_device() == CudaDevice("Orin", (8, 7), "12.6")


def test_without_a_driver_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    with pytest.raises(EngineError, match=r"needs an NVIDIA GPU, .*libcuda\.so\.1: .*: install the driver.*openvino"):
        cuda_device()


@pytest.mark.parametrize(
    "function", ["cuInit", "cuDeviceGet", "cuDeviceGetName", "cuDeviceGetAttribute", "cuDriverGetVersion"]
)
def test_a_driver_without_a_gpu_is_told_apart(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver(function))
    with pytest.raises(EngineError, match=rf"driver is installed, but {function} ends with status 100 \(100: no GPU\)"):
        cuda_device()
