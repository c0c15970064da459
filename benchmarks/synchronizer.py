#!/usr/bin/env python3
"""FrameSynchronizer beside message_filters' ApproximateTimeSynchronizer, on what goes wrong on a robot.

    python benchmarks/synchronizer.py

Both get the same messages in the same order. Time is simulated; only the CPU time is measured: of ours from the message
to the frame set, with `poll` called every 5 ms as the node does; of the other from the Subscriber's output to its
callback. ApproximateTimeSynchronizer (ATS) takes part where message_filters can be imported: it comes with every ROS 2
installation (apt install ros-$ROS_DISTRO-message-filters).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import random
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import groupby, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from m3l_core.frames import Frame, FrameSet
from m3l_core.streaming.image_messages import set_stamp, stamp_to_ns
from m3l_core.streaming.sync_config import SyncConfig
from m3l_core.streaming.synchronizer import FrameSynchronizer

try:
    from sensor_msgs.msg import Image
except ImportError:
    Image = None
try:
    from message_filters import ApproximateTimeSynchronizer, SimpleFilter
except ImportError:
    ApproximateTimeSynchronizer = None

MODALITIES = ("color", "depth")
MS = 1_000_000
SECOND = 1000 * MS
PERIOD = SECOND // 30
SECONDS = 20
END = SECONDS + 1  # what then still waits has left
FIRST_STAMP = 1_700_000_000 * SECOND
POLL_PERIOD = 5 * MS
TARGET_US = 15.0
HEAD = """                                          sets      in the        gap    stamps apart     CPU per frame [us]
scenario                               full  part   window       [s]    p50 max ms     all  poll  spread"""


class Arrival(NamedTuple):
    """A message reaches the synchronizer; times in nanoseconds."""

    at: int
    modality: int
    stamp: int


class Scenario(NamedTuple):
    """What arrives, and between which times [s] the sets are counted by themselves."""

    name: str
    arrivals: list[Arrival]
    window: tuple[int, int] = (0, END)
    config: SyncConfig = SyncConfig()
    raise_once: bool = False


@dataclass
class Outcome:
    """What one synchronizer made of a scenario."""

    complete: int
    partial: int
    in_window: int
    longest_gap_s: float
    error_p50_ms: float
    error_max_ms: float
    us_per_frame: list[float]
    """CPU time of all calls, one value per repeat."""
    poll_us_per_frame: list[float]
    """The share of ``poll`` in it."""
    note: str


def stream(index: int, delay: int, *, period: int = PERIOD, shift: int = 0, jitter: int = 0) -> Iterable[Arrival]:
    """20 s of one modality: it arrives ``delay`` after its exposure and stamps that with ``shift``."""
    noise = random.Random(index)
    for number in range(SECONDS * SECOND // period):
        exposure = number * period
        stamp = FIRST_STAMP + exposure + shift + round(noise.gauss(0, 1) * jitter / 3)
        yield Arrival(exposure + delay + noise.randint(0, jitter), index, stamp)


def silent(arrivals: Iterable[Arrival], begin_s: int, end_s: int) -> list[Arrival]:
    return [arrival for arrival in arrivals if not begin_s * SECOND <= arrival.at < end_s * SECOND]


def bag_loop(arrivals: Iterable[Arrival]) -> list[Arrival]:
    """The second half carries the stamps of the first once more."""
    half = SECONDS * SECOND // 2
    return [Arrival(a.at, a.modality, a.stamp - half if a.at >= half else a.stamp) for a in arrivals]


def scenarios() -> list[Scenario]:
    """Color is modality 0, depth 1."""
    color, depth = list(stream(0, 10 * MS)), list(stream(1, 14 * MS))
    early_depth = list(stream(1, 8 * MS))
    lost = [arrival for arrival in early_depth if arrival.stamp != FIRST_STAMP + 150 * PERIOD]
    wide = SyncConfig(approx_sync_max_interval_ns=50 * MS)

    def build(name: str, *streams: Iterable[Arrival], **options: Any) -> Scenario:
        # Sorted by time alone: of two arrivals at one time the first stream's is first.
        return Scenario(name, sorted((a for one in streams for a in one), key=lambda a: a.at), **options)

    found = [
        build("matched 30 Hz pair", color, depth),
        build("depth silent 5..15 s", color, silent(depth, 5, 15), window=(5, 15)),
        build("color silent 5..15 s", silent(color, 5, 15), depth, window=(5, 15)),
    ]
    # With 100 waiting, stamps that are 0.7 s apart do match, of images 0.7 s apart; an hour never does.
    for size, shift in ((10, -700), (10, 700), (100, -700), (100, 700), (100, 3_600_000)):
        shifted = stream(1, 14 * MS, shift=shift * MS)
        name = f"depth's clock {shift / 1000:+g} s, queue {size}"
        found.append(build(name, color, shifted, config=SyncConfig(queue_size=size)))
    slow, reuse = stream(1, 14 * MS, period=2 * PERIOD), SyncConfig(reuse_interval_ns=40 * MS)
    return [
        *found,
        build("15 Hz depth, reused", color, slow, config=reuse),
        build("jitter", stream(0, 5 * MS, jitter=12 * MS), stream(1, 5 * MS, jitter=12 * MS)),
        build("one depth lost, slop 50 ms", color, lost, window=(5, END), config=wide),
        build("depth silent 9..10 s, bag loop", bag_loop(color), bag_loop(silent(depth, 9, 10)), window=(10, END)),
        build("a callback raises once", color, depth, raise_once=True),
    ]


def make_messages(scenario: Scenario) -> list[Any]:
    messages = []
    for arrival in scenario.arrivals:
        messages.append(Image() if Image else SimpleNamespace(header=SimpleNamespace(stamp=SimpleNamespace())))
        set_stamp(messages[-1].header.stamp, arrival.stamp)
    return messages


class CpuMeter:
    """CPU time of stretches of the program, without the time that measuring takes."""

    def __init__(self) -> None:
        self.seconds = 0.0
        marks = [time.process_time() for _ in range(1001)]
        self._own = statistics.median(after - before for before, after in pairwise(marks))

    def __enter__(self) -> None:
        self._begin = time.process_time()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.process_time() - self._begin - self._own


class Collector:
    """The callback: notes when each set came and how far apart its stamps are."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.now = 0
        self.times: list[int] = []
        self.errors: list[int] = []

    def take(self, stamps: list[int]) -> None:
        self.times.append(self.now)
        if len(stamps) > 1:
            self.errors.append(max(stamps) - min(stamps))
        if self.scenario.raise_once and len(self.times) == 100:
            raise RuntimeError("raised by the benchmark, once")

    def outcome(self, us_per_frame: float, poll_us_per_frame: float = 0.0, note: str = "") -> Outcome:
        errors = sorted(self.errors) or [0]
        begin, end = self.scenario.window
        marks = [0, *self.times, SECONDS * SECOND]
        return Outcome(
            complete=len(self.errors),
            partial=len(self.times) - len(self.errors),
            in_window=sum(begin * SECOND <= at < end * SECOND for at in self.times),
            longest_gap_s=max(later - earlier for earlier, later in pairwise(marks)) / SECOND,
            error_p50_ms=errors[len(errors) // 2] / MS,
            error_max_ms=errors[-1] / MS,
            us_per_frame=[us_per_frame],
            poll_us_per_frame=[poll_us_per_frame],
            note=note,
        )


def run_ours(scenario: Scenario, messages: list[Any]) -> Outcome:
    """Add each message, poll every 5 ms in between."""
    collector = Collector(scenario)

    def on_set(frames: FrameSet) -> None:
        collector.take([frame.stamp_ns for frame in frames.frames.values()])

    synchronizer = FrameSynchronizer(MODALITIES, on_set, clock=lambda: collector.now, config=scenario.config)
    adding, polling = CpuMeter(), CpuMeter()
    next_poll = 0
    for at, group in groupby(zip(scenario.arrivals, messages, strict=True), key=lambda pair: pair[0].at):
        polls = range(next_poll, at, POLL_PERIOD)
        next_poll += len(polls) * POLL_PERIOD
        with polling:
            for now in polls:
                collector.now = now
                synchronizer.poll()
        pairs = list(group)
        collector.now = at
        with adding:
            for arrival, message in pairs:
                synchronizer.add(Frame(MODALITIES[arrival.modality], stamp_to_ns(message.header.stamp), message))
    collector.now = SECONDS * SECOND + scenario.config.sync_timeout_ns
    synchronizer.poll()
    add_us, poll_us = (meter.seconds * 1e6 / len(messages) for meter in (adding, polling))
    note = f"{synchronizer.callback_errors} error counted" if synchronizer.callback_errors else ""
    return collector.outcome(add_us + poll_us, poll_us, note)


def run_ats(scenario: Scenario, messages: list[Any]) -> Outcome:
    """Signal each message as a Subscriber does."""
    collector = Collector(scenario)
    sources = [SimpleFilter() for _ in MODALITIES]
    slop_s = scenario.config.approx_sync_max_interval_ns / SECOND
    ats = ApproximateTimeSynchronizer(sources, scenario.config.queue_size, slop_s)
    ats.registerCallback(lambda *found: collector.take([stamp_to_ns(message.header.stamp) for message in found]))
    adding, taken = CpuMeter(), 0
    for arrival, message in zip(scenario.arrivals, messages, strict=True):
        taken += 1
        collector.now = arrival.at
        with contextlib.suppress(RuntimeError), adding:
            sources[arrival.modality].signalMessage(message)
        if ats.lock.locked():
            break
    note = "hangs: the lock is held after the exception" if ats.lock.locked() else ""
    return collector.outcome(adding.seconds * 1e6 / taken, note=note)


def repeated(run: Callable[[Scenario, list[Any]], Outcome], scenario: Scenario, repeats: int) -> Outcome:
    """The outcome, which is the same each time, with the CPU time of every repeat."""
    messages = make_messages(scenario)
    first = run(scenario, messages)
    for _ in range(repeats - 1):
        other = run(scenario, messages)
        first.us_per_frame += other.us_per_frame
        first.poll_us_per_frame += other.poll_us_per_frame
    return first


def row(title: str, who: str, outcome: Outcome, expected: int) -> str:
    spread = f"{min(outcome.us_per_frame):.1f}..{max(outcome.us_per_frame):.1f}"
    cpu = f"{statistics.median(outcome.us_per_frame):7.1f} {statistics.median(outcome.poll_us_per_frame):5.1f}"
    return (
        f"{title:<32} {who:<5} {outcome.complete:5} {outcome.partial:5} {outcome.in_window:5} of {expected:<4}"
        f" {outcome.longest_gap_s:6.2f} {outcome.error_p50_ms:6.1f} {outcome.error_max_ms:6.1f}"
        f" {cpu}  {spread:<13} {outcome.note}"
    ).rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7, help="runs of each scenario (default %(default)s)")
    parser.add_argument("--json", type=Path, help="write every figure here, too")
    arguments = parser.parse_args()
    logging.disable()  # the callback that raises is meant to
    print(f"{SECONDS} s of messages; the CPU time is the median of {arguments.repeats} runs")
    runners = {"ours": run_ours, "ATS": run_ats}
    if ApproximateTimeSynchronizer is None:
        del runners["ATS"]
        print("ApproximateTimeSynchronizer is left out: message_filters is not here. It is part of any ROS 2")
        print("installation: apt install ros-$ROS_DISTRO-message-filters, then source /opt/ros/$ROS_DISTRO/setup.bash")
    print(HEAD)
    results: dict[str, dict[str, Any]] = {}
    for scenario in scenarios():
        begin, end = scenario.window
        in_window = [arrival.modality for arrival in scenario.arrivals if begin * SECOND <= arrival.at < end * SECOND]
        # What leads is not what is silent.
        expected = max(in_window.count(index) for index in range(len(MODALITIES)))
        results[scenario.name] = {"messages": len(scenario.arrivals), "expected": expected}
        for who, run in runners.items():
            outcome = repeated(run, scenario, arguments.repeats)
            print(row(scenario.name if who == "ours" else "", who, outcome, expected), flush=True)
            results[scenario.name][who] = asdict(outcome)
    worst = max(statistics.median(result["ours"]["us_per_frame"]) for result in results.values())
    met = worst <= TARGET_US
    verdict = f"{worst:.1f} us, {'met' if met else 'NOT met'}"
    print(f"target: at most {TARGET_US:.0f} us CPU per frame everywhere, with polls: {verdict}")
    if arguments.json:
        report = {"target_us": TARGET_US, "worst_us": worst, "met": met, "scenarios": results}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
