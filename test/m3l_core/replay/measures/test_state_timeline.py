"""The timeline has every change of a state at its time, though it hears reports only now and then."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3l_core.frames import Frame
from m3l_core.replay.measures import state_timeline
from m3l_core.replay.measures.state_timeline import StateTimeline
from m3l_core.streaming.modality_report import ModalityState
from m3l_core.streaming.sync_config import SyncConfig
from m3l_core.streaming.synchronizer import FrameSynchronizer

MS = 1_000_000
START = 1_700_000_000_000 * MS
CONFIG = SyncConfig(sensor_timeout_ns=500 * MS)
OK, STALE, LOST = ModalityState.OK, ModalityState.STALE, ModalityState.LOST
Changes = list[tuple[int, ModalityState]]


def both(arrivals: list[tuple[int, str, bool]]) -> tuple[dict[str, StateTimeline], dict[str, Changes]]:
    """Timelines, and the changes that the synchronizer goes through; arrivals are (ms, modality, healthy) in order."""
    now = START
    changes: dict[str, Changes] = {"color": [(START, STALE)], "depth": [(START, STALE)]}
    synchronizer = FrameSynchronizer(("color", "depth"), lambda frames: None, clock=lambda: now, config=CONFIG)
    timelines = {name: StateTimeline(START) for name in changes}

    def note() -> None:
        for name, report in synchronizer.report().items():
            if report.state is not changes[name][-1][1]:
                changes[name].append((now, report.state))

    def pass_time(until: int) -> None:
        nonlocal now
        while (deadline := synchronizer.next_deadline_ns()) is not None and deadline <= until:
            now = max(now, deadline)
            synchronizer.poll()
            note()
        now = max(now, until)

    for at_ms, modality, healthy in arrivals:
        pass_time(START + at_ms * MS)
        for name, report in synchronizer.report().items():
            timelines[name].observe(report, now)
        synchronizer.add(Frame(modality, now, None), None if healthy else "black")
        note()
    end = now
    pass_time(end + 2000 * MS)
    for name, report in synchronizer.report().items():
        timelines[name].finish(report, now, end)
        changes[name] = [change for change in changes[name] if change[0] <= end]
    return timelines, changes


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.integers(1, 400), st.sampled_from(["color", "depth"]), st.sampled_from([True, True, False])),
        min_size=1,
        max_size=40,
    )
)
def test_the_timeline_has_the_synchronizer_s_changes_at_their_times(steps: list[tuple[int, str, bool]]) -> None:
    at_ms, arrivals = 0, [(0, "color", True)]
    for distance, modality, healthy in steps:
        at_ms += distance
        arrivals.append((at_ms, modality, healthy))
    timelines, events = both(arrivals)
    for name, timeline in timelines.items():
        expected = events[name]
        if len(expected) > 1 and expected[1][0] == START:
            del expected[0]
        assert timeline.changes == expected
        assert sum(timeline.lengths_ns.values()) == at_ms * MS


def test_a_sensor_that_falls_silent_is_stale_then_lost_then_back() -> None:
    steady = [(number * 100, "color", True) for number in range(10)]
    depth = [(number * 100 + 1, "depth", True) for number in range(20)]
    timelines, _ = both(sorted([*steady, *depth, (1800, "color", True)]))
    color = timelines["color"]
    assert [((since - START) // MS, state) for since, state in color.changes] == [
        (0, OK),
        (1200, STALE),
        (1400, LOST),
        (1800, OK),
    ]
    assert {state: round(length / MS) for state, length in color.lengths_ns.items() if length} == {
        OK: 1301,
        STALE: 200,
        LOST: 400,
    }


def test_a_flickering_sensor_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_timeline, "MOST_CHANGES", 5)
    at, regular = 0, []
    for number in range(200):
        at += 100 if number % 10 == 9 else 10
        regular.append((at, "color", True))
    timelines, events = both([(0, "color", True), *regular])
    assert len(events["color"]) > 30
    assert len(timelines["color"].changes) == 5
    assert timelines["color"].further_changes == len(events["color"]) - 1 - 5
