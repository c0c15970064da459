"""What the synchronizer knows about one modality: its waiting frames, its rhythm, its state, its accounts."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from m3l_core.frames import Frame
from m3l_core.streaming.sync_config import SyncConfig

NEVER_NS = 1 << 63
"""Later than any clock."""


class ModalityState(Enum):
    OK = "OK"
    STALE = "STALE"
    """Late beyond its own measured period: by two of them, so that one lost frame is no news."""
    LOST = "LOST"
    """Nothing healthy for ``sensor_timeout``."""


class Drop(Enum):
    """Why a frame is in no frame set."""

    LATE = "late"
    """Its place in the order had passed when it arrived."""
    SUPERSEDED = "superseded"
    """It waited, and another frame of its modality was nearer."""
    DUPLICATE = "duplicate"
    """Its modality already had a frame of this stamp."""
    OVERFLOW = "overflow"
    """The queue was full."""
    UNHEALTHY = "unhealthy"
    """It carries nothing worth using."""
    RESET = "reset"
    """It waited when the stamps jumped."""


@dataclass(frozen=True, slots=True)
class SyncEvent:
    """Something that a user wants to read once: a changed state, a reset, clocks that disagree."""

    text: str
    modality: str | None = None
    state: ModalityState | None = None
    """The new state, where the event is a change of state."""


class Waiting(NamedTuple):
    """A frame in a queue; ordered by its corrected stamp."""

    stamp_ns: int
    arrival_ns: int
    frame: Frame
    worthless: str = ""
    """Why it is in no set itself, and only holds the place of one for the others; its arrival is accounted for."""


@dataclass(frozen=True, slots=True)
class ModalityReport:
    """A copy of what is known about a modality at one moment."""

    state: ModalityState
    age_ns: int | None
    """Since the last healthy frame arrived; None before the first."""
    period_ns: int | None
    """Median distance of stamps; None until measured."""
    received: int
    in_complete_sets: int
    in_partial_sets: int
    dropped: dict[str, int]
    """Reason -> frames."""
    waiting: int
    reused: int
    """Times that a frame served a further set."""
    last_reason: str
    """Why the last unhealthy frame was refused."""


class ModalityStream:
    """Queue, rhythm, state and accounts of one modality. Not thread safe: the synchronizer guards it."""

    def __init__(self, name: str, config: SyncConfig) -> None:
        self.name = name
        self.offset_ns = config.stamp_offsets_ns.get(name, 0)
        self.sensor_timeout_ns = config.sensor_timeout_ns
        self.max_interval_ns = config.approx_sync_max_interval_ns
        self.reuse_interval_ns = config.reuse_interval_ns
        self.queue: list[Waiting] = []
        self.last_used: Waiting | None = None
        self.newest_stamp_ns: int | None = None
        self.skew_ns: int | None = None
        """Stamp minus arrival, smoothed: compared between modalities it tells whether their clocks agree."""
        self.healthy_since_ns = 0
        """Arrival of the last healthy frame, or when the synchronizer started."""
        self.seen = False
        self.period_ns: int | None = None
        self.last_reason = ""
        self.unhealthy_stamp_ns: int | None = None
        """Stamp of the last frame if it was unhealthy."""
        self.late_since_ns: int | None = None
        """Arrival of the first of its latest frames that all came too late to lead a set."""
        self.state = ModalityState.STALE
        self.lost = False
        """Whether ``state`` is LOST: asked several times a frame, where looking up the Enum would show."""
        self.received = 0
        self.in_sets = [0, 0]
        """Frames in partial sets, frames in complete sets."""
        self.reused = 0
        self.dropped: Counter[Drop] = Counter()
        self._distances: deque[int] = deque(maxlen=9)

    def observe(self, stamp_ns: int, now_ns: int) -> None:
        """Take note of a healthy frame's arrival."""
        newest = self.newest_stamp_ns
        if newest is None or stamp_ns > newest:
            if newest is not None:
                self._distances.append(stamp_ns - newest)
                if len(self._distances) >= 3:
                    # The median: lost frames double a few distances, they do not change the rhythm.
                    self.period_ns = sorted(self._distances)[len(self._distances) // 2]
            self.newest_stamp_ns = stamp_ns
        skew = stamp_ns - now_ns
        # Smoothed: one late arrival is no other clock.
        self.skew_ns = skew if self.skew_ns is None else self.skew_ns + (skew - self.skew_ns) // 8
        self.healthy_since_ns = now_ns
        self.seen = True
        self.unhealthy_stamp_ns = None

    def reconfigure(self, config: SyncConfig) -> None:
        """Other waits and windows; the offset stays, as frames that wait carry it."""
        self.sensor_timeout_ns = config.sensor_timeout_ns
        self.max_interval_ns = config.approx_sync_max_interval_ns
        self.reuse_interval_ns = config.reuse_interval_ns

    @property
    def is_unhealthy(self) -> bool:
        return self.unhealthy_stamp_ns is not None

    def state_at(self, now_ns: int) -> ModalityState:
        age = now_ns - self.healthy_since_ns
        if age >= self.sensor_timeout_ns:
            return ModalityState.LOST
        if not self.seen or (self.period_ns is not None and age > 3 * self.period_ns):
            return ModalityState.STALE
        return ModalityState.OK

    def next_change_ns(self) -> int:
        """When the state will change if nothing arrives."""
        if self.lost:
            return NEVER_NS
        age = self.sensor_timeout_ns
        if self.period_ns is not None and self.state is ModalityState.OK:
            age = min(age, 3 * self.period_ns + 1)
        return self.healthy_since_ns + age

    def drop(self, reason: Drop, number: int = 1) -> None:
        self.dropped[reason] += number

    def holds(self, stamp_ns: int) -> bool:
        """Whether a frame of this stamp waits here or was the last one used."""
        if self.last_used is not None and self.last_used.stamp_ns == stamp_ns:
            return True
        index = bisect_left(self.queue, (stamp_ns,))
        if index == len(self.queue) or self.queue[index].stamp_ns != stamp_ns:
            return False
        return not self.queue[index].worthless

    def insert(self, waiting: Waiting) -> None:
        """Put it in its place, or in that of a worthless one of its stamp."""
        queue = self.queue
        if not queue or waiting.stamp_ns > queue[-1].stamp_ns:
            queue.append(waiting)
            return
        index = bisect_left(queue, (waiting.stamp_ns,))
        taken = queue[index].stamp_ns == waiting.stamp_ns
        queue[index : index + taken] = [waiting]

    def nearest(self, stamp_ns: int) -> int:
        """Index of the waiting frame nearest to ``stamp_ns``, the older of two equally near; one must wait."""
        queue = self.queue
        right = bisect_left(queue, (stamp_ns,))
        if right == 0:
            return 0
        if right == len(queue) or stamp_ns - queue[right - 1].stamp_ns <= queue[right].stamp_ns - stamp_ns:
            return right - 1
        return right

    def candidate(self, stamp_ns: int, following_ns: int | None) -> Waiting | None:
        """The frame nearest to a reference stamp, unless it is nearer to the reference stamp that follows."""
        best: Waiting | None = None
        queue = self.queue
        if queue and queue[0].stamp_ns - stamp_ns <= self.max_interval_ns:
            index = self.nearest(stamp_ns)
            best = queue[index]
            if following_ns is not None and abs(best.stamp_ns - following_ns) < best.stamp_ns - stamp_ns:
                best = queue[index - 1] if index > 0 else None
            if best is not None and (best.worthless or abs(best.stamp_ns - stamp_ns) > self.max_interval_ns):
                best = None
        used = self.last_used
        if not self.reuse_interval_ns or used is None or abs(used.stamp_ns - stamp_ns) > self.reuse_interval_ns:
            return best
        return used if best is None or abs(used.stamp_ns - stamp_ns) < abs(best.stamp_ns - stamp_ns) else best

    def is_settled(self, stamp_ns: int, following_ns: int | None) -> bool:
        """Whether the best frame for a reference stamp is here and the next arrival will not clearly better it."""
        best = self.candidate(stamp_ns, following_ns)
        if best is None:
            return False
        if self.period_ns is None or best.stamp_ns >= stamp_ns or best.stamp_ns != self.newest_stamp_ns:
            return True
        # Clearly: by a quarter of a period, or jitter would decide. One at a distance d is followed by one at
        # period - d, so that it is bettered by 2 d - period.
        return 2 * (stamp_ns - best.stamp_ns) - self.period_ns <= self.period_ns // 4

    def take(self, chosen: Waiting) -> None:
        """Use a waiting frame; the older ones are passed over."""
        self.drop_before(chosen.stamp_ns, Drop.SUPERSEDED)
        self.last_used = self.queue.pop(0)

    def drop_oldest(self, reason: Drop, number: int = 1) -> None:
        self.drop(reason, sum(not entry.worthless for entry in self.queue[:number]))
        del self.queue[:number]

    def drop_before(self, stamp_ns: int, reason: Drop) -> None:
        """Drop the waiting frames older than ``stamp_ns``."""
        count = bisect_left(self.queue, (stamp_ns,))
        if count:
            self.drop_oldest(reason, count)

    def forget(self, now_ns: int) -> None:
        """Empty the queue and unlearn stamps; a new timeline begins. The age of the sensor is not forgotten."""
        self.drop_oldest(Drop.RESET, len(self.queue))
        self._distances.clear()
        self.last_used = self.newest_stamp_ns = self.skew_ns = self.unhealthy_stamp_ns = self.late_since_ns = None
        self.healthy_since_ns = min(self.healthy_since_ns, now_ns)

    def report(self, now_ns: int) -> ModalityReport:
        return ModalityReport(
            state=self.state_at(now_ns),
            age_ns=now_ns - self.healthy_since_ns if self.seen else None,
            period_ns=self.period_ns,
            received=self.received,
            in_complete_sets=self.in_sets[True],
            in_partial_sets=self.in_sets[False],
            dropped={reason.value: number for reason, number in self.dropped.items() if number},
            waiting=sum(not entry.worthless for entry in self.queue),
            reused=self.reused,
            last_reason=self.last_reason,
        )
