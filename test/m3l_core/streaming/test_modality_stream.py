"""One modality's queue, state and accounts, asked directly; sets of several are in the files beside."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3l_core.frames import Frame
from m3l_core.streaming.modality_report import Drop, ModalityState, SyncEvent
from m3l_core.streaming.modality_stream import NEVER_NS, ModalityStream, Waiting
from m3l_core.streaming.rhythm import FOLLOWERS
from m3l_core.streaming.sync_config import SyncConfig

MS = 1_000_000
OK, STALE, LOST = ModalityState.OK, ModalityState.STALE, ModalityState.LOST


def waiting(stamp: int, worthless: str = "") -> Waiting:
    return Waiting(stamp, 0, Frame("depth", stamp, None), worthless)


def holding(*stamps: int, interval: int = 20, reuse: int = 0) -> ModalityStream:
    """With these frames in its queue; in nanoseconds."""
    stream = ModalityStream("depth", SyncConfig(approx_sync_max_interval_ns=interval, reuse_interval_ns=reuse))
    for stamp in stamps:
        stream.insert(waiting(stamp))
    return stream


def stamps(stream: ModalityStream) -> list[int]:
    return [entry.stamp_ns for entry in stream.queue]


def steady(frames: int = 10, period_ms: int = 100, **config: int) -> ModalityStream:
    """Frames from 0 on, each of which arrives at its stamp."""
    stream = ModalityStream("depth", SyncConfig(**config))  # type: ignore[arg-type]
    stream.start(0)
    for time in range(0, frames * period_ms * MS, period_ms * MS):
        stream.observe(time, time)
        change(stream, time)
    return stream


def change(stream: ModalityStream, now_ns: int) -> SyncEvent | None:
    """What the synchronizer does with it as time goes on."""
    if stream.state_at(now_ns) is not stream.state:
        stream.become(stream.state_at(now_ns))
    if stream.telling.untold and now_ns >= stream.telling.due_ns(stream.lost):
        return stream.told(now_ns)
    return None


# --- the queue ---


@given(st.lists(st.integers(0, 30)))
def test_frames_wait_in_the_order_of_their_stamps_one_for_each(arrived: list[int]) -> None:
    stream = holding(*arrived)
    assert stamps(stream) == sorted(set(arrived))
    for stamp in range(31):
        assert stream.holds(stamp) == (stamp in arrived)


def test_a_healthy_frame_replaces_the_worthless_one_of_its_stamp() -> None:
    stream = holding(10, 30)
    for stamp in (20, 40):
        stream.insert(waiting(stamp, "dark"))
        assert not stream.holds(stamp)
        stream.insert(waiting(stamp))
        assert stream.holds(stamp)
    assert stamps(stream) == [10, 20, 30, 40]


def test_the_stamp_of_the_last_one_used_is_held() -> None:
    stream = holding(10, 20)
    stream.take(stream.queue[0])
    assert stream.holds(10)
    assert not stream.holds(11)
    stream.take(stream.queue[0])
    assert not stream.holds(10)


@given(st.sets(st.integers(0, 60), min_size=1), st.integers(-5, 65))
def test_of_two_frames_equally_near_the_older_is_the_nearest(arrived: set[int], stamp: int) -> None:
    stream = holding(*arrived)
    assert stamps(stream)[stream.nearest(stamp)] == min(arrived, key=lambda each: (abs(each - stamp), each))


@given(st.lists(st.booleans(), max_size=6), st.integers(0, 70))
def test_dropped_frames_are_counted_but_for_worthless_ones(worthless: list[bool], stamp: int) -> None:
    stream = holding()
    for number, each in enumerate(worthless):
        stream.insert(waiting(10 * number, "dark" if each else ""))
    older = [each for number, each in enumerate(worthless) if 10 * number < stamp]
    stream.drop_before(stamp, Drop.LATE)
    assert len(stream.queue) == len(worthless) - len(older)
    assert stream.dropped[Drop.LATE] == older.count(False)
    assert stream.report(0).waiting == worthless.count(False) - older.count(False)


def test_the_oldest_one_is_dropped() -> None:
    stream = holding(10, 20, 30)
    stream.drop_oldest(Drop.OVERFLOW)
    assert stamps(stream) == [20, 30]
    stream.drop(Drop.OVERFLOW)
    assert stream.report(0).dropped == {"overflow": 2}


def test_what_is_older_than_a_frame_that_is_used_is_superseded() -> None:
    stream = holding(10, 20, 30, 40)
    stream.take(stream.queue[2])
    assert stream.last_used == waiting(30)
    assert stamps(stream) == [40]
    assert stream.report(0).dropped == {"superseded": 2}


# --- which frame serves ---


@pytest.mark.parametrize(
    ("queue", "following", "chosen"),
    [
        ([], None, None),
        ([80], None, 80),
        ([79], None, None),
        ([120], None, 120),
        ([121], None, None),
        ([79, 121], None, None),
        ([85, 120], 130, 85),
        ([110], 120, 110),  # as near to this one as to that which follows
        ([111], 120, None),
        ([90, 101], 103, 101),
        ([85, 111], 120, 85),  # the one before serves
        ([79, 111], 120, None),
        ([80, 81, 111, 119], 120, 81),
        ([111], 113, None),
        ([115], 111, None),  # it is beyond the one that follows
        ([99, 101, 103], 102, 99),
    ],
)
def test_the_nearest_frame_serves_unless_it_is_nearer_to_what_follows(
    queue: list[int], following: int | None, chosen: int | None
) -> None:
    found = holding(*queue).candidate(100, following)
    assert (found and found.stamp_ns) == chosen


def test_a_worthless_frame_serves_nobody() -> None:
    stream = holding(85)
    stream.insert(waiting(99, "dark"))
    assert stream.candidate(100, None) is None


@pytest.mark.parametrize(
    ("used", "queue", "reuse", "chosen"),
    [
        (70, [], 30, 70),
        (70, [], 29, None),
        (70, [], 0, None),
        (130, [], 30, 130),
        (131, [], 30, None),
        (100, [], 0, None),
        (90, [111], 30, 90),
        (90, [110], 30, 110),  # a new one, if it is as near
        (70, [80], 30, 80),
        (110, [111], 30, 110),
        (69, [80], 30, 80),
        (60, [121], 50, 60),
    ],
)
def test_the_last_one_used_serves_again_if_it_is_nearer(
    used: int, queue: list[int], reuse: int, chosen: int | None
) -> None:
    stream = holding(*queue, reuse=reuse)
    stream.last_used = waiting(used)
    found = stream.candidate(100, None)
    assert (found and found.stamp_ns) == chosen
    assert (found is stream.last_used) == (chosen == used)


@pytest.mark.parametrize(
    ("age_ms", "settled"),
    [(62.5, True), (62.500001, False), (0, True), (-10, True)],  # 2 * 62.5 - 100 is a quarter of 100
)
def test_the_newest_frame_is_settled_on_unless_the_next_is_nearer_by_a_quarter_of_a_period(
    age_ms: float, settled: bool
) -> None:
    stream = steady(approx_sync_max_interval_ns=90 * MS)
    stream.insert(waiting(800 * MS))
    stream.insert(waiting(900 * MS))
    assert stream.is_settled(round((900 + age_ms) * MS), None) == settled
    assert stream.is_settled(870 * MS, None), "there is another one behind it"
    assert not stream.is_settled(2000 * MS, None), "none is near"


def test_while_no_period_is_known_the_first_that_is_near_will_do() -> None:
    stream = steady(3, approx_sync_max_interval_ns=90 * MS)
    stream.insert(waiting(200 * MS))
    assert stream.is_settled(290 * MS, None)


# --- its state ---


@pytest.mark.parametrize(
    ("period_ms", "timeout_ms", "stale_after_ns", "lost_after_ms"),
    [
        (100, 500, 300 * MS + 1, 500),
        (100, 301, 300 * MS + 1, 301),
        (100, 300, None, 300),
        (100, 299, None, 300),
        (1000, 500, None, 3000),
    ],
)
def test_stale_beyond_three_periods_and_lost_after_them_and_the_timeout(
    period_ms: int, timeout_ms: int, stale_after_ns: int | None, lost_after_ms: int
) -> None:
    stream = steady(10, period_ms, sensor_timeout_ns=timeout_ms * MS)
    last = 9 * period_ms * MS
    report = stream.report(last)
    assert (report.stale_after_ns, report.lost_after_ns) == (stale_after_ns, lost_after_ms * MS)
    stale_after = stale_after_ns or lost_after_ms * MS
    assert stream.state_at(last + stale_after - 1) is OK
    if stale_after_ns:
        assert stream.state_at(last + stale_after_ns) is STALE
    assert stream.state_at(last + lost_after_ms * MS - 1) is (STALE if stale_after_ns else OK)
    for later in (0, 1, 10_000 * MS):
        assert stream.state_at(last + lost_after_ms * MS + later) is LOST


def test_before_its_first_frame_it_is_stale_and_then_lost() -> None:
    stream = ModalityStream("depth", SyncConfig())
    stream.start(1000 * MS)
    assert stream.state_at(1000 * MS) is STALE
    assert stream.next_change_ns(1000 * MS) == 1500 * MS
    assert stream.state_at(1500 * MS - 1) is STALE
    assert stream.state_at(1500 * MS) is LOST
    assert stream.report(1500 * MS).age_ns is None
    stream.observe(0, 1600 * MS)
    assert stream.state_at(1600 * MS) is OK
    assert stream.report(1700 * MS).age_ns == 100 * MS


@given(
    st.lists(st.tuples(st.integers(1, 900), st.sampled_from([0, 0, 0, 40, -70, 60_000])), min_size=1, max_size=20),
    st.integers(50, 700),
)
def test_between_two_changes_the_state_stays_and_nothing_is_worth_telling(
    arrivals: list[tuple[int, int]], timeout_ms: int
) -> None:
    stream, now = ModalityStream("depth", SyncConfig(sensor_timeout_ns=timeout_ms * MS)), 0
    stream.start(0)
    for passed_ms, ahead_ms in arrivals:
        end = now + passed_ms * MS
        while (soonest := stream.next_change_ns(now)) <= end:
            assert soonest > now
            assert stream.state_at(soonest - 1) is stream.state
            before, now = stream.state, soonest
            assert change(stream, now) or stream.state is not before
        now = end
        assert stream.state_at(now) is stream.state
        stamp = now + ahead_ms * MS
        if stream.rhythm.jump_ns(stamp, now):
            stream.rhythm.is_followed(stamp, now, 60_000 * MS)
        else:
            stream.observe(stamp, now)
        change(stream, now)


def test_one_that_is_lost_changes_by_a_frame_alone() -> None:
    stream = steady()
    now = 900 * MS
    changes = []
    while (soonest := stream.next_change_ns(now)) != NEVER_NS:
        change(stream, now := soonest)
        changes.append((now // MS, stream.state))
    assert changes == [(1200, STALE), (1400, LOST)]


# --- what is told of it ---


def test_a_loss_is_told_with_the_reason_of_the_last_frame_if_that_was_worthless() -> None:
    stream = steady()
    stream.unhealthy_stamp_ns, stream.last_reason = 950 * MS, "black image"
    assert stream.next_change_ns(900 * MS) == 1200 * MS + 1
    assert change(stream, 1300 * MS) is None, "OK was told at 0, so that nothing is until 3 s"
    assert change(stream, 1400 * MS) == SyncEvent("depth is LOST: black image (after 1 more change)", "depth", LOST)
    stream.observe(1500 * MS, 1500 * MS)
    change(stream, 1500 * MS)
    assert not stream.is_unhealthy
    assert change(stream, 4400 * MS) == SyncEvent("depth is LOST (after 1 more change)", "depth", LOST)


def test_stamps_that_leap_to_and_fro_make_it_stale_for_a_while() -> None:
    stream = steady()
    for begin in (900, 950):
        for number in range(FOLLOWERS):
            stream.rhythm.is_followed(10**15 + number, begin * MS, -700 * MS)
    stream.observe(1000 * MS, 1000 * MS)
    change(stream, 1000 * MS)
    assert stream.state is STALE
    remark = "its stamps leap by 0.70 s to and fro. Do two publish on its topic, such as a driver and a bag?"
    assert stream.report(5900 * MS - 1).remark == remark
    assert stream.report(5900 * MS).remark == ""
    assert stream.next_change_ns(1000 * MS) == 1500 * MS, "it is lost before"
    for now in range(1100 * MS, 5900 * MS, 100 * MS):
        stream.observe(now, now)
        change(stream, now)
    assert stream.next_change_ns(5800 * MS) == 5900 * MS
    assert stream.state_at(5900 * MS - 1) is STALE
    assert stream.state_at(5900 * MS) is stream.state_at(6000 * MS) is OK


def test_of_one_that_is_lost_while_its_stamps_leap_that_is_told() -> None:
    stream = steady()
    stream.rhythm.is_followed(10**15, 950 * MS, 700 * MS)
    assert stream.report(950 * MS).remark == ""
    event = change(stream, 1400 * MS)
    assert event is not None and event.text.startswith("depth is LOST: its stamps leap, and none goes on from another.")


# --- a new timeline, other waits ---


@pytest.mark.parametrize(("now_ms", "age_ms"), [(1000, 100), (500, 0)])
def test_a_new_timeline_empties_the_queue_and_keeps_the_age(now_ms: int, age_ms: int) -> None:
    stream = steady()
    stream.insert(waiting(900 * MS))
    stream.take(stream.queue[0])
    stream.insert(waiting(950 * MS))
    stream.insert(waiting(960 * MS, "dark"))
    stream.unhealthy_stamp_ns, stream.late_since_ns, stream.mismatch = 1, 2, "they never meet"
    stream.forget(now_ms * MS)
    assert not stream.queue and not stream.holds(900 * MS)
    report = stream.report(now_ms * MS)
    assert (report.dropped, report.age_ns, report.remark) == ({"reset": 1}, age_ms * MS, "")
    assert not stream.is_unhealthy and stream.late_since_ns is None
    assert stream.matched_ns == now_ms * MS
    assert stream.rhythm.unsettled
    lost_at = (now_ms - age_ms + 500) * MS
    assert (stream.state_at(lost_at - 1), stream.state_at(lost_at)) == (STALE, LOST)


def test_other_waits_hold_at_once() -> None:
    stream = holding(100)
    stream.reconfigure(SyncConfig(approx_sync_max_interval_ns=5, reuse_interval_ns=7, sensor_timeout_ns=9))
    assert [stream.candidate(stamp, None) is None for stamp in (105, 106)] == [False, True]
    assert stream.report(0).lost_after_ns == 9
    stream.take(stream.queue[0])
    assert [stream.candidate(stamp, None) is None for stamp in (107, 108)] == [False, True]


def test_it_counts_as_in_no_set_from_its_first_frame_and_from_its_return_on() -> None:
    stream = ModalityStream("depth", SyncConfig())
    stream.start(10 * MS)
    assert stream.matched_ns == 10 * MS
    for now, since in ((20, 20), (120, 20), (220, 20)):
        stream.observe(now * MS, now * MS)
        assert stream.matched_ns == since * MS
    change(stream, 900 * MS)
    stream.late_since_ns = None
    stream.observe(1000 * MS, 1000 * MS)
    assert stream.matched_ns == 1000 * MS


def test_one_that_is_lost_is_late_no_more() -> None:
    stream = steady()
    stream.late_since_ns = 5
    stream.become(STALE)
    assert stream.late_since_ns == 5 and not stream.lost
    stream.become(LOST)
    assert stream.late_since_ns is None and stream.lost


def test_reports_and_events_are_copies_that_nobody_changes() -> None:
    with pytest.raises(FrozenInstanceError):
        steady().report(0).received = 3  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        SyncEvent("text").text = ""  # type: ignore[misc]


def test_the_report_has_the_accounts() -> None:
    stream = steady(4)
    stream.received, stream.in_sets, stream.reused, stream.last_reason = 9, [2, 5], 3, "dark"
    stream.dropped[Drop.LATE] = 0
    report = stream.report(350 * MS)
    assert (report.state, report.age_ns, report.period_ns) == (OK, 50 * MS, 100 * MS)
    assert (report.received, report.in_partial_sets, report.in_complete_sets, report.reused) == (9, 2, 5, 3)
    assert (report.dropped, report.waiting, report.last_reason) == ({}, 0, "dark")
