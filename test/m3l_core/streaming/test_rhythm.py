"""The rhythm of one modality, asked directly; what the synchronizer makes of it is in the files beside."""

from __future__ import annotations

from statistics import median_low

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3l_core.streaming.rhythm import CONFLICT_MEMORY_NS, SECOND_NS, Rhythm

MS = 1_000_000


def steady(frames: int = 10, period_ms: int = 100, slack_ms: int = 50) -> Rhythm:
    """Frames from 0 on, each of which arrives at its stamp."""
    rhythm = Rhythm(1000 * MS, slack_ms * MS)
    for time in range(0, frames * period_ms * MS, period_ms * MS):
        rhythm.observe(time, time)
    return rhythm


def contest(rhythm: Rhythm, now_ns: int, gap_ns: int = 700 * MS) -> None:
    """Three leaps that follow each other, at one time."""
    assert [rhythm.is_followed(10**15 + number, now_ns, gap_ns) for number in range(3)] == [False, False, True]


# --- period, pace and skew ---


@given(st.lists(st.integers(1, 300), min_size=1, max_size=30))
def test_the_period_is_the_lower_median_of_the_last_nine_distances_once_there_are_three(distances: list[int]) -> None:
    rhythm, stamp = steady(1), 0
    for number, distance in enumerate(distances, 1):
        stamp += distance
        rhythm.observe(stamp, 0)  # the clock stands
        median = median_low(distances[:number][-9:])
        assert rhythm.period_ns == (median if number >= 3 else None)
        assert rhythm.pace_ns == median


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 300)), min_size=1, max_size=30))
def test_the_pace_is_that_of_the_stamps_or_of_the_arrivals_whichever_is_slower(steps: list[tuple[int, int]]) -> None:
    rhythm, stamp, now, ticks = steady(1), 0, 0, [0]
    for number, (distance, passed) in enumerate(steps, 1):
        stamp, now = stamp + distance, now + passed
        rhythm.observe(stamp, now)
        ticks += [passed] * (passed > 0)
        arrivals = median_low(ticks[1:][-9:] or [0])
        assert rhythm.pace_ns == max(median_low([each for each, _ in steps[:number]][-9:]), arrivals)


def test_one_that_was_overtaken_changes_no_distance() -> None:
    rhythm = steady()
    for stamp_ms in (850, 900):
        rhythm.observe(stamp_ms * MS, 950 * MS)
    assert (rhythm.newest_stamp_ns, rhythm.period_ns, rhythm.pace_ns) == (900 * MS, 100 * MS, 100 * MS)
    rhythm.observe(1000 * MS, 1000 * MS)
    assert rhythm.pace_ns == 100 * MS


def test_the_skew_moves_by_an_eighth() -> None:
    rhythm = steady(1)
    assert rhythm.skew_ns == 0
    rhythm.observe(100 * MS, 180 * MS)
    assert rhythm.skew_ns == -10 * MS
    rhythm.observe(200 * MS, 200 * MS)
    assert rhythm.skew_ns == -8_750_000


# --- stamps that jump ---


def limit_ahead_ms(rhythm: Rhythm, now_ms: int) -> float:
    """By how much a stamp may be ahead of the clock; how far a jump is."""
    newest = rhythm.newest_stamp_ns
    assert newest is not None
    low, high = 0, 10_000 * MS
    while high - low > 1:
        middle = (low + high) // 2
        jump = rhythm.jump_ns(now_ms * MS + middle, now_ms * MS)
        assert jump in (0, now_ms * MS + middle - newest)
        low, high = (low, middle) if jump else (middle, high)
    return low / MS


@pytest.mark.parametrize(("frames", "slack_ms", "limit_ms"), [(10, 50, 200), (10, 250, 250), (3, 50, 50), (4, 50, 200)])
def test_stamps_may_lead_the_clock_by_two_periods_and_by_the_slack(frames: int, slack_ms: int, limit_ms: float) -> None:
    assert limit_ahead_ms(steady(frames, slack_ms=slack_ms), 1000) == limit_ms


@pytest.mark.parametrize(("frames", "limit_ms"), [(10, 200), (3, 130)])
def test_other_limits_hold_at_once(frames: int, limit_ms: float) -> None:
    rhythm = steady(frames, slack_ms=500)
    rhythm.reconfigure(300 * MS, 130 * MS)
    assert limit_ahead_ms(rhythm, 1000) == limit_ms
    newest = rhythm.newest_stamp_ns or 0
    assert rhythm.jump_ns(newest - 300 * MS, 1000 * MS) == 0
    assert rhythm.jump_ns(newest - 300 * MS - 1, 1000 * MS) == -300 * MS - 1


def test_while_no_stamp_is_known_none_jumps() -> None:
    assert Rhythm(1000 * MS, 50 * MS).jump_ns(10**18, 0) == 0


def test_the_frame_that_came_soonest_is_forgotten_slowly() -> None:
    rhythm = steady()
    rhythm.observe(1040 * MS, 1000 * MS)
    assert limit_ahead_ms(rhythm, 1050) == 240
    rhythm.observe(1100 * MS, 1100 * MS)
    assert limit_ahead_ms(rhythm, 1150) == 238.75  # by a thirty-second of the difference


