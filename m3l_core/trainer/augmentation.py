"""The geometry of a training sample: one random view for every image, the label and their validity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.labels import IGNORE
from m3l_core.modalities import HeightModality, Modality
from m3l_core.preprocessing import resize


def no_measurement(modality: Modality, image: NDArray[Any]) -> float:
    """What stands in an image where nothing was measured: 0, or NaN in heights in metres, where 0 is one of them."""
    return np.nan if isinstance(modality, HeightModality) and image.dtype == np.float32 else 0


@dataclass(frozen=True, slots=True)
class View:
    """Scale an instant, cut or pad it to ``crop``, and perhaps mirror it."""

    size: tuple[int, int]
    """(H, W) that the whole image is scaled to."""
    top: int
    left: int
    crop: tuple[int, int]
    """(H, W) of what is cut out of it."""
    mirrored: bool

    @classmethod
    def draw(
        cls,
        source: tuple[int, int],
        crop: tuple[int, int],
        scale: tuple[float, float],
        flip: float,
        random: np.random.Generator,
    ) -> View:
        """Draw a view of images of (H, W) = ``source``; ``scale`` is a range, ``flip`` a probability."""
        factor = random.uniform(*scale)
        size = (max(1, round(source[0] * factor)), max(1, round(source[1] * factor)))
        top = int(random.integers(0, max(0, size[0] - crop[0]) + 1))
        left = int(random.integers(0, max(0, size[1] - crop[1]) + 1))
        return cls(size, top, left, crop, bool(random.random() < flip))

    def of_image(self, modality: Modality, image: NDArray[Any]) -> NDArray[Any]:
        """What lies outside the image is black, or not measured."""
        return self._cut(resize(modality, image, self.size), no_measurement(modality, image))

    def of_channels(self, channels: NDArray[np.float32]) -> NDArray[np.float32]:
        """The same of network input (3, H, W) that was made of the whole image; 0 outside it."""
        pixels = np.ascontiguousarray(channels.transpose(1, 2, 0))
        scaled = cv2.resize(pixels, self.size[::-1], interpolation=cv2.INTER_NEAREST)
        return np.ascontiguousarray(self._cut(scaled, 0.0).transpose(2, 0, 1))

    def of_label(self, label: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What lies outside the image is 255."""
        return self._cut(cv2.resize(label, self.size[::-1], interpolation=cv2.INTER_NEAREST), IGNORE)

    def inside(self) -> NDArray[np.bool_]:
        """(H, W) of the crop, True where it shows the image."""
        return self._cut(np.ones(self.size, np.bool_), False)

    def _cut(self, image: NDArray[Any], outside: float) -> NDArray[Any]:
        cut = image[self.top : self.top + self.crop[0], self.left : self.left + self.crop[1]]
        padding = [(0, self.crop[0] - cut.shape[0]), (0, self.crop[1] - cut.shape[1]), (0, 0)][: cut.ndim]
        padded = np.pad(cut, padding, constant_values=outside)
        return np.ascontiguousarray(padded[:, ::-1] if self.mirrored else padded)
