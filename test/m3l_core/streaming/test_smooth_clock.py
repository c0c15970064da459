"""Waits last as long as the clock says, also between its ticks and when it stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3l_core.streaming.smooth_clock import SmoothClock

MS = 1_000_000


class Times:
    """A clock that ticks, and steady time, both moved by hand."""

    def __init__(self, tick_ms: float = 0) -> None:
        self.tick_ms, self.steady_ms = tick_ms, 7.0
        self.clock = SmoothClock(lambda: round(self.tick_ms * MS), lambda: round(self.steady_ms * MS))

    @property
    def now_ms(self) -> float:
        return self.clock() / MS

    def run(self, number: int, tick_ms: float, steady_ms: float) -> None:
        """Ticks, each seen at once."""
        for _ in range(number):
            self.tick_ms += tick_ms
            self.steady_ms += steady_ms
            self.clock()


@pytest.mark.parametrize("pace", [0.1, 0.5, 1, 4])
@pytest.mark.parametrize("tick_ms", [10, 100, 250])
def test_between_two_ticks_time_goes_on_at_the_pace_of_the_clock(pace: float, tick_ms: float) -> None:
    times = Times(1000)
    times.run(round(1500 * pace / tick_ms) + 2, tick_ms, tick_ms / pace)
    before = times.now_ms
    times.steady_ms += 0.5 * tick_ms / pace
    assert times.now_ms - before == pytest.approx(0.5 * tick_ms, rel=0.01)
    times.steady_ms += 0.5 * tick_ms / pace
    times.tick_ms += tick_ms
    assert times.now_ms - before == pytest.approx(tick_ms, rel=0.01)
    assert times.clock.steady_ns(100 * MS) == pytest.approx(100 * MS / pace, rel=0.01)


def test_the_pace_is_measured_over_half_a_second() -> None:
    times = Times(1000)
    times.run(1, 998, 499)
    assert times.clock.steady_ns(100) == 100
    times.run(1, 2, 1)
    assert times.clock.steady_ns(100) == 50
    times.run(1, 499, 499)
    assert times.clock.steady_ns(100) == 50
    times.run(1, 1, 1)
    assert times.clock.steady_ns(100) == 100


def test_a_wait_for_a_clock_that_nearly_stands_is_no_longer_than_a_hundred_times() -> None:
    times = Times(1000)
    times.run(1, 6, 1000)
    assert times.clock.steady_ns(100) == 10_000
    times.run(1, 20, 1000)
    assert times.clock.steady_ns(100) == 5000


def test_the_pace_of_the_time_before_a_leap_back_is_kept_and_measured_anew() -> None:
    times = Times(100_000)
    times.run(10, 200, 100)
    times.run(1, -50_000, 100)
    assert times.clock.stands_for_ns() == 0
    before = times.now_ms
    times.steady_ms += 100
    assert times.now_ms - before == 200
    times.run(1, 500, 400)
    assert times.clock.steady_ns(100) == 100


@pytest.mark.parametrize("tick_ms", [0, 1000])
def test_a_clock_that_stands_does_not_hold_up_time(tick_ms: float) -> None:
    times = Times(tick_ms)
    before = times.now_ms
    times.steady_ms += 700
    assert times.now_ms - before == 700
    assert times.clock.stands_for_ns() == 700 * MS
    times.tick_ms += 1
    times.clock()
    assert times.clock.stands_for_ns() == 0


def test_the_first_tick_is_no_leap() -> None:
    times = Times(0)
    times.steady_ms += 300
    before = times.now_ms
    times.tick_ms = 1_700_000_000_000
    assert times.now_ms == before
    times.run(1, 100, 100)
    assert times.now_ms - before == 100


def test_after_a_halt_time_does_not_stand_until_the_clock_has_caught_up() -> None:
    times = Times(1000)
    times.run(20, 100, 100)
    times.steady_ms += 60_000
    before = times.now_ms
    times.run(20, 100, 100)
    assert times.now_ms - before > 1000


def test_a_clock_that_leaps_ahead_is_followed() -> None:
    times = Times(1000)
    times.run(20, 100, 100)
    before = times.now_ms
    times.run(1, 30_000, 1)
    assert times.now_ms - before == pytest.approx(30_000)


@pytest.mark.parametrize("back_ms", [1, 50, 5000])
def test_a_clock_that_goes_back_takes_time_back(back_ms: float) -> None:
    times = Times(100_000)
    times.run(20, 100, 100)
    times.steady_ms += 40
    before = times.now_ms
    times.run(1, -back_ms, 1)
    assert times.now_ms == pytest.approx(before - back_ms)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(1, 5)), min_size=1, max_size=50))
def test_time_never_goes_back_unless_the_clock_does(steps: list[tuple[int, int, int]]) -> None:
    times = Times(1000)
    former = times.clock()
    for tick, steady, reads in steps:
        times.tick_ms += tick / MS
        for _ in range(reads):
            times.steady_ms += steady / MS / reads
            now = times.clock()
            assert now >= former
            former = now