def test_back_is_no_jump_within_reset_interval() -> None:
    rhythm = steady(20)
    assert rhythm.jump_ns(900 * MS, 1950 * MS) == 0
    assert rhythm.jump_ns(900 * MS - 1, 1950 * MS) == -1000 * MS - 1


# --- leaps that follow each other ---


@pytest.mark.parametrize(("step_ms", "follows"), [(0, False), (1e-6, True), (230, True), (230.000001, False)])
def test_a_stamp_goes_on_from_one_that_is_earlier_by_no_more_than_the_clock_and_the_lead(
    step_ms: float, follows: bool
) -> None:
    rhythm = steady()
    rhythm.is_followed(5000 * MS, 1000 * MS)
    rhythm.is_followed(5001 * MS, 1001 * MS)
    assert rhythm.is_followed(round((5001 + step_ms) * MS), 1031 * MS) == follows


def test_two_timelines_of_leaps_are_remembered() -> None:
    near, far, third = 5000 * MS, 50_000 * MS, 500_000 * MS
    rhythm = steady()
    followed = [rhythm.is_followed(begin + number, number) for number, begin in enumerate((near, far, near, far, near))]
    assert followed == [False] * 4 + [True]
    rhythm = steady()
    order = (near, near, far, third, near, near, near)  # the first one has been forgotten
    assert [rhythm.is_followed(begin + number, number) for number, begin in enumerate(order)] == [False] * 6 + [True]


def test_a_frame_in_step_ends_the_leaps() -> None:
    rhythm = steady()
    for number in range(2):
        assert not rhythm.is_followed(5000 * MS + number, 1000 * MS)
    assert rhythm.is_leaping
    rhythm.observe(1000 * MS, 1000 * MS)
    assert not rhythm.is_leaping
    assert not rhythm.is_followed(5000 * MS + 3, 1000 * MS)


# --- two publishers ---


def test_leaps_that_are_believed_contest_the_stamps_for_five_seconds() -> None:
    assert CONFLICT_MEMORY_NS == 5 * SECOND_NS == 5000 * MS
    rhythm = steady()
    assert not rhythm.is_contested(0)
    contest(rhythm, 1000 * MS, -700 * MS)
    assert rhythm.gap_ns == 700 * MS
    assert rhythm.is_contested(6000 * MS - 1)
    assert not rhythm.is_contested(6000 * MS)
    assert not rhythm.is_contested(60_000 * MS)
    assert rhythm.disputed_until_ns == 0, "the first time it may have been a jump"
    contest(rhythm, 3000 * MS)
    assert rhythm.disputed_until_ns == 6000 * MS


def test_leaps_that_are_no_sign_of_a_second_publisher_contest_nothing() -> None:
    rhythm = steady()
    contest(rhythm, 1000 * MS, gap_ns=0)
    assert not rhythm.is_contested(1000 * MS)


def test_a_leap_that_is_contradicted_contests_the_stamps() -> None:
    rhythm = steady()
    rhythm.is_followed(5000 * MS, 950 * MS, 4100 * MS)
    assert not rhythm.is_contested(950 * MS)
    rhythm.observe(1000 * MS, 1000 * MS)
    assert rhythm.is_contested(1000 * MS)
    assert rhythm.gap_ns == 4100 * MS


@pytest.mark.parametrize(("gap_ms", "limit_ms"), [(200, 50), (200.000001, 200)])
def test_where_another_publisher_is_a_little_ahead_stamps_may_lead_by_half_a_period(
    gap_ms: float, limit_ms: float
) -> None:
    rhythm = steady()
    contest(rhythm, 1000 * MS, round(gap_ms * MS))
    assert limit_ahead_ms(rhythm, 1000) == limit_ms
    assert limit_ahead_ms(rhythm, 6000) == 200


@pytest.mark.parametrize(
    ("stamp_ms", "now_ms", "returns"),
    [
        (900, 1000, False),
        (1000, 1000, True),
        (1200, 1000, True),  # 100 ms have passed, and stamps may lead by 200
        (1200.000001, 1000, False),
        (5800, 5899.999999, True),
        (5800, 5900, False),  # too long ago
        (59_000, 59_000, False),
    ],
)
def test_stamps_return_to_where_they_were_before_they_jumped_back(
    stamp_ms: float, now_ms: float, returns: bool
) -> None:
    rhythm = steady()
    assert not rhythm.returns(round(stamp_ms * MS), round(now_ms * MS)), "they have not jumped"
    rhythm.leave()
    rhythm.unsettled = True
    rhythm.observe(-10_000 * MS, 950 * MS)
    assert rhythm.returns(round(stamp_ms * MS), round(now_ms * MS)) == returns
    assert rhythm.is_contested(round(now_ms * MS)) == returns
    if returns:
        assert rhythm.gap_ns == round((stamp_ms + 10_000) * MS)
        assert not rhythm.returns(round(stamp_ms * MS), round(now_ms * MS)), "once"


