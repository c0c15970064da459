"""The synchronizer decides as the slow one of ``support.reference_synchronizer`` does, whatever arrives."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from hypothesis import event, given, settings
from hypothesis import strategies as st
from support.reference_synchronizer import MS, ReferenceSynchronizer

from m3l_core.frames import Frame, FrameSet
from m3l_core.streaming.modality_report import ModalityState
from m3l_core.streaming.sync_config import SyncConfig
from m3l_core.streaming.synchronizer import FrameSynchronizer

START, BEGIN = 1_700_000_000_000, 10_000
"""Stamps and arrivals begin there; all in milliseconds."""
NAMES = ["color", "depth", "thermal"]


@dataclass(frozen=True)
class Arrival:
    at: int
    modality: str
    stamp: int
    unhealthy: str = ""


@dataclass(frozen=True)
class Sensor:
    """Frames in a rhythm of their own, in milliseconds, disturbed in ways of their own."""

    modality: str
    period: int
    phase: int
    delay: int
    jitter: int
    skew: int
    silent: tuple[int, int]
    jumps: tuple[tuple[int, int], ...]
    """When, and by how much its stamps jump."""
    stranger: int
    """How far ahead another publisher on its topic is; 0 = there is none."""
    loss: float
    repeat: float
    worthless: float
    future: float
    shaky: float
    seed: int

    def arrivals(self, ends: int) -> Iterator[Arrival]:
        dice = random.Random(self.seed)
        for due in range(self.phase, ends, self.period):
            if self.silent[0] <= due < sum(self.silent) or dice.random() < self.loss:
                continue
            stamp = START + due + self.skew + sum(jump for when, jump in self.jumps if due >= when)
            stamp += dice.choice([150, 1000]) if dice.random() < self.future / 4 else 0
            stamp += dice.randint(-self.period // 3, self.period // 3) if dice.random() < self.shaky else 0
            at = BEGIN + due + self.delay + dice.randint(0, self.jitter)
            found = Arrival(
                at,
                self.modality,
                0 if dice.random() < 0.002 else stamp,
                "dark" if dice.random() < self.worthless else "",
            )
            yield found
            if self.stranger and due > ends // 3:
                at_any_time = BEGIN + due + self.delay + dice.randint(0, self.period)
                yield Arrival(at_any_time, self.modality, START + due + self.skew + self.stranger)
            if dice.random() < self.repeat:
                yield replace(found, at=at + dice.choice([0, self.period // 2]))


SHARE = st.sampled_from([0.0, 0.0, 0.2])


def sensors(modality: str) -> st.SearchStrategy[Sensor]:
    return st.builds(
        Sensor,
        modality=st.just(modality),
        period=st.sampled_from([100, 50, 33, 20, 10, 250]),
        phase=st.integers(0, 30),
        delay=st.integers(0, 80),
        jitter=st.sampled_from([0, 3, 30]),
        skew=st.sampled_from([0, 0, 0, 7, -300, 700, -1_000_000]),
        silent=st.tuples(st.integers(0, 2500), st.sampled_from([0, 0, 300, 1500])),
        jumps=st.sampled_from([(), (), ((900, -1500),), ((900, -400),), ((700, 2000),), ((500, 3000), (800, -3000))]),
        stranger=st.sampled_from([0, 0, 0, -40, 20, 50, 90, 700]),
        loss=SHARE,
        repeat=SHARE,
        worthless=SHARE,
        future=SHARE,
        shaky=SHARE,
        seed=st.integers(0, 2**16),
    )


@dataclass(frozen=True)
class Recording:
    """What all sensors send; the clock may go back once."""

    sensors: tuple[Sensor, ...]
    ends: int
    grid: int
    """On a coarse one the limits are met exactly."""
    back: tuple[float, int]
    """After which share of the frames the clock goes back, and by how much."""

    def arrivals(self) -> list[Arrival]:
        found = [each for sensor in self.sensors for each in sensor.arrivals(self.ends)]
        on_grid = [
            replace(each, at=each.at // self.grid * self.grid, stamp=each.stamp // self.grid * self.grid)
            for each in found
        ]
        on_grid.sort(key=lambda each: each.at)
        place = round(self.back[0] * len(on_grid))
        return on_grid[:place] + [replace(each, at=each.at - self.back[1]) for each in on_grid[place:]]


recordings = st.builds(
    Recording,
    sensors=st.one_of(
        st.tuples(sensors("color"), sensors("depth")),
        st.tuples(sensors("color"), sensors("depth"), sensors("thermal")),
    ),
    ends=st.sampled_from([400, 1500, 2500]),
    grid=st.sampled_from([1, 1, 10, 20]),
    back=st.tuples(st.floats(0, 1), st.sampled_from([0, 0, 0, 1, 300, 5000])),
)
configs = st.builds(
    SyncConfig,
    approx_sync_max_interval_ns=st.sampled_from([0, 5 * MS, 20 * MS, 60 * MS]),
    sync_timeout_ns=st.sampled_from([1 * MS, 50 * MS, 200 * MS]),
    sensor_timeout_ns=st.sampled_from([100 * MS, 500 * MS]),
    reuse_interval_ns=st.sampled_from([0, 0, 70 * MS]),
    reset_interval_ns=st.sampled_from([200 * MS, 1000 * MS]),
    queue_size=st.sampled_from([3, 10, 50]),
    stamp_offsets_ns=st.sampled_from([{}, {"depth": 300 * MS}]),
)


class Both:
    """The two synchronizers, given the same."""

    def __init__(self, begin: int, config: SyncConfig) -> None:
        self.now = begin
        self.sets: list[tuple[int, FrameSet]] = []
        self.sync = FrameSynchronizer(
            NAMES, lambda frames: self.sets.append((self.now, frames)), clock=lambda: self.now, config=config
        )
        self.sync.poll()
        self.slow = ReferenceSynchronizer(NAMES, config, begin)

    def pass_to(self, end: int) -> None:
        while (deadline := self.sync.next_deadline_ns()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.sync.poll()
        self.now = end
        self.sync.poll()
        self.slow.pass_to(end)

    def arrive(self, arrival: Arrival) -> None:
        self.pass_to(arrival.at * MS)
        frame = Frame(arrival.modality, arrival.stamp * MS, object())
        self.sync.add(frame, arrival.unhealthy or None)
        self.slow.arrive(frame, arrival.unhealthy or None)

    def compare(self) -> None:
        assert [told(*each) for each in self.sets] == [told(*each) for each in self.slow.sets]
        assert self.sync.resets == self.slow.resets
        for name, report in self.sync.report().items():
            slow = self.slow.sensors[name]
            assert report.dropped == {reason: number for reason, number in slow.dropped.items() if number}, name
            assert (report.received, report.in_complete_sets, report.in_partial_sets, report.reused) == (
                slow.received,
                slow.in_sets[True],
                slow.in_sets[False],
                slow.reused,
            )
            assert report.waiting == sum(not entry.worthless for entry in slow.waiting)
            assert (report.state is ModalityState.LOST) == self.slow.lost(slow)


def told(left: int, frames: FrameSet) -> tuple[object, ...]:
    """All of a set: when it left, who led, which frames, and why the others are missing."""
    held = {name: (frame.stamp_ns, id(frame.data)) for name, frame in frames.frames.items()}
    return left // MS, frames.reference, held, frames.missing


@settings(max_examples=100)
@given(recordings, configs)
def test_the_same_sets_at_the_same_times_for_the_same_reasons(recording: Recording, config: SyncConfig) -> None:
    both = Both(BEGIN * MS, config)
    for arrival in recording.arrivals():
        both.arrive(arrival)
    both.compare()
    both.pass_to(both.now + 3 * config.sync_timeout_ns + config.sensor_timeout_ns)
    both.compare()
    for name, report in both.sync.report().items():
        for reason in report.dropped:
            event(f"{name}: {reason}")
    event(f"resets: {min(both.sync.resets, 2)}")
