"""The facts measured on the stock ApproximateTimeSynchronizer, and, where it is installed, the real one beside ours."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3l_core.streaming.stock_synchronizer import stock_sets

MS = 1_000_000
SECOND = 1000 * MS
SLOP_NS = 20 * MS
BOTH = ("color", "depth")
Arrivals = list[tuple[str, int]]


def frames(first_s: float, last_s: float, modalities: tuple[str, ...] = BOTH, rate_hz: int = 30) -> Arrivals:
    numbers = range(round(first_s * rate_hz), round(last_s * rate_hz))
    return [(name, number * SECOND // rate_hz) for number in numbers for name in modalities]


def test_two_topics_at_30_hz_give_a_set_each_frame() -> None:
    assert len(stock_sets(frames(0, 10), BOTH, SLOP_NS)) == 300


def test_one_silent_topic_stops_all_sets() -> None:
    arrivals = frames(0, 5) + frames(5, 15, ("color",)) + frames(15, 20)
    assert len(arrivals) == 600 + 300
    sets = stock_sets(arrivals, BOTH, SLOP_NS)
    assert len(sets) == 300
    assert not [made for made in sets if 5 * SECOND <= made.stamp_ns < 15 * SECOND]


def test_after_a_dropout_and_a_jump_of_the_stamps_back_there_are_no_sets_for_good() -> None:
    before = frames(100, 105) + frames(105, 110, ("color",))
    assert len(stock_sets(before, BOTH, SLOP_NS)) == 150
    assert len(stock_sets(before + frames(0, 10), BOTH, SLOP_NS)) == 150


def test_with_the_slop_above_the_period_one_lost_frame_shifts_the_pairing_for_good() -> None:
    arrivals = frames(0, 2)
    arrivals.remove(("color", 10 * SECOND // 30))
    color = stock_sets(arrivals, ("color", "depth"), 40 * MS)
    depth = stock_sets(arrivals, ("depth", "color"), 40 * MS)
    skews_ms = [round((one.stamp_ns - other.stamp_ns) / MS) for one, other in zip(color, depth, strict=True)]
    assert skews_ms == [0] * 10 + [33] * 49


@pytest.mark.parametrize(("apart_ms", "matched"), [(0, 1), (19, 1), (20, 0), (21, 0)])
def test_stamps_of_a_set_are_less_than_the_slop_apart(apart_ms: int, matched: int) -> None:
    assert len(stock_sets([("color", SECOND), ("depth", SECOND + apart_ms * MS)], BOTH, SLOP_NS)) == matched


def test_the_nearest_stamp_is_taken_and_leaves_its_queue() -> None:
    arrivals = [("color", 0), ("color", 10 * MS), ("depth", 8 * MS), ("depth", 9 * MS), ("depth", 10 * MS)]
    assert stock_sets(arrivals, BOTH, SLOP_NS) == [(10 * MS, 2), (0, 3)]


def test_a_queue_forgets_its_smallest_stamp() -> None:
    late = [("color", 0), ("color", 100 * MS), ("color", 200 * MS), ("depth", 0)]
    assert stock_sets(late, BOTH, SLOP_NS, queue_size=3) == [(0, 3)]
    assert stock_sets(late, BOTH, SLOP_NS, queue_size=2) == []


def test_the_stamp_of_a_set_is_that_of_the_first_modality() -> None:
    arrivals = [("color", SECOND), ("depth", SECOND + 5 * MS)]
    assert stock_sets(arrivals, ("depth", "color"), SLOP_NS) == [(SECOND + 5 * MS, 1)]


class _Source:
    """What message_filters takes for a filter."""

    def registerCallback(self, callback: Any, *arguments: Any) -> None:
        self.callback, self.arguments = callback, arguments

    def send(self, stamp_ns: int) -> None:
        from builtin_interfaces.msg import Time

        stamp = Time(sec=stamp_ns // SECOND, nanosec=stamp_ns % SECOND)
        self.callback(SimpleNamespace(header=SimpleNamespace(stamp=stamp), stamp_ns=stamp_ns), *self.arguments)


@given(st.lists(st.tuples(st.sampled_from(BOTH), st.integers(0, 40).map(lambda tick: tick * 5 * MS)), max_size=60))
def test_random_arrivals_give_the_sets_of_the_real_one(arrivals: Arrivals) -> None:
    message_filters = pytest.importorskip("message_filters", reason="needs message_filters of ROS 2")
    sources = {name: _Source() for name in BOTH}
    sets: list[int] = []
    real = message_filters.ApproximateTimeSynchronizer(list(sources.values()), 5, SLOP_NS / SECOND)
    real.registerCallback(lambda color, depth: sets.append(color.stamp_ns))
    for name, stamp_ns in arrivals:
        sources[name].send(stamp_ns)
    assert [made.stamp_ns for made in stock_sets(arrivals, BOTH, SLOP_NS, queue_size=5)] == sets
