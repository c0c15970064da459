"""Rates, gaps and percentiles by the clock of a recording."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3l_core.replay.measures.timing import MOST_GAPS, Delivery, DeliveryMeter, DurationHistogram, Gap, delivery_of

MS = 1_000_000


def measured(times_ms: list[int], start_ms: int, end_ms: int) -> tuple[Delivery, list[Gap]]:
    meter = DeliveryMeter()
    for time_ms in times_ms:
        meter.add(time_ms * MS)
    return meter.finish(start_ms * MS, end_ms * MS)


def test_what_is_steady_has_its_own_rate_and_no_gap() -> None:
    delivery, gaps = measured([100 * number for number in range(11)], 0, 1000)
    assert delivery == Delivery(11, 10, 1000 * MS, 100 * MS)
    assert delivery.rate_hz == pytest.approx(10)
    assert gaps == []


def test_silence_at_either_end_is_a_gap() -> None:
    delivery, gaps = measured([500, 600, 700], 0, 1000)
    assert gaps == [Gap(0, 500 * MS), Gap(700 * MS, 1000 * MS)]
    assert delivery.longest_gap_ns == 500 * MS
    assert delivery.rate_hz == pytest.approx(2)


def test_a_run_without_anything_is_one_gap() -> None:
    delivery, gaps = measured([], 5, 905)
    assert (delivery, gaps) == (Delivery(0, 0, 900 * MS, 900 * MS), [Gap(5 * MS, 905 * MS)])
    assert delivery.rate_hz == 0


def test_a_run_of_no_length_has_no_rate() -> None:
    delivery, gaps = measured([7], 7, 7)
    assert (delivery.rate_hz, delivery.longest_gap_ns, gaps) == (None, 0, [])


def test_the_longest_gaps_are_kept_in_order() -> None:
    lengths = [10, 10, 10, *range(100, 100 + 2 * MOST_GAPS), *[10] * 100]
    times = np.cumsum([0, *lengths]).tolist()
    _, gaps = measured(times, 0, times[-1])
    assert [gap.length_ns // MS for gap in gaps] == lengths[3 + MOST_GAPS : 3 + 2 * MOST_GAPS]


def test_runs_add_up() -> None:
    total = delivery_of([0, 100 * MS], 0, 200 * MS)
    total.merge(delivery_of([50 * MS], 0, 100 * MS))
    assert total == Delivery(3, 1, 300 * MS, 100 * MS)


@given(st.lists(st.integers(0, 3_000_000_000), min_size=1), st.sampled_from([50, 95, 99, 100]))
def test_a_percentile_is_the_duration_of_that_rank(durations: list[int], percent: int) -> None:
    histogram = DurationHistogram()
    for duration in durations:
        histogram.add(duration)
    expected = np.percentile(durations, percent, method="inverted_cdf") / 1e9
    assert histogram.percentile_s(percent) == pytest.approx(expected, abs=0.51e-4)


@given(st.lists(st.integers(0, 20_000_000_000)), st.integers(0))
def test_parts_of_a_histogram_add_up_exactly(durations: list[int], cut: int) -> None:
    whole, one, other = DurationHistogram(), DurationHistogram(), DurationHistogram()
    for number, duration in enumerate(durations):
        whole.add(duration)
        (one if number < cut else other).add(duration)
    one.merge(other)
    assert one.counts == whole.counts


def test_no_durations_have_no_percentile_and_long_ones_take_no_memory() -> None:
    histogram = DurationHistogram()
    assert histogram.percentile_s(50) is None
    for seconds in range(10, 1000):
        histogram.add(seconds * 10**9)
    assert len(histogram.counts) == 1
    assert histogram.percentile_s(50) == 10
