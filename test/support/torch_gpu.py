"""The real GPU, what reaches it and CUDA graphs; only TensorRT is pretended, by the network in torch."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from support.fake_gpu import FakeGpu, forget_the_last_gpu, tensorrt_of

from m3l_core.bundle import ModelBundle
from m3l_core.engines.torch_engine import load_network
from m3l_core.model.network import upsample, winning_classes


class _Array:
    """Memory of the GPU that another library owns."""

    def __init__(self, address: int, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
        typestr = np.dtype(dtype).str
        self.__cuda_array_interface__ = {"data": (address, False), "shape": shape, "typestr": typestr, "version": 3}


class TorchGpu(FakeGpu):
    """Runs every engine as the network of one bundle."""

    def __init__(self, bundle: ModelBundle) -> None:
        super().__init__()
        self._network = load_network(bundle).requires_grad_(False).cuda()
        count = len(bundle.description.modalities)
        self._inputs = {
            "images": ((1, count, 3, *bundle.description.input_size), np.float32),
            "present": ((1, count), np.bool_),
        }

    def execute(self, execution: Any, stream: int) -> None:
        def tensor(name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> torch.Tensor:
            return torch.as_tensor(_Array(execution.addresses[name], shape, dtype), device="cuda")

        size = tuple(execution.size())
        with torch.cuda.stream(torch.cuda.ExternalStream(stream)), torch.inference_mode():
            images, present = (tensor(name, *kind) for name, kind in self._inputs.items())
            logits = self._network.ensemble(self._network(images, present), present)
            probability = logits.softmax(dim=1).amax(dim=1, keepdim=True)
            tensor("labels", size, np.uint8).copy_(winning_classes(logits, size)[0])
            tensor("confidence", size, np.uint8).copy_((upsample(probability, size)[0, 0] * 255).round())


def install(monkeypatch: pytest.MonkeyPatch, bundle: ModelBundle) -> TorchGpu:
    """Let this process take torch for TensorRT until the test ends."""
    gpu = TorchGpu(bundle)
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt_of(gpu))
    forget_the_last_gpu()
    return gpu
