"""Sets out of queues, asked directly; when they leave is in the files of the synchronizer."""

from __future__ import annotations

import pytest

from m3l_core.frames import Frame, FrameSet
from m3l_core.streaming.modality_report import ModalityState, SyncEvent
from m3l_core.streaming.modality_stream import ModalityStream, Waiting
from m3l_core.streaming.set_assembly import SetAssembler
from m3l_core.streaming.sync_config import SyncConfig

MS = 1_000_000


class Bench:
    """Queues that are filled by hand, in milliseconds; the first of ``names`` leads."""

    def __init__(self, *names: str, **config: int) -> None:
        self.config = SyncConfig(**config)  # type: ignore[arg-type]
        self.streams = {name: ModalityStream(name, self.config) for name in names or ("color", "depth")}
        self.events: list[SyncEvent] = []
        self.assembler = SetAssembler(tuple(self.streams.values()), self.config, self.events.append)

    def wait(self, name: str, *stamps_ms: float, worthless: str = "") -> None:
        for stamp_ms in stamps_ms:
            stamp = round(stamp_ms * MS)
            self.streams[name].insert(Waiting(stamp, 0, Frame(name, stamp, None), worthless))

    def assemble(self, now_ms: float = 0) -> FrameSet | None:
        return self.assembler.assemble(next(iter(self.streams.values())), round(now_ms * MS))

    def stamps_ms(self, now_ms: float = 0) -> dict[str, float] | None:
        """Of the next set."""
        frames = self.assemble(now_ms)
        return frames and {name: frame.stamp_ns / MS for name, frame in frames.frames.items()}

    def missing(self, now_ms: float = 0) -> dict[str, str]:
        """From the next set, which has one of color alone."""
        self.wait("color", 1000)
        frames = self.assemble(now_ms)
        assert frames is not None
        return dict(frames.missing)


def test_each_set_and_each_frame_is_counted_once() -> None:
    bench = Bench(reuse_interval_ns=100 * MS)
    bench.wait("color", 0, 33, 66, 200)
    bench.wait("depth", 0, 60)
    sets = [bench.assemble() for _ in range(4)]
    assert [frames and frames.complete for frames in sets] == [True, True, True, False]
    assert (bench.assembler.complete_sets, bench.assembler.partial_sets) == (3, 1)
    color, depth = (stream.report(0) for stream in bench.streams.values())
    assert (color.in_complete_sets, color.in_partial_sets, color.reused) == (3, 1, 0)
    assert (depth.in_complete_sets, depth.in_partial_sets, depth.reused) == (2, 0, 1)
    assert bench.assembler.last_set_ns == 200 * MS


def test_what_a_later_set_can_use_goes_on_waiting() -> None:
    bench = Bench()
    bench.wait("color", 100)
    bench.wait("depth", 79.9, 80, 121)
    assert bench.stamps_ms() == {"color": 100, "depth": 80}
    assert [entry.stamp_ns for entry in bench.streams["depth"].queue] == [121 * MS]
    bench.wait("color", 160)
    assert bench.stamps_ms() == {"color": 160}
    depth = bench.streams["depth"].report(0)
    assert (depth.dropped, depth.waiting) == ({"superseded": 2}, 0)


# --- where the reference is worthless ---


def test_the_next_modality_with_a_frame_of_that_instant_leads() -> None:
    bench = Bench("color", "depth", "thermal")
    bench.wait("color", 100, worthless="dark")
    bench.wait("depth", 115)
    bench.wait("thermal", 96)
    frames = bench.assemble()
    assert frames is not None and frames.reference == "depth"
    assert frames.missing == {"color": "dark"}
    assert bench.assembler.last_set_ns == 115 * MS


def test_where_nobody_has_a_frame_of_that_instant_there_is_no_set() -> None:
    bench = Bench()
    bench.wait("color", 100, worthless="dark")
    assert bench.assemble() is None
    assert (bench.assembler.complete_sets, bench.assembler.partial_sets) == (0, 0)
    assert bench.assembler.last_set_ns is None


@pytest.mark.parametrize(("last_ms", "leads"), [(None, True), (109, True), (110, False), (111, False)])
def test_a_frame_leads_only_if_it_is_later_than_the_last_set(last_ms: int | None, leads: bool) -> None:
    bench = Bench()
    bench.assembler.last_set_ns = None if last_ms is None else last_ms * MS
    bench.wait("color", 100, worthless="dark")
    bench.wait("depth", 110)
    assert (bench.assemble() is not None) == leads


