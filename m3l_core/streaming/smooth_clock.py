"""Time that goes on between the ticks of a simulated clock, at the clock's own pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_BASELINE_NS = 500_000_000


class SmoothClock:
    """What waits are measured with where a clock ticks seldom, or stands.

    Gazebo ticks at 10 Hz by default: between two ticks a wait of 50 ms would end at once or last twice as long. And
    where nobody publishes /clock, or the simulation is halted, no wait would ever end. So time goes on as the clock has
    gone on lately, compared with steady time; it goes back when the clock does. Any thread may ask.

    Args:
        read: the clock [ns]; 0 before its first tick.
        steady: a clock that never stands [ns].
    """

    def __init__(self, read: Callable[[], int], steady: Callable[[], int] = time.monotonic_ns) -> None:
        self._read, self._steady = read, steady
        self._lock = threading.Lock()
        self._pace = 1.0
        """Nanoseconds of the clock in one of steady time."""
        self._tick_ns = self._base_tick_ns = read()
        self._ticked_ns = self._base_ns = steady()
        self._tick_time_ns = self._time_ns = self._tick_ns

    def __call__(self) -> int:
        """Nanoseconds; of any epoch."""
        with self._lock:
            tick, now = self._read(), self._steady()
            step = tick - self._tick_ns
            if step < 0:
                self._anchor(tick, now, self._time_ns + step)
            elif step and not self._tick_ns:  # its first tick: the time before was not its own
                self._anchor(tick, now, self._time_ns)
            else:
                # Never back, even where it has gone on farther than the clock did.
                passed = step or round((now - self._ticked_ns) * self._pace)
                self._time_ns = max(self._time_ns, self._tick_time_ns + passed)
                if step:
                    self._tick(tick, now)
            return self._time_ns

    def stands_for_ns(self) -> int:
        """Steady time since its last tick was noticed."""
        self()
        return self._steady() - self._ticked_ns

    def steady_ns(self, duration_ns: int) -> int:
        """How long a duration of this clock lasts in steady time, as long as the clock keeps its pace."""
        return round(duration_ns / max(self._pace, 0.01))

    def _tick(self, tick: int, now: int) -> None:
        if now - self._base_ns >= _BASELINE_NS:
            self._pace = (tick - self._base_tick_ns) / (now - self._base_ns)
            self._base_tick_ns, self._base_ns = tick, now
        self._tick_ns, self._ticked_ns, self._tick_time_ns = tick, now, self._time_ns

    def _anchor(self, tick: int, now: int, time_ns: int) -> None:
        self._tick_ns = self._base_tick_ns = tick
        self._ticked_ns = self._base_ns = now
        self._tick_time_ns = self._time_ns = time_ns
