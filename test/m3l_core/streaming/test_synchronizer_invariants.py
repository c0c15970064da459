"""What holds whatever arrives: losses, jitter, reordering, duplicates, jumps, worthless frames, two to four sensors."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from m3l_core.frames import Frame, FrameSet
from m3l_core.streaming.sync_config import SyncConfig
from m3l_core.streaming.synchronizer import FrameSynchronizer

MS = 1_000_000
START = 1_700_000_000_000 * MS
NAMES = ("color", "depth", "thermal", "event")


@dataclass(frozen=True)
class Arrival:
    at_ms: int
    modality: str
    stamp_ms: int
    unhealthy: bool


@st.composite
def arrivals(draw: st.DrawFn) -> list[Arrival]:
    """Sensors with a rhythm, each disturbed in its own way."""
    result = []
    for modality in NAMES[: draw(st.integers(2, 4))]:
        period = draw(st.sampled_from([20, 33, 66, 100]))
        delay, jitter = draw(st.integers(0, 80)), draw(st.integers(0, 30))
        skew = draw(st.sampled_from([0, 0, 0, 7, -700, 700, -1_000_000]))
        silent = draw(st.tuples(st.integers(0, 2000), st.integers(0, 1500)))
        jump_at = draw(st.sampled_from([None, None, 900]))
        shaken = random.Random(draw(st.integers(0, 2**16)))
        loss, repeat, worthless = (draw(st.sampled_from([0.0, 0.0, 0.3])) for _ in range(3))
        for due in range(0, 2000, period):
            if silent[0] <= due < silent[0] + silent[1] or shaken.random() < loss:
                continue
            stamp = due + skew - (1500 if jump_at is not None and due >= jump_at else 0)
            at = due + delay + shaken.randint(0, jitter)
            arrival = Arrival(at, modality, stamp, shaken.random() < worthless)
            result += [arrival] * (2 if shaken.random() < repeat else 1)
    return sorted(result, key=lambda arrival: arrival.at_ms)


configs = st.builds(
    SyncConfig,
    approx_sync_max_interval_ns=st.sampled_from([0, 5 * MS, 20 * MS, 60 * MS]),
    sync_timeout_ns=st.sampled_from([1 * MS, 50 * MS, 200 * MS]),
    sensor_timeout_ns=st.sampled_from([100 * MS, 500 * MS]),
    reuse_interval_ns=st.sampled_from([0, 70 * MS]),
    queue_size=st.sampled_from([1, 3, 10]),
)


class Run:
    """Feeds arrivals to a synchronizer and notes when what left it."""

    def __init__(self, events: list[Arrival], config: SyncConfig) -> None:
        self.now_ns = 0
        self.sets: list[tuple[int, int, FrameSet]] = []
        """(resets so far, time it left, set)."""
        self.names = [name for name in NAMES if name in NAMES[:2] or any(event.modality == name for event in events)]
        self.arrived: dict[int, int] = {}
        """id of a frame's data -> when it arrived."""
        self.frames: list[Frame] = []
        self.config = config
        self.sync = FrameSynchronizer(self.names, self._take, clock=lambda: self.now_ns, config=config)
        for event in events:
            self._pass_until(event.at_ms * MS)
            frame = Frame(event.modality, START + event.stamp_ms * MS, object())
            self.arrived[id(frame.data)] = self.now_ns
            self.sync.add(frame, "worthless" if event.unhealthy else None)
            self.frames.append(frame)  # or its id would be given to another one
            self.check_accounts()
        self._pass_until((events[-1].at_ms if events else 0) * MS + 3 * config.sync_timeout_ns)

    def _take(self, frames: FrameSet) -> None:
        self.sets.append((self.sync.resets, self.now_ns, frames))

    def _pass_until(self, end_ns: int) -> None:
        while (deadline := self.sync.next_deadline_ns()) is not None and deadline <= end_ns:
            self.now_ns = max(self.now_ns, deadline)
            self.sync.poll()
        self.now_ns = max(self.now_ns, end_ns)
        self.sync.poll()

    def check_accounts(self) -> None:
        for report in self.sync.report().values():
            accounted = report.in_complete_sets + report.in_partial_sets + sum(report.dropped.values()) + report.waiting
            assert report.received == accounted
            assert report.waiting <= self.config.queue_size


