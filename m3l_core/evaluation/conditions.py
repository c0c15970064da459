"""What befalls the sensors while a model is measured, and what the network is fed then.

Three scenarios after Liao et al., "Benchmarking Multi-modal Semantic Segmentation under Sensor Failures: Missing and
Noisy Modality Robustness", arXiv 2503.18445: entire-missing (EMM), random-missing (RMM) and noisy modality (NM).
As there, all damage is done to the normalised network input: 0 is the mean color, not black, and a sigma is in
standard deviations of the color.

Legend: M modalities, H x W pixels of the network's input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from m3l_core.frames import ModelInput
from m3l_core.metrics import subset_key, subsets
from m3l_core.modalities import ColorModality, Modality
from m3l_core.preprocessing import normalize

Images = Mapping[str, NDArray[np.float32]]
"""Modality -> (3, H, W) float32, normalised; a modality that is missing is not in it."""

Missing = Literal["token", "zero", "black"]
MISSING: dict[Missing, str] = {
    "token": "learnt mask token",
    "zero": "zero tensor, said to be present",
    "black": "black image, said to be present",
}
"""How a missing modality is fed: the network is told that it is missing, or is left to find out."""


def feeding(missing: Missing, is_left_out: bool) -> str:
    """``MISSING`` in words, of a network that leaves a missing stream out, or of one that puts tokens in its place."""
    return "left out of the network" if missing == "token" and is_left_out else MISSING[missing]


Scenario = Literal["subsets", "rmm", "nm"]
SCENARIOS: tuple[Scenario, ...] = ("subsets", "rmm", "nm")
ZERO_RATES = (0.25, 0.5, 0.75)
NOISE_LEVELS = {"low": (0.05, 0.1), "mid": (0.1, 0.2), "high": (0.2, 0.5)}
"""Level -> share of values that become salt or pepper, sigma of the Gaussian noise: Low, Mid and High of the paper."""


@dataclass(frozen=True, slots=True)
class Subset:
    """EMM: only ``present`` is there."""

    present: tuple[str, ...]

    @property
    def name(self) -> str:
        return subset_key(self.present)

    def apply(self, images: Images, random: np.random.Generator) -> Images:
        return {name: image for name, image in images.items() if name in self.present}


@dataclass(frozen=True, slots=True)
class RandomMissing:
    """RMM: each value of a modality that is not ``intact`` becomes 0 with probability ``zero_rate``."""

    intact: tuple[str, ...]
    zero_rate: float

    @property
    def name(self) -> str:
        return f"rmm {self.zero_rate:g}, intact {subset_key(self.intact)}"

    def apply(self, images: Images, random: np.random.Generator) -> Images:
        return {name: image if name in self.intact else self._damaged(image, random) for name, image in images.items()}

    def _damaged(self, image: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
        return image * (random.random(image.shape, np.float32) >= self.zero_rate)


@dataclass(frozen=True, slots=True)
class Noisy:
    """NM: salt and pepper, then Gaussian noise, on the values of all modalities.

    Salt is the largest value of the modality's image, pepper the smallest, each on half of the share.
    """

    level: str

    @property
    def name(self) -> str:
        return f"nm {self.level}"

    def apply(self, images: Images, random: np.random.Generator) -> Images:
        return {name: self._damaged(image, random) for name, image in images.items()}

    def _damaged(self, image: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
        share, sigma = NOISE_LEVELS[self.level]
        chance = random.random(image.shape, np.float32)
        damaged = np.where(chance < share, np.where(chance < share / 2, image.max(), image.min()), image)
        damaged += np.float32(sigma) * random.standard_normal(image.shape, np.float32)
        return damaged


Condition = Subset | RandomMissing | Noisy


def standard_conditions(modalities: Sequence[str], scenarios: Sequence[Scenario] = SCENARIOS) -> list[Condition]:
    """Every subset of the modalities, without which no other figure says much, then what else is asked for.

    RMM hits every subset of the modalities except all at once, as EMM does; with none hit it is the full subset.
    """
    chosen = subsets(modalities)
    conditions: list[Condition] = [Subset(present) for present in chosen]
    if "rmm" in scenarios:
        conditions += [RandomMissing(intact, rate) for rate in ZERO_RATES for intact in chosen[1:]]
    if "nm" in scenarios:
        conditions += [Noisy(level) for level in NOISE_LEVELS]
    return conditions


def apply_condition(condition: Condition, images: Images, frame: str) -> Images:
    """The images under a condition.

    The noise is a function of the condition's and the frame's name, whatever else is measured, in whatever order.
    """
    return condition.apply(images, np.random.default_rng(list(f"{condition.name}: {frame}".encode())))


def nothing_present(modalities: Sequence[Modality], size: tuple[int, int], missing: Missing) -> ModelInput:
    """What the network of ``size`` (H, W) is fed where every modality is missing."""
    images = np.zeros((1, len(modalities), 3, *size), np.float32)
    if missing == "black":
        for index, modality in enumerate(modalities):
            black = np.zeros((*size, 3), np.uint8) if isinstance(modality, ColorModality) else np.zeros(size, np.uint16)
            normalize(modality, black, out=images[0, index])
    return ModelInput(images, np.full((1, len(modalities)), missing != "token"))


def model_input(images: Images, modalities: Sequence[Modality], nothing: ModelInput) -> ModelInput:
    """The images, and what ``nothing_present`` gives in place of those that are missing."""
    fed = ModelInput(nothing.images.copy(), nothing.present.copy())
    for index, modality in enumerate(modalities):
        if modality.name in images:
            fed.images[0, index] = images[modality.name]
            fed.present[0, index] = True
    return fed