def test_a_frame_that_is_used_again_leads_no_second_set() -> None:
    bench = Bench(reuse_interval_ns=100 * MS)
    bench.wait("color", 100)
    bench.wait("depth", 110)
    assert bench.assemble() is not None
    bench.wait("color", 120, worthless="dark")
    assert bench.assemble() is None
    assert bench.streams["depth"].reused == 0


def test_of_several_reference_frames_that_wait_the_next_one_counts() -> None:
    bench = Bench()
    bench.wait("color", 100, 133, 200)
    bench.wait("depth", 117)
    assert bench.stamps_ms() == {"color": 100}
    assert bench.stamps_ms() == {"color": 133, "depth": 117}


@pytest.mark.parametrize(("next_ms", "period_ms", "leads"), [(130, None, True), (129, None, False), (None, 30, True)])
def test_a_frame_is_kept_for_the_next_reference_frame_if_it_is_nearer_to_that(
    next_ms: int | None, period_ms: int | None, leads: bool
) -> None:
    bench = Bench()
    bench.wait("color", 100, worthless="dark")
    if next_ms is not None:
        bench.wait("color", next_ms)
    bench.streams["color"].rhythm.period_ns = None if period_ms is None else period_ms * MS
    bench.wait("depth", 115)
    assert (bench.assemble() is not None) == leads


def test_the_next_reference_frame_is_expected_after_a_period() -> None:
    bench = Bench()
    bench.wait("color", 100, worthless="dark")
    bench.streams["color"].rhythm.period_ns = 29 * MS
    bench.wait("depth", 115)
    assert bench.assemble() is None


# --- why one is missing ---


@pytest.mark.parametrize(("stamp_ms", "its_reason"), [(980, True), (1020, True), (979, False), (1021, False)])
def test_a_worthless_frame_of_that_instant_is_the_reason(stamp_ms: int, its_reason: bool) -> None:
    bench = Bench()
    depth = bench.streams["depth"]
    depth.unhealthy_stamp_ns, depth.last_reason = stamp_ms * MS, "dark"
    assert bench.missing(700) == {"depth": "dark" if its_reason else "no frame within 0.020 s"}
    assert depth.matched_ns == 700 * MS * its_reason


def test_one_that_is_lost_is_told_with_its_age_and_its_last_reason() -> None:
    bench = Bench()
    depth = bench.streams["depth"]
    depth.start(200 * MS)
    depth.become(ModalityState.LOST)
    assert bench.missing(1700) == {"depth": "no healthy frame for 1.5 s"}
    depth.unhealthy_stamp_ns, depth.last_reason = 0, "dark"
    assert bench.missing(1800) == {"depth": "no healthy frame for 1.6 s, the last one: dark"}
    assert not bench.events


@pytest.mark.parametrize("skew_ms", [-700, 700])
def test_clocks_that_differ_are_the_reason_beyond_the_interval(skew_ms: int) -> None:
    bench = Bench()
    bench.streams["color"].rhythm.skew_ns, bench.streams["depth"].rhythm.skew_ns = 0, skew_ms * MS
    assert bench.missing() == {"depth": "color and depth differ by 0.70 s"}
    bench.streams["depth"].rhythm.skew_ns = 20 * MS
    assert bench.missing() == {"depth": "no frame within 0.020 s"}
    bench.streams["depth"].rhythm.skew_ns = 20 * MS + 1
    assert bench.missing() == {"depth": "color and depth differ by 0.02 s"}


def test_a_mismatch_is_told_once_for_each_cause_and_remarked_until_a_set_has_both() -> None:
    bench = Bench("color", "depth")
    depth = bench.streams["depth"]
    assert bench.missing(1999) and not bench.events
    assert bench.missing(2000) and [event.cause for event in bench.events] == ["approx_sync_max_interval"]
    assert bench.events[0].modality == "depth"
    assert depth.report(0).remark == bench.events[0].text
    assert bench.missing(3000) and len(bench.events) == 1
    bench.wait("depth", 1000)
    assert bench.missing(4000) == {}
    assert depth.report(0).remark == "" and depth.matched_ns == 4000 * MS
    assert bench.missing(5999) and depth.report(0).remark == ""
    assert bench.missing(6000) and depth.report(0).remark != "" and len(bench.events) == 1, "the same cause"
    depth.mismatch = ""
    bench.streams["color"].rhythm.skew_ns, depth.rhythm.skew_ns = 60_000 * MS, 0
    assert bench.missing(7000) and [event.cause for event in bench.events][1:] == ["stamp_offset"]


def test_another_interval_holds_at_once() -> None:
    bench = Bench()
    wider = SyncConfig(approx_sync_max_interval_ns=40 * MS)
    bench.assembler.reconfigure(wider)
    assert bench.missing() == {"depth": "no frame within 0.040 s"}
