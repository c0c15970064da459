"""When the frames of a modality come: its rhythm, by stamps and by the clock, and stamps that break it."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

SECOND_NS = 1_000_000_000
FOLLOWERS = 3
"""So many frames that follow each other, with none in step between them, are believed, wherever their stamps are. Two
publishers on one topic, at about one rate, never send as many without one of the other's between them."""
CONFLICT_MEMORY_NS = 5 * SECOND_NS
"""So long after stamps have leapt to and fro the next leap may be one of theirs."""
_RATE_WINDOW_NS = 3 * SECOND_NS


class Rhythm:
    """What is known of a modality's times. Not thread safe: the synchronizer guards it.

    Args:
        reset_interval_ns: stamps may jump back so far and still be of frames that overtook each other.
        slack_ns: stamps may run ahead of the clock so far, however short the period is.
    """

    def __init__(self, reset_interval_ns: int, slack_ns: int) -> None:
        self.reset_interval_ns, self.slack_ns = reset_interval_ns, slack_ns
        self.newest_stamp_ns: int | None = None
        self.unsettled = False
        """Whether a new timeline has begun since ``newest_stamp_ns``: the distance to it tells nothing."""
        self.period_ns: int | None = None
        """Median distance of stamps; None until there were three."""
        self.pace_ns: int | None = None
        """Median distance of stamps or of arrivals, whichever is longer, from the first one on: a bag that is played
        slowly and a clock that ticks seldom stretch the latter."""
        self.skew_ns: int | None = None
        """Stamp minus arrival, smoothed: compared between modalities it tells how they differ on their way."""
        self._soonest_ns = 0
        """Stamp minus arrival of the frames that come soonest; slowly forgotten."""
        self.gap_ns = 0
        """How far apart the stamps were that were in conflict last."""
        self.disputed_until_ns = 0
        """Until then two timelines count as present: stamps have leapt twice within ``CONFLICT_MEMORY_NS``."""
        self._newest_arrival_ns = 0
        self._conflict_ns: int | None = None
        self._leaps: list[tuple[int, int, int]] = []
        """The last two timelines outside of this one: newest stamp, its arrival, frames."""
        self._leap_gap_ns = 0
        self._left: tuple[int, int] | None = None
        """Newest stamp and arrival of the timeline from which the stamps jumped back."""
        self._before: tuple[int, int, int] | None = None
        """Newest stamp, its arrival and ``_soonest_ns`` before a frame that came half a period sooner than any other:
        another publisher may have sent it, whose stamps are a little ahead."""
        self._stamp_distances, self._arrival_distances = _Median(), _Median()
        self._arrival_distance_ns = 0
        """Their median."""
        self._may_lead_ns = slack_ns
        """By so much stamps may run ahead of the clock."""
        self.arrivals: deque[int] = deque(maxlen=1000)
        """Of all frames, for the rate."""

    def reconfigure(self, reset_interval_ns: int, slack_ns: int) -> None:
        self.reset_interval_ns, self.slack_ns = reset_interval_ns, slack_ns
        self._may_lead_ns = max(2 * (self.period_ns or 0), slack_ns)

    def observe(self, stamp_ns: int, now_ns: int) -> None:
        """Take note of a frame whose stamp is believed."""
        self._doubt(stamp_ns, now_ns)
        # Smoothed: one late arrival is no other clock.
        skew, former = stamp_ns - now_ns, self.skew_ns
        self.skew_ns = skew if former is None else former + (skew - former) // 8
        if former is None or skew >= self._soonest_ns:
            self._soonest_ns = skew
        else:
            self._soonest_ns -= (self._soonest_ns - skew) // 32
        newest = self.newest_stamp_ns
        if newest is not None and not self.unsettled:
            if stamp_ns <= newest:
                return
            # The median: lost frames double a few distances, they do not change the rhythm.
            period = self._stamp_distances.add(stamp_ns - newest)
            if now_ns > self._newest_arrival_ns:  # else the clock has not ticked: that tells nothing
                self._arrival_distance_ns = self._arrival_distances.add(now_ns - self._newest_arrival_ns)
            self.pace_ns = max(period, self._arrival_distance_ns)
            if len(self._stamp_distances) >= 3:
                self.period_ns = period
                self._may_lead_ns = max(2 * period, self.slack_ns)
        self.newest_stamp_ns, self._newest_arrival_ns, self.unsettled = stamp_ns, now_ns, False
        if self._leaps:
            self._end_leaps(now_ns)

    def jump_ns(self, stamp_ns: int, now_ns: int) -> int:
        """How far a stamp is from the newest one if it jumps, else 0.

        It jumps back by more than ``reset_interval_ns``, or ahead: a frame that comes by two periods, and by
        ``slack_ns``, sooner after its stamp than any other of late did is from the future; where another publisher's
        stamps were found to be less ahead than that, by half a period.
        """
        if self.newest_stamp_ns is None:
            return 0
        distance = stamp_ns - self.newest_stamp_ns
        may_lead = self._may_lead_ns
        if self.period_ns and self.gap_ns <= may_lead and self.is_contested(now_ns):
            may_lead = self.period_ns // 2
        ahead = distance > 0 and stamp_ns - now_ns - self._soonest_ns > may_lead
        return distance if ahead or distance < -self.reset_interval_ns else 0

    def leave(self) -> None:
        """The stamps jump back; remember from where."""
        if self.newest_stamp_ns is not None:
            self._left = self.newest_stamp_ns, self._newest_arrival_ns

    def returns(self, stamp_ns: int, now_ns: int) -> bool:
        """Whether a stamp goes on where the stamps were before they jumped back: that was another publisher's jump."""
        if self._left is None:
            return False
        if now_ns - self._left[1] >= CONFLICT_MEMORY_NS or not self._goes_on(*self._left, stamp_ns, now_ns):
            return False
        self._left, self._leap_gap_ns = None, stamp_ns - (self.newest_stamp_ns or 0)
        self._end_leaps(now_ns)
        return True

    @property
    def is_leaping(self) -> bool:
        """Whether the last stamps were not believed."""
        return bool(self._leaps)

    def is_contested(self, now_ns: int) -> bool:
        """Whether stamps have leapt to and fro of late, so that a jump may be one of the other publisher's."""
        return self._conflict_ns is not None and now_ns - self._conflict_ns < CONFLICT_MEMORY_NS

    def is_followed(self, stamp_ns: int, now_ns: int, gap_ns: int = 0) -> bool:
        """Whether this leap goes on from others and is the last of ``FOLLOWERS``, with no frame in step between them.

        Args:
            stamp_ns: of the leap.
            now_ns: its arrival.
            gap_ns: how far it leaps; 0 where that is no sign of a second publisher.
        """
        number = 1
        for leap in self._leaps:
            if self._goes_on(leap[0], leap[1], stamp_ns, now_ns):
                number += leap[2]
                self._leaps.remove(leap)
                break
        self._leaps = [*self._leaps[-1:], (stamp_ns, now_ns, number)]
        self._leap_gap_ns = abs(gap_ns)
        if number < FOLLOWERS:
            return False
        self._end_leaps(now_ns)
        return True

    def rate_hz(self, now_ns: int) -> float:
        """Frames a second in the last three seconds, or five periods where those are longer; 0 if none came."""
        pace = self.pace_ns or 0
        begin = now_ns - max(_RATE_WINDOW_NS, 5 * pace)
        while self.arrivals and self.arrivals[0] < begin:
            self.arrivals.popleft()
        if len(self.arrivals) < 2:
            return 0.0
        # The next frame is not due before a period has passed since the last one.
        span = max(self.arrivals[-1], now_ns - pace) - self.arrivals[0]
        return (len(self.arrivals) - 1) * SECOND_NS / span if span else 0.0

    def forget(self, now_ns: int) -> None:
        """Unlearn the stamps; a new timeline begins, perhaps of a clock that has gone back."""
        self._stamp_distances.clear()
        self._arrival_distances.clear()
        self._arrival_distance_ns = 0
        self.skew_ns = None
        self.unsettled = self.newest_stamp_ns is not None
        self._leaps.clear()
        if self.arrivals and self.arrivals[-1] > now_ns:
            self.arrivals.clear()
        if self._conflict_ns is not None and self._conflict_ns > now_ns:
            self._conflict_ns, self.disputed_until_ns = None, 0

    def _doubt(self, stamp_ns: int, now_ns: int) -> None:
        """Take back what a frame has changed whose stamp was a little ahead, if this one goes on from those before it.

        A publisher's own frames come in the order of their stamps: if they are sooner from now on, none goes back.
        """
        newest, period, before = self.newest_stamp_ns, self.period_ns, self._before
        self._before = None
        if newest is None or period is None or self.unsettled:
            return
        if before is not None and now_ns - before[1] <= 3 * period:
            if before[0] < stamp_ns < newest:
                self.newest_stamp_ns, self._newest_arrival_ns, self._soonest_ns = before
                self._leap_gap_ns = newest - stamp_ns
                self._end_leaps(now_ns)
            else:
                self._before = before
        elif stamp_ns - now_ns - self._soonest_ns > period // 2:
            self._before = newest, self._newest_arrival_ns, self._soonest_ns

    def _goes_on(self, former_ns: int, arrival_ns: int, stamp_ns: int, now_ns: int) -> bool:
        """Whether a stamp is later than another, by no more than the clock and what it may run ahead."""
        return 0 < stamp_ns - former_ns <= now_ns - arrival_ns + self._may_lead_ns

    def _end_leaps(self, now_ns: int) -> None:
        """Leaps were believed, or contradicted: either may be one more sign of two timelines."""
        self._leaps.clear()
        if self._leap_gap_ns:
            if self._conflict_ns is not None:
                self.disputed_until_ns = self._conflict_ns + CONFLICT_MEMORY_NS
            self._conflict_ns, self.gap_ns = now_ns, self._leap_gap_ns


class _Median:
    """Of the last nine values; the lower one of an even number: a first distance may be a pause."""

    def __init__(self) -> None:
        self._values: deque[int] = deque()
        self._sorted: list[int] = []

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: int) -> int:
        """The median now."""
        values, in_order = self._values, self._sorted
        if len(values) == 9:
            del in_order[bisect_left(in_order, values.popleft())]
        values.append(value)
        insort(in_order, value)
        return in_order[(len(in_order) - 1) // 2]

    def clear(self) -> None:
        self._values.clear()
        self._sorted.clear()
