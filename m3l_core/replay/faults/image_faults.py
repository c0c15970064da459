"""Faults of the images themselves, once they are decoded.

All damage is done to the sensor's image, not to the normalised network input as in `evaluation.conditions`: a value of
0 is black, and the color image that a robot would see stays one of 8 bits.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from m3l_core.bags.arrivals import Arrival
from m3l_core.modalities import ColorModality, DepthModality
from m3l_core.preprocessing import metric_depth, resize
from m3l_core.replay.faults.fault import Share, SingleMessageFault

_HOLE_CELLS = (12, 16)
"""Holes are blobs of about this share of the image's height and width, as dark or shiny things cause them."""


class ImageFault(SingleMessageFault):
    """Damages each image it strikes."""

    def _instead(self, arrival: Arrival, seed: np.random.SeedSequence) -> Iterable[Arrival]:
        return (replace(arrival, edits=(*arrival.edits, partial(self._edit, seed=seed))),)

    def _edit(self, image: NDArray[Any], seed: np.random.SeedSequence) -> NDArray[Any]:
        # A generator for each call: a message may be edited twice, in two threads.
        return self._damaged(image, np.random.default_rng(seed)) if image.size else image

    @abstractmethod
    def _damaged(self, image: NDArray[Any], random: np.random.Generator) -> NDArray[Any]:
        """What becomes of the image, as `Edit` says; it has at least one pixel."""


class Exposure(ImageFault):
    """The color image is black, as behind a lens cap, or saturated, as against the sun."""

    kind: Literal["black", "saturated"]
    modality: Literal["color"] = "color"

    def _damaged(self, image: NDArray[Any], random: np.random.Generator) -> NDArray[Any]:
        return np.full_like(image, 0 if self.kind == "black" else 255)


class DepthHoles(ImageFault):
    """Parts of the depth image without a measurement."""

    kind: Literal["depth_holes"]
    modality: Literal["depth"] = "depth"
    share: Share
    """Of the pixels, exactly, whether they were valid or not."""

    def _damaged(self, image: NDArray[Any], random: np.random.Generator) -> NDArray[Any]:
        damaged = image.copy()
        count = round(self.share * image.size)
        if count:
            field = cv2.resize(random.random(_HOLE_CELLS, np.float32), image.shape[::-1]).ravel()
            damaged.reshape(-1)[np.argpartition(field, count - 1)[:count]] = _no_measurement(image)
        return damaged


class DepthNoise(ImageFault):
    """Gaussian noise on the valid depth."""

    kind: Literal["depth_noise"]
    modality: Literal["depth"] = "depth"
    sigma: Share
    """Standard deviation, relative to the depth."""

    def _damaged(self, image: NDArray[Any], random: np.random.Generator) -> NDArray[Any]:
        noise = random.standard_normal(image.shape, np.float32) * np.float32(self.sigma)
        _, valid = metric_depth(image)
        damaged = image.copy()
        damaged[valid] = _as_kind(image[valid] * (1 + noise[valid]), image)
        return damaged


class Resolution(ImageFault):
    """The images become smaller or larger, as where a driver falls back to another mode."""

    kind: Literal["resolution"]
    scale: Annotated[float, Field(ge=0.01, le=4)]
    """Of the height and the width."""

    def _damaged(self, image: NDArray[Any], random: np.random.Generator) -> NDArray[Any]:
        height, width = (max(1, round(self.scale * side)) for side in image.shape[:2])
        return resize(ColorModality() if image.ndim == 3 else DepthModality(), image, (height, width))


class RandomMissing(ImageFault):
    """RMM (arXiv 2503.18445): each value becomes 0 with a probability, each channel of a color image for itself.

    A depth of 0 is no measurement.
    """

    kind: Literal["random_missing"]
    zero_rate: Share

    def _damaged(self, image: NDArray[Any], random: np.random.Generator) -> NDArray[Any]:
        return np.where(random.random(image.shape, np.float32) < self.zero_rate, image.dtype.type(0), image)


class Noisy(ImageFault):
    """NM (arXiv 2503.18445): salt and pepper, then Gaussian noise, on each value.

    Salt is the largest valid value of the image, pepper the smallest, each on half of the share, and on pixels without
    depth too. Gaussian noise leaves those alone; it is in standard deviations of the image's own valid values.
    """

    kind: Literal["noisy"]
    salt_pepper: Share
    sigma: Annotated[float, Field(ge=0, le=10)]

    def _damaged(self, image: NDArray[Any], random: np.random.Generator) -> NDArray[Any]:
        valid = None if image.ndim == 3 else metric_depth(image)[1]
        values = image if valid is None else image[valid]
        if not values.size:
            return image
        chance = random.random(image.shape, np.float32)
        hit = chance < self.salt_pepper
        extremes = np.where(chance < self.salt_pepper / 2, values.max(), values.min())
        damaged = np.where(hit, extremes, image).astype(np.float32, copy=False)
        noise = random.standard_normal(image.shape, np.float32)
        noise *= np.float32(self.sigma * values.std(dtype=np.float64))
        if valid is not None:
            noise[~(valid | hit)] = 0
        damaged += noise
        return _as_kind(damaged, image)


def _no_measurement(depth: NDArray[Any]) -> float:
    return np.nan if depth.dtype == np.float32 else 0


def _as_kind(values: NDArray[Any], image: NDArray[Any]) -> NDArray[Any]:
    """Fresh values (overwritten) as the image's type; a depth of uint16 [mm] below 0 becomes 0, no measurement."""
    if image.dtype == np.float32:
        return values.astype(np.float32, copy=False)
    np.rint(values, out=values)
    np.clip(values, 0, np.iinfo(image.dtype).max, out=values)
    return values.astype(image.dtype)
