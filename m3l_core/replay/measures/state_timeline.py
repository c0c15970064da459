"""When a modality was OK, STALE or LOST."""

from __future__ import annotations

from collections import Counter

from m3l_core.streaming.modality_report import ModalityReport, ModalityState
from m3l_core.streaming.modality_stream import NEVER_NS

MOST_CHANGES = 2000


class StateTimeline:
    """The states of one modality in one run, told from what the synchronizer reports before each arrival.

    Between two healthy frames a state can only fall, at times that follow from the earlier one, so nothing is missed.
    """

    def __init__(self, start_ns: int) -> None:
        self.changes: list[tuple[int, ModalityState]] = [(start_ns, ModalityState.STALE)]
        """(since when, state) in order; at most ``MOST_CHANGES``."""
        self.further_changes = 0
        self.lengths_ns: Counter[ModalityState] = Counter()
        """Time in each state, once the run has ended."""
        self._state = ModalityState.STALE
        self._since_ns = self._start_ns = start_ns
        self._healthy_ns: int | None = None
        self._end_ns = NEVER_NS

    def observe(self, report: ModalityReport, now_ns: int) -> None:
        """Note what has changed until ``now_ns``, the time of the report."""
        healthy_ns = None if report.age_ns is None else now_ns - report.age_ns
        stale_ns = None if healthy_ns is None or report.stale_after_ns is None else healthy_ns + report.stale_after_ns
        if healthy_ns is not None and healthy_ns != self._healthy_ns:
            self._healthy_ns = healthy_ns
            # STALE before its time: its stamps are of two timelines.
            disputed = report.state is ModalityState.STALE and (stale_ns is None or now_ns < stale_ns)
            self._become(ModalityState.STALE if disputed else ModalityState.OK, healthy_ns)
        if report.state is ModalityState.OK:
            self._become(ModalityState.OK, now_ns)  # noted above, unless a reset or the end of a dispute has made it so
            return
        if stale_ns is not None:
            self._become(ModalityState.STALE, stale_ns)
        if report.state is ModalityState.LOST:
            since_ns = self._start_ns if healthy_ns is None else healthy_ns
            self._become(ModalityState.LOST, since_ns + report.lost_after_ns)

    def finish(self, report: ModalityReport, now_ns: int, end_ns: int) -> None:
        """The run ended at ``end_ns``, before this report."""
        self._end_ns = end_ns
        self.observe(report, now_ns)
        self.lengths_ns[self._state] += end_ns - self._since_ns

    def _become(self, state: ModalityState, since_ns: int) -> None:
        if state is self._state or not self._since_ns <= since_ns <= self._end_ns:
            return
        self.lengths_ns[self._state] += since_ns - self._since_ns
        if since_ns == self._start_ns:
            self.changes.clear()  # the first frame is the first to arrive: the state before has no length
        if len(self.changes) < MOST_CHANGES:
            self.changes.append((since_ns, state))
        else:
            self.further_changes += 1
        self._state, self._since_ns = state, since_ns
