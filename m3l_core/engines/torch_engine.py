"""The network in torch, eager: the reference that other engines are held to. Importable without torch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from textwrap import shorten
from typing import TYPE_CHECKING

import numpy as np

from m3l_core.bundle import ModelBundle
from m3l_core.engines.engine import check_input, check_precision, seconds_per_frame
from m3l_core.errors import BundleError, require
from m3l_core.frames import ModelInput, Segmentation

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from m3l_core.model.network import LinearFusionSegFormer

PRECISIONS = ("fp32", "bf16")
_LONGEST_LIST = 300

# All of torch runs in this one thread. Each thread that calls torch gets OpenMP threads of its own, and with more of
# those than processors OpenMP lets them sleep between the layers: two thirds more time for every frame.
_torch_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="torch engine")


def load(
    bundle: ModelBundle, precision: str = "auto", num_threads: int = 0, compiled: bool = False, device: str = "auto"
) -> TorchEngine:
    """Load a bundle into torch; a ``device`` that is ``auto`` is the GPU if there is one.

    ``auto`` runs each precision a few times and keeps the faster: only some processors compute in bfloat16.

    Raises:
        MissingPackageError: torch is not installed.
        EngineError: unknown precision.
        BundleError: the weights are not those of the network.
    """
    torch = require("torch", "train")
    check_precision(TorchEngine.name, precision, PRECISIONS)
    if num_threads > 0:
        _torch_thread.submit(torch.set_num_threads, num_threads).result()
    candidates = PRECISIONS if precision == "auto" else (precision,)
    engines = [
        _torch_thread.submit(TorchEngine, bundle, candidate, compiled, device).result() for candidate in candidates
    ]
    if len(engines) == 1:
        return engines[0]
    return min(engines, key=lambda engine: seconds_per_frame(engine, bundle.description))


def load_compiled(bundle: ModelBundle, precision: str = "auto", num_threads: int = 0) -> TorchEngine:
    """The same through ``torch.compile``: the first frame takes about a minute and needs a C++ compiler."""
    return load(bundle, precision, num_threads, compiled=True)


def load_network(bundle: ModelBundle) -> LinearFusionSegFormer:
    """The bundle's network with its weights, float32, in eval mode.

    Raises:
        BundleError: a weight is missing, unknown, or of another shape.
    """
    import torch

    from m3l_core.model.network import LinearFusionSegFormer

    with torch.device("meta"):  # takes no memory: model.yaml may describe any network
        described = LinearFusionSegFormer(bundle.description.network).state_dict()
    expected = {name: tuple(each.shape) for name, each in described.items() if not name.endswith("num_batches_tracked")}
    if wrong := sorted({name for name, _ in expected.items() ^ bundle.shapes().items()}):
        names = shorten(", ".join(wrong), _LONGEST_LIST, placeholder="...")
        raise BundleError(
            f"{bundle.folder}: weights and model.yaml do not fit: {len(wrong)} are missing, unknown or of "
            f"another shape, {names}"
        )
    network = LinearFusionSegFormer(bundle.description.network).eval()
    network.load_state_dict({name: torch.from_numpy(value) for name, value in bundle.read_weights().items()})
    return network


class TorchEngine:
    """Runs a bundle in torch."""

    name = "torch"

    def __init__(self, bundle: ModelBundle, precision: str, compiled: bool = False, device: str = "auto") -> None:
        import torch

        from m3l_core.model.calibration import temperature_table

        self.precision = precision
        self._description = bundle.description
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._device = torch.device(device)
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.device = self._device.type.upper()
        self._network = load_network(bundle).requires_grad_(False).to(self._device, self._dtype)
        self._temperatures = temperature_table(bundle.description.temperatures, bundle.description.modality_names)
        self._logits = torch.compile(self._ensemble) if compiled else self._ensemble

    def infer(self, model_input: ModelInput, size: tuple[int, int]) -> Segmentation:
        """Labels and confidence of (H, W) = ``size`` pixels.

        Confidence is the winner's probability on the network's own grid, 1/4 of the input, scaled up.

        Raises:
            EngineError: the input is not of the bundle's modalities.
        """
        check_input(model_input, self._description)
        return _torch_thread.submit(self._infer, model_input, size).result()

    def _infer(self, model_input: ModelInput, size: tuple[int, int]) -> Segmentation:
        import torch

        from m3l_core.model.calibration import calibrated

        # By default a GPU rounds what goes into a convolution to 10 bits.
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            images = torch.from_numpy(model_input.images).to(self._device, self._dtype)
            present = torch.from_numpy(model_input.present).to(self._device)
            logits = calibrated(self._logits(images, present).float(), present, self._temperatures)
            return self._segmentation(logits, size)

    def _ensemble(self, images: Tensor, present: Tensor) -> Tensor:
        return self._network.ensemble(self._network(images, present), present)

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
