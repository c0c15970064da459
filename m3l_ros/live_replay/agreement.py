"""Labels of the node beside those of the same messages replayed offline."""

from __future__ import annotations

from collections import deque
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from m3l_core.bags.arrivals import Arrival
from m3l_core.frames import Frame, FrameSet
from m3l_core.replay.measures.measures import LiveMeasures
from m3l_core.segmenter import Segmenter
from m3l_core.streaming.frame_decoding import decode_frame
from m3l_core.streaming.sync_config import SyncConfig


class _Unequal(NamedTuple):
    """Labels of the node that differ."""

    at_ns: int
    stamp_ns: int
    ids: NDArray[np.uint8]


class Agreement:
    """Counts equal labels, and finds out whether unequal ones are those of other images.

    The node does not say of which images its labels are. Where a message comes a little earlier or later than it was
    recorded, a frame set may lack it, or have it where the offline one does not. So unequal labels are compared with
    those of all frame sets that could have been made of the messages near that stamp.

    Args:
        segmenter: as in the node.
        config: of the synchronizer.
        counts: where the frames are counted.
    """

    def __init__(self, segmenter: Segmenter, config: SyncConfig, counts: LiveMeasures) -> None:
        self._segmenter, self._counts = segmenter, counts
        self._interval_ns = config.approx_sync_max_interval_ns
        # Longer than a message may wait or be waited for.
        self._window_ns = 2 * (config.sensor_timeout_ns + config.sync_timeout_ns)
        self._recent: deque[Arrival] = deque()
        self._unequal: deque[_Unequal] = deque()

    def arrived(self, arrival: Arrival) -> None:
        """Take note of a message in the order of the arrivals, as it was published."""
        while self._unequal and arrival.time_ns - self._unequal[0].at_ns > self._window_ns:
            self._explain(self._unequal.popleft())
        self._recent.append(arrival)
        oldest_ns = self._unequal[0].at_ns if self._unequal else arrival.time_ns
        while oldest_ns - self._recent[0].time_ns > self._window_ns:
            self._recent.popleft()

    def compare(self, frame_set: FrameSet, live: NDArray[np.uint8], offline: NDArray[np.uint8], now_ns: int) -> None:
        """Count the labels of a frame set, which has left the offline synchronizer at ``now_ns``."""
        self._counts.compared += 1
        if np.array_equal(live, offline):
            self._counts.equal += 1
        else:
            self._unequal.append(_Unequal(now_ns, frame_set.reference_frame.stamp_ns, live))

    def finish(self) -> None:
        """To be called after the last message."""
        while self._unequal:
            self._explain(self._unequal.popleft())

    def _explain(self, unequal: _Unequal) -> None:
        names = self._segmenter.description.modality_names
        near: dict[str, dict[int, Frame | None]] = {name: {-1: None} for name in names}
        for arrival in self._recent:
            if arrival.modality in near and abs(arrival.stamp_ns - unequal.stamp_ns) <= self._interval_ns:
                frame, unreadable = decode_frame(arrival.modality, arrival.message, kind=arrival.kind)
                if unreadable is None:
                    near[arrival.modality].setdefault(frame.stamp_ns, frame)
        for chosen in product(*(frames.values() for frames in near.values())):
            frames = {frame.modality: frame for frame in chosen if frame is not None}
            if frames and np.array_equal(
                self._segmenter.segment(FrameSet(next(iter(frames)), frames)).labels, unequal.ids
            ):
                self._counts.other_images += 1
                return
