"""Time as it comes from drivers: slow sensors, coarse clocks, wrong stamps, two publishers, stamps that never agree."""

from __future__ import annotations

from itertools import pairwise

import pytest
from support.sync_bench import MS, START, Bench

from m3l_core.frames import Frame
from m3l_core.streaming.modality_report import ModalityState

OK, STALE, LOST = ModalityState.OK, ModalityState.STALE, ModalityState.LOST
Sent = tuple[float, str, float]
"""When a frame arrives [ms], of which modality, and its stamp [ms]."""


def stream(
    modality: str, number: int, period_ms: float = 100 / 3, late_ms: float = 10, ahead_ms: float = 0
) -> list[Sent]:
    due = [index * period_ms for index in range(number)]
    return [(at_ms + late_ms, modality, at_ms + ahead_ms) for at_ms in due]


def play(bench: Bench, *streams: list[Sent]) -> Bench:
    for at_ms, modality, stamp_ms in sorted((sent for one in streams for sent in one), key=lambda sent: sent[0]):
        bench.arrive(modality, stamp_ms, at_ms)
    return bench


def silence_ms(bench: Bench) -> float:
    return max(later - earlier for earlier, later in pairwise(bench.left_ns)) / MS


# --- slow sensors ---


@pytest.mark.parametrize("period_ms", [200, 500, 999, 1000, 5000, 60_000])
def test_slow_sensors_pair_once_each_has_come_twice(period_ms: int) -> None:
    bench = play(Bench(), stream("color", 20, period_ms, 20), stream("depth", 20, period_ms, 30))
    bench.wait_until(20 * period_ms)
    assert [frames.complete for frames in bench.sets].count(False) <= 1
    assert len(bench.sets) == 20


def test_a_slow_depth_is_not_lost_between_its_frames() -> None:
    bench = play(Bench(), stream("color", 300), stream("depth", 10, 1000, 12))
    told = [event.state for event in bench.events if event.modality == "depth"]
    assert told.count(LOST) <= 1  # before it had come twice
    assert bench.sync.complete_sets == 9 or bench.sync.complete_sets == 10


@pytest.mark.parametrize(("period_ms", "lost_after_ms"), [(33, 500), (166, 500), (167, 501), (1000, 3000)])
def test_a_sensor_is_lost_after_sensor_timeout_or_three_periods(period_ms: int, lost_after_ms: int) -> None:
    bench = Bench()
    bench.stream("color", 0, 20 * period_ms, period_ms)
    last_ms = 19 * period_ms
    report = bench.sync.report()["color"]
    assert report.lost_after_ns == lost_after_ms * MS
    bench.wait_until(last_ms + lost_after_ms - 1e-6)
    assert bench.state("color") is not LOST
    bench.wait_until(last_ms + lost_after_ms)
    assert bench.state("color") is LOST


def test_a_sensor_is_stale_beyond_three_periods_and_not_at_them() -> None:
    bench = Bench()
    bench.stream("color", 0, 2000, 100)
    assert bench.sync.report()["color"].stale_after_ns == 300 * MS + 1
    bench.wait_until(1900 + 300)
    assert bench.state("color") is OK
    bench.wait_until(1900 + 300 + 1e-6)
    assert bench.state("color") is STALE


def test_a_pause_at_the_beginning_does_not_make_a_sensor_slow() -> None:
    bench = Bench()
    bench.arrive("color", 0)
    bench.stream("color", 20_000, 20_100, 33)
    assert bench.sync.report()["color"].lost_after_ns == 500 * MS


# --- clocks that run or tick slowly ---


@pytest.mark.parametrize("slowness", [1, 2, 5, 20])
def test_a_bag_that_is_played_slowly_is_in_time(slowness: int) -> None:
    arrivals = [(at_ms * slowness, name, stamp_ms) for at_ms, name, stamp_ms in [*stream("color", 60, late_ms=20)]]
    arrivals += [(at_ms * slowness, name, stamp_ms) for at_ms, name, stamp_ms in [*stream("depth", 60, late_ms=22)]]
    bench = play(Bench(), arrivals)
    assert bench.sync.complete_sets >= 58
    assert len(bench.events) <= 6


