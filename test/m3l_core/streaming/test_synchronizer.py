"""The sentences that the synchronizer promises, one test each; random arrivals are in the file beside."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest
from support.sync_bench import MS, START, Bench

from m3l_core.frames import Frame, FrameSet
from m3l_core.streaming.modality_report import ModalityState, SyncEvent
from m3l_core.streaming.sync_config import SyncConfig
from m3l_core.streaming.synchronizer import FrameSynchronizer


def test_a_complete_set_leaves_on_the_arrival_that_completes_it() -> None:
    bench = Bench()
    bench.arrive("color", 0)
    assert not bench.sets
    bench.arrive("depth", 0, at_ms=4)
    assert bench.left_ns == [4 * MS]
    assert bench.sets[0].complete and bench.sets[0].reference == "color"


def test_the_order_of_arrival_does_not_matter() -> None:
    bench = Bench()
    bench.arrive("depth", 0)
    bench.arrive("color", 0)
    assert len(bench.sets) == 1 and bench.sets[0].complete


def test_an_incomplete_set_leaves_after_sync_timeout() -> None:
    bench = Bench(sync_timeout_ns=50 * MS)
    bench.arrive("color", 0)
    bench.wait_until(200)
    assert bench.left_ns == [50 * MS]
    assert set(bench.sets[0].missing) == {"depth"}


def test_a_dead_sensor_costs_no_latency() -> None:
    bench = Bench(sensor_timeout_ns=300 * MS)
    bench.pairs(0, 300)
    bench.stream("color", 300, 900)
    assert bench.state("depth") is ModalityState.LOST
    waited = [stamp for left, stamp in zip(bench.left_ns, bench.stamps_ms(), strict=True) if left > stamp * MS]
    assert waited and max(waited) < 600  # lost at 597 ms; from then on nothing waits
    assert len(bench.sets) == len(range(0, 300, 33)) + len(range(300, 900, 33))
    assert "no healthy frame" in bench.sets[-1].missing["depth"]


def test_depth_leads_when_color_is_lost_and_color_when_it_returns() -> None:
    bench = Bench()
    bench.pairs(0, 300)
    bench.stream("depth", 330, 1500)
    assert {frames.reference for frames in bench.sets[-10:]} == {"depth"}
    before = len(bench.sets)
    bench.pairs(1518, 1700)
    assert {frames.reference for frames in bench.sets[before:]} == {"color"}
    assert all(frames.complete for frames in bench.sets[before:])
    assert bench.stamps_ms() == sorted(set(bench.stamps_ms()))


def test_frames_that_wait_when_their_sensor_is_lost_leave_before_the_next_one_leads() -> None:
    bench = Bench(sensor_timeout_ns=100 * MS, sync_timeout_ns=300 * MS)
    bench.pairs(0, 200)
    bench.arrive("color", 231)
    for at_ms in range(232, 600, 33):  # a rhythm of its own, far from color's
        bench.arrive("depth", at_ms + 90, at_ms=at_ms)
    assert bench.stamps_ms()[7] == 231 and bench.left_ns[7] == 331 * MS
    assert {frames.reference for frames in bench.sets[8:]} == {"depth"}


def test_before_the_first_frame_there_is_nothing_to_do_until_all_are_lost() -> None:
    bench = Bench(sensor_timeout_ns=500 * MS)
    assert bench.sync.next_deadline_ns() == 500 * MS
    bench.wait_until(500)
    assert bench.sync.next_deadline_ns() is None


def test_a_modality_that_never_came_is_lost_after_sensor_timeout() -> None:
    bench = Bench(sensor_timeout_ns=500 * MS)
    bench.stream("depth", 0, 490)
    assert not bench.sets  # color may still come
    bench.stream("depth", 495, 700)
    assert bench.sets and all(frames.reference == "depth" for frames in bench.sets)


def test_a_loss_is_told_at_once_and_the_return_after_a_while() -> None:
    bench = Bench()
    bench.pairs(0, 400)
    bench.stream("color", 396, 1200)
    bench.pairs(1188, 6000)
    told = [(event.modality, event.state) for event in bench.events if event.state is not None]
    assert told == [
        ("color", ModalityState.OK),
        ("depth", ModalityState.OK),
        ("depth", ModalityState.LOST),
        ("depth", ModalityState.OK),
    ]
    assert [event.text for event in bench.events][2:] == ["depth is LOST (after 1 more change)", "depth is OK"]


def test_a_slower_modality_is_not_stale_and_may_serve_twice() -> None:
    bench = Bench(reuse_interval_ns=40 * MS)
    for stamp_ms in range(0, 1980, 33):
        bench.arrive("color", stamp_ms)
        if stamp_ms % 66 == 0:
            bench.arrive("depth", stamp_ms)
            assert bench.state("depth") is ModalityState.OK
    assert all(frames.complete for frames in bench.sets[1:])
    report = bench.sync.report()["depth"]
    assert report.in_complete_sets == 30 and report.reused >= 28


def test_each_frame_serves_once_without_reuse_interval() -> None:
    bench = Bench(approx_sync_max_interval_ns=40 * MS)
    for stamp_ms in range(0, 990, 33):
        bench.arrive("color", stamp_ms)
        if stamp_ms % 66 == 0:
            bench.arrive("depth", stamp_ms)
    bench.wait_until(1200)
    used = [frames.frames["depth"].stamp_ns for frames in bench.sets if frames.complete]
    assert len(used) == len(set(used)) == 15


@pytest.mark.parametrize("delay_ms", [-5, 5])
@pytest.mark.parametrize("lossy", ["color", "depth"])
def test_a_lost_frame_does_not_shift_the_pairing(lossy: str, delay_ms: int) -> None:
    bench = Bench(approx_sync_max_interval_ns=50 * MS)  # more than a period: where stock pairing shifts for good
    arrivals = [("color", number, number * 33) for number in range(100)]
    arrivals += [("depth", number, number * 33 + delay_ms) for number in range(100)]
    for modality, number, at_ms in sorted(arrivals, key=lambda arrival: arrival[2]):
        if modality != lossy or number % 10 != 9:
            bench.arrive(modality, number * 33, at_ms=at_ms + 10)
    bench.wait_until(4000)
    assert set(bench.distances_ms()) == {0.0}
    assert sum(frames.complete for frames in bench.sets) >= 89


def test_a_nearer_frame_that_is_due_is_waited_for() -> None:
    bench = Bench(approx_sync_max_interval_ns=50 * MS)
    bench.pairs(0, 330)
    bench.arrive("depth", 330)  # its color was lost
    bench.arrive("color", 363)
    assert bench.stamps_ms()[-1] == 297
    bench.arrive("depth", 363, at_ms=366)
    assert bench.stamps_ms()[-1] == 363 and bench.distances_ms()[-1] == 0


def test_a_known_shift_is_corrected_and_the_header_is_not() -> None:
    bench = Bench(stamp_offsets_ns={"depth": 700 * MS})
    for at_ms in range(0, 300, 33):
        bench.arrive("color", 1000 + at_ms, at_ms=at_ms)
        bench.arrive("depth", 300 + at_ms, at_ms=at_ms)
    assert len(bench.sets) == 10 and all(frames.complete for frames in bench.sets)
    assert bench.sets[0].frames["depth"].stamp_ns == START + 300 * MS


@pytest.mark.parametrize("shift_ms", [-700, 700])
def test_clocks_that_differ_do_not_silence_it_and_are_reported(shift_ms: int) -> None:
    bench = Bench(queue_size=20)
    for stamp_ms in range(1000, 3000, 33):
        bench.arrive("color", stamp_ms)
        bench.arrive("depth", stamp_ms + shift_ms, at_ms=stamp_ms + 1)
    bench.wait_until(3100)
    assert len(bench.sets) == len(range(1000, 3000, 33))
    assert bench.sets[-1].missing == {"depth": "color and depth differ by 0.70 s"}
    assert sum(event.text.startswith("color and depth differ by 0.70 s: ") for event in bench.events) == 1


@pytest.mark.parametrize(("stamp_ns", "dropped"), [(-1, {"unhealthy": 1}), (0, {"unhealthy": 1}), (1, {})])
def test_stamps_that_are_not_positive_are_none(stamp_ns: int, dropped: dict[str, int]) -> None:
    bench = Bench()
    bench.sync.add(Frame("color", stamp_ns, None))
    bench.wait_until(100)
    report = bench.sync.report()["color"]
    assert report.dropped == dropped
    assert report.last_reason == ("its stamp is zero" if dropped else "")


@pytest.mark.parametrize("dead_clock", ["color", "depth"])
def test_zero_stamps_make_a_modality_worthless_not_the_node_silent(dead_clock: str) -> None:
    bench = Bench()
    for stamp_ms in range(1000, 3000, 33):
        for modality in ("color", "depth"):
            bench.wait_until(stamp_ms)
            stamp_ns = 0 if modality == dead_clock else START + stamp_ms * MS
            bench.sync.add(Frame(modality, stamp_ns, None))
    assert len(bench.sets) >= 45
    assert "its stamp is zero" in bench.sets[-1].missing[dead_clock]


def test_a_clock_of_another_epoch_takes_over_and_hands_back() -> None:
    bench = Bench()
    hour_ms = 3_600_000
    for stamp_ms in range(hour_ms, hour_ms + 6000, 100):
        phase = (stamp_ms - hour_ms) // 2000  # both, depth alone, both
        if phase != 1:
            bench.arrive("color", stamp_ms)
        bench.arrive("depth", stamp_ms - hour_ms, at_ms=stamp_ms)
    references = [frames.reference for frames in bench.sets]
    assert references.count("color") >= 38 and references.count("depth") >= 14
    assert references[-1] == "color"


def test_a_bag_loop_resets() -> None:
    bench = Bench()
    bench.pairs(0, 5000)
    for stamp_ms in range(0, 5000, 33):
        bench.arrive("color", stamp_ms, at_ms=5000 + stamp_ms)
        bench.arrive("depth", stamp_ms, at_ms=5000 + stamp_ms)
    assert bench.sync.resets == 1
    assert len(bench.sets) == 2 * len(range(0, 5000, 33))
    assert any("jumped back" in event.text for event in bench.events)


@pytest.mark.parametrize("lap_ms", [330, 660, 990])
def test_a_reference_that_loops_within_reset_interval_is_silent_for_sensor_timeout_at_most(lap_ms: int) -> None:
    bench = Bench()
    bench.pairs(0, 2000)
    for at_ms in range(2000, 12000, 33):
        bench.arrive("color", 1300 + (at_ms - 2000) % lap_ms, at_ms)
        bench.arrive("depth", at_ms)
    assert max(later - earlier for earlier, later in pairwise([*bench.left_ns, bench.now_ns])) <= 600 * MS
    assert bench.sync.resets > 5
    assert any("stamps are" in event.text and "behind" in event.text for event in bench.events)


def test_a_reference_that_returns_with_its_clock_behind_leads_after_sensor_timeout() -> None:
    bench = Bench()
    bench.stream("depth", 0, 2000)
    for at_ms in range(2000, 4000, 33):
        bench.arrive("color", at_ms - 900, at_ms)
        bench.arrive("depth", at_ms)
    assert max(later - earlier for earlier, later in pairwise(bench.left_ns[1:])) <= 600 * MS
    assert bench.sets[-1].reference == "color"
    (reset,) = [event for event in bench.events if event.text.startswith("reset")]
    assert reset == SyncEvent("reset: color leads, its stamps are 0.35 s behind")


@pytest.mark.parametrize(("behind_ms", "resets"), [(1000, 0), (1000.001, 1)])
def test_a_reference_that_returns_by_reset_interval_behind_is_late_and_beyond_it_leads(
    behind_ms: float, resets: int
) -> None:
    bench = Bench()
    bench.pairs(0, 300)
    bench.stream("depth", 300, 2000)  # color is lost, and depth leads
    bench.arrive("color", bench.stamps_ms()[-1] - behind_ms, 2000)
    assert bench.sync.resets == resets
    assert bench.sync.report()["color"].dropped == ({} if resets else {"late": 1})


@pytest.mark.parametrize(("last_ms", "resets"), [(1899, 1), (1900, 0)])
def test_three_late_frames_that_follow_each_other_begin_a_loop_but_not_with_one_that_was_there(
    last_ms: int, resets: int
) -> None:
    bench = Bench()
    bench.pairs(0, 300)
    bench.stream("depth", 300, 2000)  # color is lost, and depth leads
    for number, stamp_ms in enumerate((1900, 1850, 1860, last_ms)):
        bench.arrive("color", stamp_ms, 2000 + number)
    assert bench.sync.resets == resets
    assert bench.sync.report()["color"].dropped == {"late": 4 - resets}


@pytest.mark.parametrize(("behind_ms", "reason"), [(20, "superseded"), (20.001, "late")])
def test_beyond_the_interval_behind_the_last_set_a_frame_is_late(behind_ms: float, reason: str) -> None:
    bench = Bench()
    bench.pairs(0, 300)
    bench.arrive("depth", bench.stamps_ms()[-1] - behind_ms, 320)
    bench.pairs(330, 400)
    assert bench.sync.report()["depth"].dropped == {reason: 1}


def test_no_second_set_has_the_stamp_of_the_last() -> None:
    bench = Bench()
    bench.pairs(0, 300)
    bench.stream("depth", 300, 2000)  # color is lost, and depth leads
    last = bench.stamps_ms()[-1]
    bench.arrive("color", last, 2000)
    assert bench.sync.report()["color"].dropped == {"late": 1}
    assert bench.stamps_ms().count(last) == 1


def test_where_the_reference_is_worthless_no_frame_of_the_last_set_s_stamp_leads() -> None:
    bench = Bench()
    bench.pairs(0, 300)
    bench.arrive("color", 330)
    bench.arrive("depth", 330, 385)  # its set has left without it
    bench.arrive("color", 340, 386, unhealthy="dark")
    bench.wait_until(600)
    assert bench.stamps_ms().count(330) == 1


@pytest.mark.parametrize(("apart_ms", "at_once"), [(20, True), (22, False)])
def test_a_frame_is_kept_for_the_next_reference_frame_if_it_will_be_nearer_by_a_quarter_of_a_period(
    apart_ms: int, at_once: bool
) -> None:
    bench = Bench(approx_sync_max_interval_ns=60 * MS)
    bench.pairs(0, 330)
    bench.arrive("color", 330)
    bench.arrive("depth", 330 + apart_ms)
    assert (bench.stamps_ms()[-1] == 330) == at_once


@pytest.mark.parametrize("number", [2, 3])
def test_a_frame_that_is_nearer_to_the_next_reference_frame_that_waits_settles_no_set_before(number: int) -> None:
    bench = Bench(sync_timeout_ns=100 * MS)
    bench.stream("depth", 0, 70, 10)  # and then a few are lost
    for each in range(number):
        bench.arrive("color", last := 100 + 33 * each)
    bench.arrive("depth", last - 16, last + 7)
    assert not bench.sets
    bench.arrive("depth", last - 6, last + 17)
    assert bench.left_ns == [(last + 17) * MS] * number
    assert [frames.complete for frames in bench.sets] == [*[False] * (number - 1), True]


def test_what_is_too_old_for_any_further_set_does_not_wait() -> None:
    bench = Bench()
    bench.pairs(0, 300)
    bench.arrive("depth", 310)
    bench.arrive("color", 345)
    bench.wait_until(400)
    depth = bench.sync.report()["depth"]
    assert (depth.dropped, depth.waiting) == ({"superseded": 1}, 0)


def test_where_the_reference_is_worthless_a_frame_nearer_to_the_next_one_is_kept_for_it() -> None:
    bench = Bench(approx_sync_max_interval_ns=60 * MS)
    bench.pairs(0, 330)
    bench.arrive("color", 330, unhealthy="dark")
    bench.arrive("depth", 350)
    bench.arrive("color", 363)
    assert bench.stamps_ms()[-2:] == [297, 363]
    assert bench.sets[-1].complete


def test_of_two_frames_equally_near_the_older_serves() -> None:
    bench = Bench()
    bench.pairs(0, 300)
    bench.arrive("depth", 320)
    bench.arrive("depth", 340)
    bench.arrive("color", 330, 345)
    assert bench.sets[-1].frames["depth"].stamp_ns == START + 320 * MS


@pytest.mark.parametrize(("after_ms", "waits"), [(14, False), (12, True)])
def test_a_frame_is_waited_for_that_will_be_nearer_by_a_quarter_of_a_period(after_ms: int, waits: bool) -> None:
    bench = Bench(approx_sync_max_interval_ns=60 * MS)
    for due_ms in range(33, 660, 33):
        bench.arrive("depth", due_ms - 33 + after_ms)
        bench.arrive("color", due_ms)
    bench.arrive("depth", 627 + after_ms)
    assert bench.left_ns[-1] == (627 + after_ms * waits) * MS


def test_after_the_clock_went_back_no_age_is_negative_and_a_loss_is_noticed() -> None:
    bench = Bench()
    bench.pairs(5000, 6000)
    bench.now_ns -= 4000 * MS
    bench.sync.poll()
    assert SyncEvent("reset: the clock went back by 4.00 s") in bench.events
    assert bench.sync.report()["color"].age_ns == 0
    bench.wait_until(bench.now_ns / MS + 500)
    assert bench.state("color") is ModalityState.LOST


def test_one_that_returns_a_little_late_catches_up_without_a_reset() -> None:
    bench = Bench()
    for at_ms in range(0, 9000, 33):
        bench.arrive("depth", at_ms)
        if not 2000 < at_ms < 4000 and not 5000 < at_ms < 7000:
            bench.arrive("color", at_ms - 60, at_ms)
    assert bench.sync.resets == 0
    assert bench.sets[-1].reference == "color"


def test_a_clock_that_goes_back_resets() -> None:
    bench = Bench()
    bench.pairs(0, 1000)
    bench.now_ns = 0
    bench.pairs(0, 1000)
    assert bench.sync.resets == 1
    assert len(bench.sets) == 2 * len(range(0, 1000, 33))


def test_duplicates_are_dropped_and_do_not_count_as_alive() -> None:
    bench = Bench()
    bench.pairs(0, 300)
    for at_ms in range(330, 1200, 33):
        bench.arrive("color", 297, at_ms=at_ms)
        bench.arrive("depth", at_ms)
    assert bench.state("color") is ModalityState.LOST
    assert bench.sync.report()["color"].dropped == {"duplicate": len(range(330, 1200, 33))}
    assert bench.sets[-1].reference == "depth"


def test_an_unhealthy_frame_is_missing_with_its_reason() -> None:
    bench = Bench()
    bench.arrive("color", 0)
    bench.arrive("depth", 0, unhealthy="3% of the depth is valid, 5% needed")
    bench.wait_until(100)
    assert bench.sets[0].missing == {"depth": "3% of the depth is valid, 5% needed"}
    assert bench.sync.report()["depth"].dropped == {"unhealthy": 1}


def test_where_the_reference_is_worthless_the_others_are_labelled_at_once() -> None:
    bench = Bench()
    bench.pairs(0, 330)
    bench.sets.clear()
    bench.arrive("color", 330, unhealthy="black image")
    bench.arrive("depth", 332, at_ms=335)
    assert bench.left_ns[-1] == 335 * MS
    (frames,) = bench.sets
    assert frames.reference == "depth"
    assert frames.missing == {"color": "black image"}
    assert bench.stamps_ms() == [332]
    bench.pairs(363, 400)
    assert bench.stamps_ms() == [332, 363, 396]
    report = bench.sync.report()
    assert report["color"].dropped == {"unhealthy": 1}
    assert report["depth"].dropped == {}


def test_a_worthless_reference_alone_gives_no_set() -> None:
    bench = Bench()
    bench.arrive("color", 0, unhealthy="black image")
    bench.wait_until(200)
    assert not bench.sets
    assert bench.sync.partial_sets == 0
    assert bench.sync.report()["color"].waiting == 0


def test_a_healthy_frame_takes_the_place_of_a_worthless_one_of_its_stamp() -> None:
    bench = Bench()
    bench.arrive("color", 0, unhealthy="truncated")
    bench.arrive("color", 0, at_ms=1)
    bench.arrive("depth", 0, at_ms=2)
    (frames,) = bench.sets
    assert frames.complete
    assert bench.sync.report()["color"].dropped == {"unhealthy": 1}


def test_of_three_the_second_leads_where_the_first_is_worthless() -> None:
    bench = Bench(("color", "depth", "thermal"), approx_sync_max_interval_ns=20 * MS)
    bench.arrive("color", 0, unhealthy="black image")
    bench.arrive("depth", 15, at_ms=16)
    bench.arrive("thermal", -15, at_ms=17)
    bench.wait_until(100)
    (frames,) = bench.sets
    assert frames.reference == "depth"
    assert set(frames.missing) == {"color", "thermal"}, "30 ms apart"


def test_a_stamp_that_a_worthless_frame_brings_is_not_believed() -> None:
    bench = Bench()
    bench.pairs(0, 330)
    bench.arrive("color", -100_000, at_ms=331, unhealthy="truncated")
    bench.arrive("color", 100_000, at_ms=332, unhealthy="truncated")
    bench.pairs(333, 400)
    assert bench.sync.resets == 0
    assert bench.stamps_ms()[-3:] == [333, 366, 399]


def test_three_modalities_of_which_two_are_lost() -> None:
    bench = Bench(("color", "depth", "thermal"))
    for stamp_ms in range(0, 2000, 50):
        for modality in ("color", "depth", "thermal") if stamp_ms < 500 else ("thermal",):
            bench.arrive(modality, stamp_ms)
    assert all(frames.complete for frames in bench.sets if frames.reference_frame.stamp_ns < START + 500 * MS)
    assert bench.sets[-1].reference == "thermal" and set(bench.sets[-1].missing) == {"color", "depth"}


def test_a_callback_that_raises_breaks_nothing() -> None:
    bench = Bench()
    calls = []

    def fail(frames: FrameSet) -> None:
        calls.append(frames)
        raise RuntimeError("a bug of the user's")

    bench.sync = FrameSynchronizer(("color", "depth"), fail, clock=lambda: bench.now_ns)
    bench.pairs(0, 330)
    assert len(calls) == 10 and bench.sync.callback_errors == 10


def test_a_callback_may_call_back() -> None:
    bench = Bench()
    sync = FrameSynchronizer(("color", "depth"), lambda frames: sync.report() and sync.poll(), clock=lambda: 0)
    sync.add(Frame("color", START, None))
    sync.add(Frame("depth", START, None))
    assert sync.complete_sets == 1 and not bench.sets


def test_no_lock_is_held_while_a_callback_runs() -> None:
    begun, release = threading.Event(), threading.Event()

    def hold(frames: FrameSet) -> None:
        begun.set()
        assert release.wait(10)

    sync = FrameSynchronizer(("color", "depth"), hold, clock=lambda: 0, config=SyncConfig(queue_size=4))
    sync.add(Frame("color", START, None))
    holder = threading.Thread(target=sync.add, args=(Frame("depth", START, None),))
    holder.start()
    assert begun.wait(10)
    for number in range(1, 30):  # returns, though the callback still runs, and stores no more than it may
        sync.add(Frame("color", START + number * 33 * MS, None))
        sync.add(Frame("depth", START + number * 33 * MS, None))
    report = sync.report()["color"]
    assert report.waiting == 4 and report.dropped.get("overflow", 0) >= 20
    release.set()
    holder.join(10)
    assert not holder.is_alive()


@pytest.mark.parametrize(
    ("modalities", "config"),
    [
        ((), {}),
        (("color", "color"), {}),
        (("color", "depth"), {"stamp_offsets_ns": {"thermal": 1}}),
    ],
)
def test_senseless_settings_are_refused(modalities: tuple[str, ...], config: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="modalities"):
        FrameSynchronizer(modalities, print, clock=lambda: 0, config=SyncConfig(**config))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["sync_timeout_ns", "queue_size", "reset_interval_ns", "sensor_timeout_ns"])
def test_a_wait_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        SyncConfig(**{name: 0})


def test_an_unknown_modality_is_refused() -> None:
    with pytest.raises(ValueError, match="'thermal'"):
        Bench().arrive("thermal", 0)
