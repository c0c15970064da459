"""When labels come, by the robot's clock. All sums are of integers, so parts can be merged exactly."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

MOST_GAPS = 20


class Gap(NamedTuple):
    """A time without labels."""

    start_ns: int
    end_ns: int

    @property
    def length_ns(self) -> int:
        return self.end_ns - self.start_ns


@dataclass
class Delivery:
    """How often something came, in one run or in several."""

    number: int = 0
    intervals: int = 0
    """From one to the next, within a run."""
    run_ns: int = 0
    longest_gap_ns: int = 0

    @property
    def rate_hz(self) -> float | None:
        """Intervals over the length of the runs: what is steady has its own rate, and a silent end counts."""
        return self.intervals / self.run_ns * 1e9 if self.run_ns else None

    def merge(self, other: Delivery) -> None:
        self.number += other.number
        self.intervals += other.intervals
        self.run_ns += other.run_ns
        self.longest_gap_ns = max(self.longest_gap_ns, other.longest_gap_ns)


class DurationHistogram:
    """Counts of durations in steps of 0.1 ms; all from 10 s on are one."""

    STEP_NS = 100_000
    MOST = 100_000

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        """Steps -> durations."""

    def add(self, duration_ns: int) -> None:
        self.counts[min(round(duration_ns / self.STEP_NS), self.MOST)] += 1

    def merge(self, other: DurationHistogram) -> None:
        self.counts.update(other.counts)

    def percentile_s(self, percent: float) -> float | None:
        """The least duration that is not exceeded by ``percent`` of them; None if there are none."""
        steps = sorted(self.counts)
        needed = self.counts.total() * percent / 100
        for step, reached in zip(steps, accumulate(self.counts[step] for step in steps), strict=True):
            if reached >= needed:
                return step * self.STEP_NS / 1e9
        return None


class DeliveryMeter:
    """Keeps the longest gaps of one run, however many come."""

    def __init__(self) -> None:
        self._intervals = DurationHistogram()
        self._first_ns = self._last_ns = 0
        self._number = 0
        self._longest: list[tuple[int, int]] = []
        """A heap of (length, -start): of equal ones the first stays."""

    def add(self, time_ns: int) -> None:
        if self._number:
            self._intervals.add(time_ns - self._last_ns)
            self._gap(self._last_ns, time_ns)
        else:
            self._first_ns = time_ns
        self._number += 1
        self._last_ns = time_ns

    def finish(self, start_ns: int, end_ns: int) -> tuple[Delivery, list[Gap]]:
        """What came in a run of that time, and its longest gaps in order.

        The silence at either end may be a gap, too; what is not above twice the median interval is none.
        """
        if self._number:
            self._gap(start_ns, self._first_ns)
            self._gap(self._last_ns, end_ns)
        else:
            self._gap(start_ns, end_ns)
        usual_s = self._intervals.percentile_s(50) or 0.0
        gaps = sorted(Gap(-start, length - start) for length, start in self._longest)
        longest_ns = max((gap.length_ns for gap in gaps), default=0)
        delivery = Delivery(self._number, max(0, self._number - 1), end_ns - start_ns, longest_ns)
        return delivery, [gap for gap in gaps if gap.length_ns > 2e9 * usual_s]

    def _gap(self, start_ns: int, end_ns: int) -> None:
        keep = heapq.heappush if len(self._longest) < MOST_GAPS else heapq.heappushpop
        if end_ns > start_ns:
            keep(self._longest, (end_ns - start_ns, -start_ns))


def delivery_of(times_ns: Iterable[int], start_ns: int, end_ns: int) -> Delivery:
    """The same of times that are all known."""
    meter = DeliveryMeter()
    for time_ns in times_ns:
        meter.add(time_ns)
    return meter.finish(start_ns, end_ns)[0]
