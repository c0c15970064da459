"""The values that travel from the sensors to the published labels.

Legend: M modalities, H x W pixels, stamps in integer nanoseconds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

ImageKind = Literal["color", "depth", "height", "intensity"]
"""What an image holds, as `Frame.data` says."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of one modality.

    For the segmenter ``data`` is an array; the synchronizer never looks at it, so any message fits there.
    """

    modality: str
    stamp_ns: int
    """Stamp of the message header, as the driver set it."""
    data: Any
    """color: (H, W, 3) uint8 RGB. depth: (H, W) uint16 millimetres, 0 = invalid, or
    (H, W) float32 metres, NaN, Inf and <= 0 invalid (REP 118, REP 117). height: the same, any finite metre is valid.
    intensity: (H, W) uint8 or uint16."""
    frame_id: str = ""
    """Coordinate frame of the message header."""
    encoding: str = ""
    """Encoding of the message the data came from; health checks notice when it changes."""


@dataclass(frozen=True, slots=True)
class FrameSet:
    """Frames of one instant, led by the reference frame."""

    reference: str
    frames: Mapping[str, Frame]
    missing: Mapping[str, str] = field(default_factory=dict)
    """Modality -> why it is not in ``frames``."""

    @property
    def reference_frame(self) -> Frame:
        return self.frames[self.reference]

    @property
    def complete(self) -> bool:
        return not self.missing


@dataclass(frozen=True, slots=True)
class ModelInput:
    """What an engine takes."""

    images: NDArray[np.float32]
    """(1, M, 3, H, W) float32, normalised; zeros where a modality is not present."""
    present: NDArray[np.bool_]
    """(1, M) bool."""

    def with_only(self, subset: Collection[str], modalities: Sequence[str]) -> ModelInput:
        """The same images, with the modalities of ``subset`` present alone; ``modalities`` names all M in order."""
        return ModelInput(self.images, np.array([[name in subset for name in modalities]]))

    def of_streams(self, streams: Sequence[int]) -> ModelInput:
        """The images of some of the modalities alone, given by their places."""
        chosen = list(streams)
        return ModelInput(self.images[:, chosen], self.present[:, chosen])


@dataclass(frozen=True, slots=True)
class Segmentation:
    """Labels of one frame set, at the size of its reference frame unless another was asked for."""

    labels: NDArray[np.uint8]
    """(H, W) uint8 class ids, 255 = unlabelled."""
    confidence: NDArray[np.uint8]
    """(H, W) uint8, probability of the winning class, 0..255."""
