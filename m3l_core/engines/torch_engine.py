"""The network in torch, eager: the reference that other engines are held to. Importable without torch."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from m3l_core.bundle import ModelBundle
from m3l_core.errors import BundleError, EngineError, require
from m3l_core.frames import ModelInput, Segmentation

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from m3l_core.model.network import LinearFusionSegFormer

PRECISIONS = ("fp32", "bf16")

# All of torch runs in this one thread. Each thread that calls torch gets OpenMP threads of its own, and with more of
# those than processors OpenMP lets them sleep between the layers: two thirds more time for every frame.
_torch_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="torch engine")


def load(bundle: ModelBundle, precision: str = "auto", num_threads: int = 0) -> TorchEngine:
    """Load a bundle into torch, on the GPU if there is one.

    ``auto`` runs each precision a few times and keeps the faster: only some processors compute in bfloat16.

    Raises:
        MissingPackageError: torch is not installed.
        EngineError: unknown precision.
        BundleError: the weights are not those of the network.
    """
    require("torch", "train")
    if precision != "auto" and precision not in PRECISIONS:
        raise EngineError(f"the torch engine has no precision '{precision}', expected auto, {', '.join(PRECISIONS)}")
    return _torch_thread.submit(_load, bundle, precision, num_threads).result()


def _load(bundle: ModelBundle, precision: str, num_threads: int) -> TorchEngine:
    import torch

    if num_threads > 0:
        torch.set_num_threads(num_threads)
    if precision != "auto":
        return TorchEngine(bundle, precision)
    return min((TorchEngine(bundle, candidate) for candidate in PRECISIONS), key=_seconds_per_frame)


def load_network(bundle: ModelBundle) -> LinearFusionSegFormer:
    """The bundle's network with its weights, float32, in eval mode.

    Raises:
        BundleError: a weight is missing, unknown, or of another shape.
    """
    import torch

    from m3l_core.model.network import LinearFusionSegFormer

    network = LinearFusionSegFormer(bundle.description.network).eval()
    weights = {name: torch.from_numpy(value) for name, value in bundle.read_weights().items()}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise BundleError(f"{bundle.folder}: weights and model.yaml do not fit: {error}") from error
    return network


class TorchEngine:
    """Runs a bundle in torch."""

    name = "torch"

    def __init__(self, bundle: ModelBundle, precision: str) -> None:
        import torch

        self.precision = precision
        self.input_size = bundle.description.input_size
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        network = load_network(bundle).requires_grad_(False)
        self._network = network.to(self._device, self._dtype)

    def infer(self, model_input: ModelInput, size: tuple[int, int]) -> Segmentation:
        """Labels and confidence of (H, W) = ``size`` pixels.

        Confidence is the winner's probability on the network's own grid, 1/4 of the input, scaled up.

        Raises:
            EngineError: the input is not of the bundle's modalities.
        """
        expected = (1, self._network.config.num_modalities, 3, *self.input_size)
        if model_input.images.shape != expected:
            raise EngineError(f"expected images of shape {expected}, got {model_input.images.shape}")
        return _torch_thread.submit(self._infer, model_input, size).result()

    def _infer(self, model_input: ModelInput, size: tuple[int, int]) -> Segmentation:
        import torch

        with torch.inference_mode():
            images = torch.from_numpy(model_input.images).to(self._device, self._dtype)
            present = torch.from_numpy(model_input.present).to(self._device)
            logits = self._network.ensemble(self._network(images, present), present).float()
            return self._segmentation(logits, size)

    @staticmethod
    def _segmentation(logits: Tensor, size: tuple[int, int]) -> Segmentation:
        from m3l_core.model.network import upsample, winning_classes

        labels = winning_classes(logits, size)[0]
        probability = logits.softmax(dim=1).amax(dim=1, keepdim=True)
        confidence = (upsample(probability, size)[0, 0] * 255).round()
        return Segmentation(_to_uint8(labels), _to_uint8(confidence))


def _to_uint8(image: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    import torch

    array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = image.to(torch.uint8).cpu().numpy()
    return array


def _seconds_per_frame(engine: TorchEngine) -> float:
    modalities = engine._network.config.num_modalities
    size = engine.input_size
    model_input = ModelInput(np.zeros((1, modalities, 3, *size), np.float32), np.ones((1, modalities), np.bool_))
    seconds = []
    for _ in range(4):
        started = time.perf_counter()
        engine._infer(model_input, size)
        seconds.append(time.perf_counter() - started)
    return median(seconds[1:])  # the first run allocates