def test_before_the_first_frame_there_is_nothing_to_return_to() -> None:
    rhythm = Rhythm(1000 * MS, 50 * MS)
    rhythm.leave()
    assert not rhythm.returns(10 * MS, 10 * MS)


@pytest.mark.parametrize(
    ("ahead_ms", "stamp_ms", "now_ms", "taken_back"),
    [
        (60, 1000, 1010, True),
        (50, 1000, 1010, False),  # no more than half a period sooner than any other
        (50.000001, 1000, 1010, True),
        (60, 900, 1010, False),  # that one does not go on from 900
        (60, 1060, 1061, False),  # nor is that one before the stranger's
        (60, 1000, 1200, True),
        (60, 1000, 1200.000001, False),  # more than three periods later
        (60, 1000, 2000, False),
    ],
)
def test_what_a_stranger_a_little_ahead_has_changed_is_taken_back(
    ahead_ms: float, stamp_ms: float, now_ms: float, taken_back: bool
) -> None:
    rhythm = steady()  # the last one at 900
    stranger = round((1000 + ahead_ms) * MS)
    rhythm.observe(stranger, 1000 * MS)
    rhythm.observe(round(stamp_ms * MS), round(now_ms * MS))
    assert rhythm.is_contested(round(now_ms * MS)) == taken_back
    assert rhythm.newest_stamp_ns == (round(stamp_ms * MS) if taken_back else stranger)
    if taken_back:
        assert rhythm.gap_ns == stranger - stamp_ms * MS
        assert limit_ahead_ms(rhythm, 10_000) < 200, "by how much the stranger was sooner is forgotten"


def test_a_stranger_is_found_though_it_sends_twice() -> None:
    rhythm = steady()
    rhythm.observe(1060 * MS, 1000 * MS)
    rhythm.observe(1160 * MS, 1100 * MS)
    rhythm.observe(1100 * MS, 1110 * MS)
    assert rhythm.is_contested(1110 * MS)
    assert rhythm.newest_stamp_ns == 1100 * MS


# --- the rate ---


def test_the_rate_counts_three_seconds() -> None:
    rhythm = Rhythm(1000 * MS, 50 * MS)
    assert rhythm.rate_hz(0) == 0
    rhythm.arrivals.extend(range(0, 3001 * MS, 500 * MS))
    assert rhythm.rate_hz(3000 * MS) == 2
    assert rhythm.rate_hz(3000 * MS + 1) == pytest.approx(2)
    assert rhythm.arrivals[0] == 500 * MS
    assert rhythm.rate_hz(3500 * MS) == pytest.approx(5 / 3)
    assert rhythm.rate_hz(6000 * MS) == 0


def test_the_rate_of_a_slow_one_counts_five_periods_and_waits_for_the_next_frame() -> None:
    rhythm = steady(3, period_ms=1000)
    rhythm.arrivals.extend([0, 1000 * MS, 2000 * MS])
    assert rhythm.rate_hz(3000 * MS) == 1
    assert rhythm.rate_hz(4000 * MS) == pytest.approx(2 / 3)
    assert rhythm.rate_hz(5000 * MS) == pytest.approx(2 / 4)
    assert rhythm.rate_hz(6000 * MS) == pytest.approx(1 / 4)


def test_frames_that_come_at_one_time_have_no_rate() -> None:
    rhythm = Rhythm(1000 * MS, 50 * MS)
    rhythm.arrivals.extend([5, 5])
    assert rhythm.rate_hz(5) == 0


# --- a new timeline ---


def test_a_new_timeline_unlearns_the_stamps_and_keeps_the_rhythm() -> None:
    rhythm = steady()
    rhythm.is_followed(5000 * MS, 950 * MS)
    rhythm.forget(1000 * MS)
    assert rhythm.unsettled and not rhythm.is_leaping and rhythm.skew_ns is None
    assert (rhythm.period_ns, rhythm.pace_ns) == (100 * MS, 100 * MS)
    rhythm.observe(-5000 * MS, 1000 * MS)
    assert rhythm.newest_stamp_ns == -5000 * MS and not rhythm.unsettled
    rhythm.observe(-4967 * MS, 1000 * MS)
    assert rhythm.pace_ns == 33 * MS
    assert rhythm.period_ns == 100 * MS


def test_before_the_first_frame_a_new_timeline_is_nothing_new() -> None:
    rhythm = Rhythm(1000 * MS, 50 * MS)
    rhythm.forget(0)
    assert not rhythm.unsettled


@pytest.mark.parametrize(("now_ms", "kept"), [(1000, True), (999.999999, False)])
def test_what_lies_in_the_future_of_a_clock_that_went_back_is_forgotten(now_ms: float, kept: bool) -> None:
    rhythm = steady()
    contest(rhythm, 500 * MS)
    contest(rhythm, 1000 * MS)
    rhythm.arrivals.extend([900 * MS, 1000 * MS])
    rhythm.forget(round(now_ms * MS))
    assert len(rhythm.arrivals) == 2 * kept
    assert rhythm.is_contested(1000 * MS) == kept
    assert rhythm.disputed_until_ns == 5500 * MS * kept
