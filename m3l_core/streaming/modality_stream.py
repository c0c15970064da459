"""What the synchronizer knows about one modality: its waiting frames, its rhythm, its state, its accounts."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import NamedTuple

from m3l_core.frames import Frame
from m3l_core.streaming.modality_report import Drop, ModalityReport, ModalityState, SyncEvent
from m3l_core.streaming.rhythm import Rhythm
from m3l_core.streaming.state_telling import StateTelling
from m3l_core.streaming.sync_config import SyncConfig

NEVER_NS = 1 << 63
"""Later than any clock."""


class Waiting(NamedTuple):
    """A frame in a queue; ordered by its corrected stamp."""

    stamp_ns: int
    arrival_ns: int
    frame: Frame
    worthless: str = ""
    """Why it is in no set itself, and only holds the place of one for the others; its arrival is accounted for."""


class ModalityStream:
    """Queue, rhythm, state and accounts of one modality. Not thread safe: the synchronizer guards it."""

    def __init__(self, name: str, config: SyncConfig) -> None:
        self.name = name
        self.offset_ns = config.stamp_offsets_ns.get(name, 0)
        self.max_interval_ns = config.approx_sync_max_interval_ns
        self.reuse_interval_ns = config.reuse_interval_ns
        self.rhythm = Rhythm(config.reset_interval_ns, config.sync_timeout_ns)
        self.queue: list[Waiting] = []
        self.last_used: Waiting | None = None
        self.healthy_since_ns = 0
        """Arrival of the last healthy frame, or when the synchronizer started."""
        self.seen = False
        self.last_reason = ""
        self.unhealthy_stamp_ns: int | None = None
        """Stamp of the last frame if it was unhealthy."""
        self.late_since_ns: int | None = None
        """Arrival of the first of its latest frames that all came too late to lead a set."""
        self.state = ModalityState.STALE
        self.lost = False
        """Whether ``state`` is LOST: asked several times a frame, where looking up the Enum would show."""
        self.telling = StateTelling()
        self.mismatch = ""
        """Why its frames have been in no set for a while though they come, and what to do about it."""
        self.matched_ns = 0
        """When a frame of it was in a set last, or was missing for a reason of its own."""
        self.received = 0
        self.in_sets = [0, 0]
        """Frames in partial sets, frames in complete sets."""
        self.reused = 0
        self.dropped: Counter[Drop] = Counter()
        self._sensor_timeout_ns = config.sensor_timeout_ns
        self._ok_from_ns = NEVER_NS
        self._stale_at_ns = self._lost_at_ns = config.sensor_timeout_ns

    def start(self, now_ns: int) -> None:
        """The clock begins."""
        self.healthy_since_ns = self.matched_ns = now_ns
        self._expect_next()

    def observe(self, stamp_ns: int, now_ns: int) -> None:
        """Take note of a healthy frame's arrival."""
        if self.lost or not self.seen:
            self.matched_ns = now_ns
            self.seen = True
        self.rhythm.observe(stamp_ns, now_ns)
        self.healthy_since_ns = now_ns
        self.unhealthy_stamp_ns = None
        self._expect_next()

    def _expect_next(self) -> None:
        since, rhythm = self.healthy_since_ns, self.rhythm
        self._lost_at_ns = self._stale_at_ns = since + self._sensor_timeout_ns
        if rhythm.pace_ns is not None:
            overdue = since + 3 * rhythm.pace_ns
            if overdue < self._lost_at_ns:
                self._stale_at_ns = overdue + 1
            else:
                self._lost_at_ns = self._stale_at_ns = overdue
        if self.seen:
            self._ok_from_ns = rhythm.disputed_until_ns

    def reconfigure(self, config: SyncConfig) -> None:
        """Other waits and windows; the offset stays, as frames that wait carry it."""
        self._sensor_timeout_ns = config.sensor_timeout_ns
        self.max_interval_ns = config.approx_sync_max_interval_ns
        self.reuse_interval_ns = config.reuse_interval_ns
        self.rhythm.reconfigure(config.reset_interval_ns, config.sync_timeout_ns)
        self._expect_next()

    @property
    def is_unhealthy(self) -> bool:
        return self.unhealthy_stamp_ns is not None

    def state_at(self, now_ns: int) -> ModalityState:
        if self._ok_from_ns <= now_ns < self._stale_at_ns:
            return ModalityState.OK
        return ModalityState.STALE if now_ns < self._lost_at_ns else ModalityState.LOST

    def next_change_ns(self, now_ns: int) -> int:
        """When the state will change, or be worth telling, if nothing arrives."""
        if self.state is ModalityState.OK:
            soonest = self._stale_at_ns
        elif self.lost:
            soonest = NEVER_NS
        elif now_ns < self._ok_from_ns:
            soonest = min(self._ok_from_ns, self._lost_at_ns)
        else:
            soonest = self._lost_at_ns
        return min(soonest, self.telling.due_ns(self.lost)) if self.telling.untold else soonest

    def become(self, state: ModalityState) -> None:
        """Change the state."""
        self.state, self.lost = state, state is ModalityState.LOST
        self.telling.untold += 1
        if self.lost:
            self.late_since_ns = None

    def told(self, now_ns: int) -> SyncEvent:
        """The line that tells the state, which is due."""
        why = self.last_reason if self.is_unhealthy and self.lost else self._dispute(now_ns)
        more = self.telling.tell(self.lost, now_ns)
        return SyncEvent(f"{self.name} is {self.state.value}{why and ': '}{why}{more}", self.name, self.state)

    def _dispute(self, now_ns: int) -> str:
        if self.lost and self.rhythm.is_leaping:
            return "its stamps leap, and none goes on from another. Does its driver stamp by a clock?"
        if now_ns >= self.rhythm.disputed_until_ns:
            return ""
        gap_s = self.rhythm.gap_ns / 1e9
        return f"its stamps leap by {gap_s:.2f} s to and fro. Do two publish on its topic, such as a driver and a bag?"

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
        period = self.rhythm.period_ns
        if period is None or best.stamp_ns >= stamp_ns or best.stamp_ns != self.rhythm.newest_stamp_ns:
            return True
        # Clearly: by a quarter of a period, or jitter would decide. One at a distance d is followed by one at
        # period - d, so that it is bettered by 2 d - period.
        return 2 * (stamp_ns - best.stamp_ns) - period <= period // 4

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
        self.rhythm.forget(now_ns)
        self.telling.forget(now_ns)
        self.last_used = self.unhealthy_stamp_ns = self.late_since_ns = None
        self.matched_ns, self.mismatch = now_ns, ""
        self.healthy_since_ns = min(self.healthy_since_ns, now_ns)
        self._expect_next()

    def report(self, now_ns: int) -> ModalityReport:
        return ModalityReport(
            state=self.state_at(now_ns),
            age_ns=now_ns - self.healthy_since_ns if self.seen else None,
            period_ns=self.rhythm.period_ns,
            rate_hz=self.rhythm.rate_hz(now_ns),
            stale_after_ns=stale_at - self.healthy_since_ns
            if (stale_at := self._stale_at_ns) < self._lost_at_ns
            else None,
            lost_after_ns=self._lost_at_ns - self.healthy_since_ns,
            received=self.received,
            in_complete_sets=self.in_sets[True],
            in_partial_sets=self.in_sets[False],
            dropped={reason.value: number for reason, number in self.dropped.items() if number},
            waiting=sum(not entry.worthless for entry in self.queue),
            reused=self.reused,
            last_reason=self.last_reason,
            remark=self._dispute(now_ns) or self.mismatch,
        )