@settings(max_examples=60, deadline=None)
@given(arrivals(), configs)
def test_every_frame_is_accounted_for_and_memory_is_bounded(events: list[Arrival], config: SyncConfig) -> None:
    run = Run(events, config)
    reports = run.sync.report()
    assert sum(report.received for report in reports.values()) == len(events)
    fresh = sum(report.in_complete_sets + report.in_partial_sets for report in reports.values())
    reused = sum(report.reused for report in reports.values())
    assert fresh + reused == sum(len(frames.frames) for _, _, frames in run.sets)
    assert run.sync.complete_sets + run.sync.partial_sets == len(run.sets)
    assert run.sync.callback_errors == 0


@settings(max_examples=60, deadline=None)
@given(arrivals(), configs)
def test_sets_leave_in_increasing_order_of_their_stamps(events: list[Arrival], config: SyncConfig) -> None:
    run = Run(events, config)
    for (resets, _, earlier), (later_resets, _, later) in pairwise(run.sets):
        if resets == later_resets:
            assert earlier.reference_frame.stamp_ns < later.reference_frame.stamp_ns


@settings(max_examples=60, deadline=None)
@given(arrivals(), configs)
def test_no_reference_frame_waits_longer_than_sync_timeout(events: list[Arrival], config: SyncConfig) -> None:
    run = Run(events, config)
    for _, left_ns, frames in run.sets:
        # Another modality's frame may have waited before, until the first one was known to be LOST.
        if frames.reference == run.names[0]:
            assert left_ns - run.arrived[id(frames.reference_frame.data)] <= config.sync_timeout_ns


@settings(max_examples=60, deadline=None)
@given(arrivals(), configs)
def test_frames_of_a_set_are_close_and_serve_as_often_as_allowed(events: list[Arrival], config: SyncConfig) -> None:
    run = Run(events, config)
    served: dict[int, int] = {}
    for _, _, frames in run.sets:
        assert set(frames.frames) | set(frames.missing) == set(run.names)
        assert not set(frames.frames) & set(frames.missing)
        assert all(frames.missing.values())
        for frame in frames.frames.values():
            distance = abs(frame.stamp_ns - frames.reference_frame.stamp_ns)
            assert distance <= max(config.approx_sync_max_interval_ns, config.reuse_interval_ns)
            served[id(frame.data)] = served.get(id(frame.data), 0) + 1
    if not config.reuse_interval_ns:
        assert set(served.values()) <= {1}


@settings(max_examples=60, deadline=None)
@given(arrivals())
def test_each_healthy_reference_frame_gives_exactly_one_set(events: list[Arrival]) -> None:
    """Whatever the others do, but for jumps of the stamps: those begin a new timeline."""
    config = SyncConfig()
    steady = [Arrival(at, "color", at, False) for at in range(0, 2000, 33)]
    others = [event for event in events if event.modality != "color" and abs(event.stamp_ms - event.at_ms) < 200]
    run = Run(sorted([*steady, *others], key=lambda event: event.at_ms), config)
    stamps = [(frames.reference_frame.stamp_ns - START) // MS for _, _, frames in run.sets]
    assert stamps == [event.stamp_ms for event in steady]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["color", "depth", None]), min_size=3, max_size=60), st.integers(0, 15))
def test_labels_go_on_while_one_sensor_is_worthless(worthless: list[str | None], depth_late_ms: int) -> None:
    """Flashes and tunnels: every instant at which any sensor has a healthy frame gives a set."""
    events = []
    for number, modality in enumerate(worthless):
        stamp = 33 * number
        events.append(Arrival(stamp, "color", stamp, modality == "color"))
        events.append(Arrival(stamp + depth_late_ms, "depth", stamp, modality == "depth"))
    run = Run(sorted(events, key=lambda event: event.at_ms), SyncConfig())
    assert [(frames.reference_frame.stamp_ns - START) // MS for _, _, frames in run.sets] == [
        33 * number for number in range(len(worthless))
    ]
    assert [sorted(frames.missing) for _, _, frames in run.sets] == [
        [] if name is None else [name] for name in worthless
    ]


def test_many_threads_lose_nothing() -> None:
    sets: list[FrameSet] = []
    clock = iter(range(10**9))
    sync = FrameSynchronizer(NAMES, sets.append, clock=lambda: next(clock) * 1000, config=SyncConfig(queue_size=1000))
    barrier = threading.Barrier(len(NAMES))

    def feed(modality: str) -> None:
        barrier.wait(10)
        for number in range(500):
            sync.add(Frame(modality, START + number * 33 * MS, None))

    threads = [threading.Thread(target=feed, args=(name,)) for name in NAMES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    stamps = [frames.reference_frame.stamp_ns for frames in sets]
    assert stamps == sorted(set(stamps))
    for report in sync.report().values():
        assert report.received == 500
        accounted = report.in_complete_sets + report.in_partial_sets + sum(report.dropped.values()) + report.waiting
        assert accounted == 500
