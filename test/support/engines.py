"""Small real engines with a will of their own."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3l_core.engines.engine import Engine
from m3l_core.frames import ModelInput, Segmentation


class ConstantEngine:
    """Answers at once: class 1 everywhere."""

    name = "constant"
    precision = "fp32"
    device = "CPU"

    def infer(self, model_input: ModelInput, size: tuple[int, int]) -> Segmentation:
        return Segmentation(np.full(size, 1, np.uint8), np.full(size, 200, np.uint8))


class GatedEngine(ConstantEngine):
    """Takes as long over each frame set as the test wants."""

    name = "gated"

    def __init__(self) -> None:
        self.begun = 0
        self.gate = threading.Semaphore(0)

    def infer(self, model_input: ModelInput, size: tuple[int, int]) -> Segmentation:
        self.begun += 1
        if not self.gate.acquire(timeout=60):
            raise TimeoutError("the test did not open the gate")
        return super().infer(model_input, size)


class SeeingEngine(ConstantEngine):
    """Keeps what it saw last."""

    name = "seeing"
    seen: NDArray[np.float32] | None = None

    def infer(self, model_input: ModelInput, size: tuple[int, int]) -> Segmentation:
        self.seen = model_input.images.copy()
        return super().infer(model_input, size)


class FailingEngine(ConstantEngine):
    """Raises on every frame set while ``failing``."""

    name = "failing"

    def __init__(self) -> None:
        self.failing = False

    def infer(self, model_input: ModelInput, size: tuple[int, int]) -> Segmentation:
        if self.failing:
            raise RuntimeError("out of luck")
        return super().infer(model_input, size)


def loader(engine: Engine) -> Any:
    """An ``engine_loader`` for SegmentNode that gives this engine."""
    return lambda bundle, name, precision, num_threads: engine