@pytest.mark.parametrize("tick_ms", [1, 10, 50, 100, 250, 1000])
@pytest.mark.parametrize("period_ms", [100 / 6, 100 / 3, 200])
def test_a_clock_that_ticks_seldom_makes_no_sensor_stale(tick_ms: int, period_ms: float) -> None:
    bench = Bench()
    real = sorted([*stream("color", 300, period_ms, 20), *stream("depth", 300, period_ms, 22)])
    for at_ms, modality, stamp_ms in real:
        bench.wait_until(at_ms // tick_ms * tick_ms)
        bench.sync.add(Frame(modality, START + round(stamp_ms * MS), None))
    assert len(bench.events) <= 8
    assert bench.sync.complete_sets >= 280


# --- stamps that leap ---


@pytest.mark.parametrize("leaping", ["color", "depth", "both"])
@pytest.mark.parametrize("ahead_ms", [101, 300, 600, 900, 1500, 3_600_000])
@pytest.mark.parametrize("late_ms", [10, 55])
def test_a_frame_from_the_future_costs_that_frame(leaping: str, ahead_ms: int, late_ms: int) -> None:
    streams = {"color": stream("color", 120), "depth": stream("depth", 120, late_ms=late_ms)}
    for name in streams if leaping == "both" else (leaping,):
        at_ms, _, stamp_ms = streams[name][60]
        streams[name][60] = (at_ms, name, stamp_ms + ahead_ms)
    bench = play(Bench(), *streams.values())
    bench.wait_until(4200)
    assert bench.sync.resets == 0
    assert silence_ms(bench) < 120
    assert bench.sync.complete_sets == 119
    for name, report in bench.sync.report().items():
        assert report.dropped.get("leap", 0) == (leaping in (name, "both"))


def test_stamps_that_leap_ahead_for_good_are_followed_by_the_third() -> None:
    jumped = [
        (at_ms + 2000, name, stamp + 60_000) for at_ms, name, stamp in [*stream("color", 60), *stream("depth", 60)]
    ]
    bench = play(Bench(), stream("color", 60), stream("depth", 60), jumped)
    assert [report.dropped for report in bench.sync.report().values()] == [{"leap": 2}] * 2
    assert bench.sync.complete_sets == 118 and bench.sync.resets == 0
    assert bench.state("color") is OK


@pytest.mark.parametrize(("ahead_ns", "leaps"), [(200 * MS, 0), (200 * MS + 1, 1)])
def test_stamps_leap_ahead_beyond_two_periods(ahead_ns: int, leaps: int) -> None:
    bench = Bench()
    bench.pairs(0, 1000, 100)
    bench.wait_until(1000)
    bench.sync.add(Frame("depth", START + 1000 * MS + ahead_ns, None))
    assert bench.sync.report()["depth"].dropped.get("leap", 0) == leaps


@pytest.mark.parametrize(("ahead_ns", "leaps"), [(50 * MS, 0), (50 * MS + 1, 1)])
def test_stamps_leap_ahead_beyond_sync_timeout_while_no_period_is_known(ahead_ns: int, leaps: int) -> None:
    bench = Bench(sync_timeout_ns=50 * MS)
    bench.arrive("color", 0)
    bench.wait_until(33)
    bench.sync.add(Frame("color", START + 33 * MS + ahead_ns, None))
    assert bench.sync.report()["color"].dropped.get("leap", 0) == leaps


def test_a_frame_in_time_after_late_and_lost_ones_is_not_from_the_future() -> None:
    late = [
        (at_ms + 200 * (stamp_ms % 1000 == 500), name, stamp_ms) for at_ms, name, stamp_ms in stream("color", 300, 100)
    ]
    kept = [sent for sent in late if sent[2] % 1000 not in (600, 700)]
    bench = play(Bench(), kept, stream("depth", 300, 100))
    assert "leap" not in bench.sync.report()["color"].dropped


@pytest.mark.parametrize(("back_ns", "resets"), [(1000 * MS, 0), (1000 * MS + 1, 1)])
def test_stamps_jump_back_beyond_reset_interval(back_ns: int, resets: int) -> None:
    bench = Bench(reset_interval_ns=1000 * MS)
    bench.pairs(0, 2001, 100)
    bench.wait_until(2100)
    bench.sync.add(Frame("color", START + 2000 * MS - back_ns, None))
    assert bench.sync.resets == resets


def test_garbage_for_stamps_is_never_followed_and_the_others_go_on() -> None:
    garbage = [
        (at_ms, "color", 10_000 * (7919 * index % 1009)) for index, (at_ms, _, _) in enumerate(stream("color", 300))
    ]
    bench = play(Bench(), garbage, stream("depth", 300))
    assert [frames.reference for frames in bench.sets].count("depth") > 200
    assert bench.sync.report()["color"].remark.startswith("its stamps leap, and none goes on")


@pytest.mark.parametrize("lap_ms", [200, 330, 660, 990, 1500, 5000])
@pytest.mark.parametrize("period_ms", [33, 100])
def test_a_bag_in_a_loop_is_labelled_in_every_round(lap_ms: int, period_ms: int) -> None:
    bench = Bench()
    if lap_ms // period_ms < 4:
        pytest.skip("a round of three frames is no round")
    rounds = [list(range(0, lap_ms, period_ms))] * 8
    begins = []
    for number, stamps in enumerate(rounds):
        begins.append(len(bench.sets))
        for stamp_ms in stamps:
            at_ms = number * len(stamps) * period_ms + stamp_ms
            bench.arrive("color", stamp_ms, at_ms + 10)
            bench.arrive("depth", stamp_ms, at_ms + 12)
    per_round = [later - earlier for earlier, later in pairwise([*begins, len(bench.sets)])]
    assert min(per_round) >= len(rounds[0]) - (0 if lap_ms > 1000 + period_ms else 3)


# --- two publishers ---


@pytest.mark.parametrize("rates", [(100 / 3, 100 / 3), (100 / 3, 100), (100, 100 / 3), (100 / 3, 1000 / 29)])
@pytest.mark.parametrize("topics", [("color", "depth"), ("color",), ("depth",)])
@pytest.mark.parametrize("shift_ms", [-100_000_000, -3000, 3000, 100_000_000])
def test_of_two_publishers_one_is_labelled(rates: tuple[float, float], topics: tuple[str, ...], shift_ms: int) -> None:
    first, second = rates
    here = [sent for name in ("color", "depth") for sent in stream(name, round(10_000 / first), first)]
    there = [sent for name in topics for sent in stream(name, round(10_000 / second), second, 15, shift_ms)]
    bench = play(Bench(), here, there)
    assert bench.sync.resets <= 4
    assert len(bench.events) <= 20
    assert len(bench.sets) >= 0.85 * 10_000 / max(rates)
    told = [event.text for event in bench.events if "Do two publish on its topic" in event.text]
    assert 1 <= len(told) <= 4 * len(topics)
    assert any(bench.state(name) is STALE for name in topics)
    assert any("Do two publish on its topic" in bench.sync.report()[name].remark for name in topics)
    for name in ("color", "depth"):  # when one of them is gone
        bench.stream(name, 10_100, 10_101)
    play(bench, [(at_ms + 10_100, name, stamp + 10_100) for at_ms, name, stamp in here])
    assert (bench.state("color"), bench.state("depth")) == (OK, OK)


# --- stamps that never agree ---


def mismatch(bench: Bench, parameter: str) -> str:
    """The one line that names a parameter."""
    bench.wait_until(bench.now_ns / MS + 100)
    lines = [event.text for event in bench.events if event.state is None]
    assert len(lines) == 1, lines
    assert parameter in lines[0]
    return lines[0]


@pytest.mark.parametrize("late_ms", [11, 26])
@pytest.mark.parametrize("ahead_ms", [40, 50, 65, 100, 900])
@pytest.mark.parametrize("depth", [False, True])
def test_a_stranger_from_the_near_future_does_not_mute_the_first(depth: bool, ahead_ms: int, late_ms: int) -> None:
    stranger = stream("color", 150, late_ms=late_ms, ahead_ms=ahead_ms)[20:]
    bench = play(Bench(), stream("color", 150), stranger, stream("depth", 150 if depth else 1, late_ms=12))
    first = {round(index * 100 / 3, 3) for index in range(150)}
    assert len(first & {round(stamp, 3) for stamp in bench.stamps_ms()}) >= 149
    assert bench.state("color") is STALE
    assert any("Do two publish on its topic" in told.text for told in bench.events)


def test_a_stranger_from_long_ago_costs_no_frame_of_the_first() -> None:
    bench = play(Bench(), stream("color", 40), [(650, "color", -100_000)])
    assert [event.text for event in bench.events if event.text.startswith("reset")] == [
        "reset: the stamps of color jumped back by 100.63 s",
        "reset: the stamps of color leap by 100.67 s to and fro",
    ]
    assert bench.sync.report()["color"].dropped == {}
    assert len(bench.sets) == 41


def test_frames_that_overtake_each_other_are_of_one_publisher() -> None:
    sent = stream("color", 60)
    for place in range(10, 60, 5):  # sent by threads: every fifth comes 1 ms after the one behind it
        sent[place] = (sent[place + 1][0] + 1 if place + 1 < 60 else sent[place][0], "color", sent[place][2])
    bench = play(Bench(), sent, stream("depth", 60, late_ms=45))
    assert bench.sync.report()["color"].dropped == {}
    assert bench.state("color") is OK


def test_free_running_sensors_are_told_of_the_interval() -> None:
    bench = play(Bench(), stream("color", 150, 200 / 3), stream("depth", 150, 200 / 3, 27, 33))
    text = mismatch(bench, "approx_sync_max_interval")
    assert "0.033 s from color's" in text and "set it to 0.033 or more" in text
    assert bench.sync.report()["depth"].remark == text
    wider = play(
        Bench(approx_sync_max_interval_ns=33 * MS),
        stream("color", 150, 200 / 3),
        stream("depth", 150, 200 / 3, 27, 33),
    )
    assert wider.sync.complete_sets >= 148 and wider.sync.report()["depth"].remark == ""


def test_color_that_is_late_pairs_and_where_the_queue_is_short_it_is_told_of_the_queue() -> None:
    arrivals = stream("color", 100, 200, 300), stream("depth", 1800, 1000 / 90, 5)
    assert play(Bench(), *arrivals).sync.complete_sets >= 95
    bench = play(Bench(queue_size=20), *arrivals)
    text = mismatch(bench, "Set it to 32")
    assert "color arrives 0.29 s late and sync_queue_size 20 holds 0.22 s of depth" in text
    assert play(Bench(queue_size=32), *arrivals).sync.complete_sets >= 95


def test_depth_that_is_late_is_told_of_the_timeout() -> None:
    arrivals = stream("color", 300, late_ms=10), stream("depth", 300, late_ms=310)
    text = mismatch(play(Bench(), *arrivals), "sync_timeout")
    assert "depth arrives 0.30 s late" in text and "Set that to 0.36" in text
    assert play(Bench(sync_timeout_ns=360 * MS), *arrivals).sync.complete_sets >= 280


@pytest.mark.parametrize("shift_ms", [-1_700_000_000_000, -60_000, 60_000])
def test_another_clock_is_told_of_the_offset(shift_ms: int) -> None:
    arrivals = stream("color", 300, late_ms=10), stream("depth", 300, late_ms=10, ahead_ms=shift_ms)
    text = mismatch(play(Bench(), *arrivals), "stamp_offset.depth")
    assert text.endswith(f"set stamp_offset.depth {-shift_ms / 1000:.3f}")
    assert play(Bench(stamp_offsets_ns={"depth": -shift_ms * MS}), *arrivals).sync.complete_sets >= 298


def test_a_mismatch_is_told_after_two_seconds() -> None:
    bench = Bench()
    for at_ms in range(0, 1999, 33):
        bench.arrive("color", at_ms)
        bench.arrive("depth", at_ms - 900, at_ms)
    bench.wait_until(1999)
    assert not [event for event in bench.events if event.state is None]
    bench.arrive("color", 2013)
    bench.wait_until(2100)
    assert [event.modality for event in bench.events if event.state is None] == ["depth"]


def test_a_sensor_that_comes_rarely_is_not_blamed_for_coming_rarely() -> None:
    bench = play(Bench(), stream("color", 600), stream("depth", 5, 4000, 12))
    assert not [event for event in bench.events if event.state is None]


# --- no flood ---


def test_a_sensor_at_the_edge_of_a_threshold_is_told_of_once_in_a_while() -> None:
    bench = Bench()
    bench.stream("color", 0, 1000, 33)
    at_ms = 1000
    for number in range(300):
        at_ms += 650 if number % 5 == 0 else 33
        bench.arrive("color", at_ms)
    told = [event.text for event in bench.events if event.modality == "color"]
    assert len(told) <= 2 * (at_ms / 3000) + 2
    assert any("more changes" in text for text in told)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    bench = Bench()
    bench.stream("color", 0, 20_000, 50)
    assert bench.sync.report()["color"].rate_hz == pytest.approx(20)
    assert bench.sync.report()["depth"].rate_hz == 0
    bench.stream("color", 20_000, 24_000, 200)
    assert bench.sync.report()["color"].rate_hz == pytest.approx(5)
    bench.wait_until(26_000)
    assert 0 < bench.sync.report()["color"].rate_hz < 3
    bench.wait_until(28_000)
    assert bench.sync.report()["color"].rate_hz == 0
