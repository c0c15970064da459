"""Which frame sets of a recording are kept: at some rate, and where something has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.frames import FrameSet
from m3l_core.preprocessing import metric_depth

_CELLS = (64, 48)  # across, down
_GRAY_LEVELS = 10.0
_DEPTH_SHARE = 0.05


def thinned(frame_sets: Iterable[FrameSet], rate_hz: float | None) -> Iterator[FrameSet]:
    """The frame sets nearest to the ticks of ``rate_hz``; all of them if it is None."""
    period_ns = 0 if rate_hz is None else round(1e9 / rate_hz)
    due_ns = previous_ns = None
    for frame_set in frame_sets:
        stamp_ns = frame_set.reference_frame.stamp_ns
        if due_ns is None or previous_ns is None or stamp_ns < previous_ns:  # the first one, or of a new timeline
            due_ns = previous_ns = stamp_ns
        # Whichever is nearer, this one or the next one: jitter then costs no frame.
        if stamp_ns + (stamp_ns - previous_ns) // 2 >= due_ns:
            yield frame_set
            due_ns = max(due_ns + period_ns, stamp_ns + period_ns // 2)
        previous_ns = stamp_ns


def changing(frame_sets: Iterable[FrameSet], share: float | None, skip: Callable[[], None]) -> Iterator[FrameSet]:
    """The frame sets that differ from the last one that was kept, or bring a modality that it lacked.

    Both are looked at in cells, 64 across and 48 down. A cell of color has changed if its mean gray level differs by
    more than 10 of 255, one of depth if its mean distance does by more than 5%; cells of which half has no depth do
    not count. The frame set is kept if ``share`` of the cells of any modality have changed: sensor noise changes none.

    Args:
        frame_sets: in order.
        share: 0..1; None for all.
        skip: called for every one that is not kept.
    """
    kept: dict[str, NDArray[np.float32]] = {}
    for frame_set in frame_sets:
        if share is None:
            yield frame_set
            continue
        cells = {name: _cells(name, frame.data) for name, frame in frame_set.frames.items()}
        if cells.keys() <= kept.keys() and all(_changed(name, cells[name], kept[name]) < share for name in cells):
            skip()
            continue
        kept = cells
        yield frame_set


def _cells(modality: str, image: NDArray[Any]) -> NDArray[np.float32]:
    """(48, 64): mean gray level, or mean distance [m] and NaN where half of it is invalid."""
    if modality != "depth":
        small = cv2.resize(image, _CELLS, interpolation=cv2.INTER_AREA)
        return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    distance, valid = metric_depth(image)
    total = cv2.resize(distance, _CELLS, interpolation=cv2.INTER_AREA)
    weight = cv2.resize(valid.astype(np.float32), _CELLS, interpolation=cv2.INTER_AREA)
    return np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0.5)


def _changed(modality: str, now: NDArray[np.float32], before: NDArray[np.float32]) -> float:
    """Share of the cells."""
    both = np.isfinite(now) & np.isfinite(before)
    if not both.any():
        return 0.0
    limit = _DEPTH_SHARE * before[both] if modality == "depth" else _GRAY_LEVELS
    return float(np.mean(np.abs(now[both] - before[both]) > limit))
