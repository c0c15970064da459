"""A synchronizer's clock, and the timer that lets time pass for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from m3l_core.streaming.smooth_clock import SmoothClock
from m3l_core.streaming.synchronizer import FrameSynchronizer

_LONGEST_WAIT_NS = 50_000_000
"""With simulated time: the clock may leap at any moment."""


class Polling:
    """Polls a synchronizer when it next has something to do, by a timer of steady time: /clock may stand.

    Args:
        node: its clock is followed where it is simulated: the system's jumps when it is set.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        ros_clock = node.get_clock()
        self._smooth = SmoothClock(lambda: ros_clock.now().nanoseconds) if ros_clock.ros_time_is_active else None
        self._lock = threading.Lock()
        self._armed_until_ns: int | None = None
        """When the timer ends, by ``now_ns``; None while it is not running."""

    def now_ns(self) -> int:
        """What the synchronizer's waits are measured with."""
        return time.monotonic_ns() if self._smooth is None else self._smooth()

    def stands_for_s(self) -> float:
        """How long a simulated clock has not ticked."""
        return 0.0 if self._smooth is None else self._smooth.stands_for_ns() / 1e9

    def start(self, synchronizer: FrameSynchronizer, poll: Callable[[], None]) -> None:
        """Call ``poll``, which is to poll the synchronizer, whenever that is due."""
        self._synchronizer, self._poll = synchronizer, poll
        self._timer = self._node.create_timer(1.0, self._end_of_wait, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._timer.cancel()
        self.arm()

    def arm(self) -> None:
        """To be called after each frame: it may have made something due sooner."""
        deadline_ns = self._synchronizer.next_deadline_ns()
        with self._lock:
            if deadline_ns is None or (self._armed_until_ns is not None and self._armed_until_ns <= deadline_ns):
                return
            wait_ns = max(deadline_ns - self.now_ns(), 0)
            if self._smooth is not None:
                wait_ns = min(self._smooth.steady_ns(wait_ns), _LONGEST_WAIT_NS)
            self._armed_until_ns = deadline_ns
            self._timer.timer_period_ns = wait_ns + 1  # a period of 0 never rests
            self._timer.reset()

    def stop(self) -> None:
        self._node.destroy_timer(self._timer)

    def _end_of_wait(self) -> None:
        with self._lock:
            self._timer.cancel()
            self._armed_until_ns = None
        self._poll()
        self.arm()
