"""The few frames of a run whose labels are worst, as small pictures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.false_color import false_color
from m3l_core.frames import FrameSet
from m3l_core.labels import LabelSet
from m3l_core.modalities import Modality
from m3l_core.preprocessing import resize
from m3l_core.replay.measures.label_scores import resized

MOST = 8
_APART_NS = 1_000_000_000
_TILE_WIDTH = 200
_BLANK = 32


@dataclass(frozen=True, slots=True)
class WorstFrame:
    """A frame set with bad labels."""

    score: float
    """Share of pixels, 0..1: the lower the worse."""
    bag: str
    since_start_ns: int
    """When it left the synchronizer."""
    stamp_ns: int
    missing: tuple[str, ...]
    """Modalities that it lacks."""
    jpeg: bytes
    """Tiles side by side: a picture for each modality, the labels, and what they were compared with."""


class WorstFrames:
    """Keeps at most ``MOST`` frames of a run, a second or more apart: neighbours look alike."""

    def __init__(self) -> None:
        self.frames: list[WorstFrame] = []

    def wants(self, score: float, since_start_ns: int) -> bool:
        """Whether a frame is bad enough."""
        near = self._near(since_start_ns)
        rivals = near or (self.frames if len(self.frames) == MOST else [])
        return score < 1 and (not rivals or score < (min if near else max)(frame.score for frame in rivals))

    def add(self, frame: WorstFrame) -> None:
        """Keep a frame that is wanted, in place of what it beats."""
        near = self._near(frame.since_start_ns)
        self.frames = worst_of([frame, *(kept for kept in self.frames if kept not in near)])

    def _near(self, since_start_ns: int) -> list[WorstFrame]:
        return [frame for frame in self.frames if abs(frame.since_start_ns - since_start_ns) < _APART_NS]


def worst_of(frames: Iterable[WorstFrame]) -> list[WorstFrame]:
    """The worst first, at most ``MOST``."""
    return sorted(frames, key=lambda frame: (frame.score, frame.bag, frame.since_start_ns))[:MOST]


def draw(
    frame_set: FrameSet,
    modalities: Iterable[Modality],
    classes: LabelSet,
    ids: NDArray[np.uint8],
    reference: NDArray[np.uint8],
) -> bytes:
    """A frame set, its labels and what they are compared with, as jpeg."""
    height, width = ids.shape
    size = (max(1, round(height * _TILE_WIDTH / width)), _TILE_WIDTH)
    tiles = []
    for modality in modalities:
        if (frame := frame_set.frames.get(modality.name)) is None:
            tiles.append(np.full((*size, 3), _BLANK, np.uint8))
        else:
            tiles.append(false_color(modality, resize(modality, frame.data, size)))
    tiles += [classes.colorize(resized(image, size)) for image in (ids, reference)]
    picture = cv2.cvtColor(np.hstack(tiles), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, 80))[1].tobytes()
