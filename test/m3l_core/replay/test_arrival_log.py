"""Every message is known as it was recorded and as it arrived."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3l_core.datasets.arrivals import Arrival
from m3l_core.errors import DatasetError
from m3l_core.frames import Frame
from m3l_core.replay.arrival_log import ArrivalLog, Stamps
from m3l_core.replay.timing import Delivery
from m3l_core.streaming.sync_config import SyncConfig

MS = 1_000_000
CONFIG = SyncConfig()


def arrive(log: ArrivalLog, *arrivals: tuple[int, str, int]) -> None:
    """Each is (ms, modality, stamp in ms)."""
    recorded = (Arrival(at * MS, name, None, stamp * MS) for at, name, stamp in arrivals)
    for arrival in log.before_faults(recorded):
        log.behind_faults(arrival, arrival.time_ns)


@pytest.mark.parametrize(("stamps", "seen_ms"), [("header", 40), ("receive", 100)])
def test_a_frame_is_known_by_its_stamp_whatever_a_fault_made_of_it(stamps: Stamps, seen_ms: int) -> None:
    log = ArrivalLog(stamps, CONFIG)
    (arrival,) = log.before_faults([Arrival(100 * MS, "color", None, 40 * MS)])
    late = replace(arrival, time_ns=130 * MS, stamp_ns=55 * MS, edits=(lambda image: image,))
    log.behind_faults(late, 131 * MS)
    assert log.origin(Frame("color", 55 * MS, None)) == (131 * MS, seen_ms * MS, True)
    assert (log.start_ns, log.end_ns) == (100 * MS, 131 * MS)


def test_of_two_with_one_stamp_the_first_counts_unless_that_is_long_gone() -> None:
    log = ArrivalLog("header", CONFIG)
    arrive(log, (0, "color", 5), (20, "color", 5))
    assert log.origin(Frame("color", 5 * MS, None)).arrived_ns == 0
    arrive(log, (3000, "color", 5))
    assert log.origin(Frame("color", 5 * MS, None)).arrived_ns == 3000 * MS


def test_where_the_bag_is_damaged_the_messages_end() -> None:
    def damaged() -> Iterator[Arrival]:
        yield Arrival(7, "color", None, 7)
        raise DatasetError("broken")

    log = ArrivalLog("header", CONFIG)
    assert len(list(log.before_faults(damaged()))) == 1
    assert (log.damage, log.recorded) == ("broken", {"color": 1})


def test_a_stock_synchronizer_delivers_when_color_came_also_in_a_loop() -> None:
    log = ArrivalLog("header", CONFIG)
    lap = [(at, name, at) for at in range(0, 500, 100) for name in ("color", "depth")]
    arrive(log, *lap)
    assert log.stock_delivery(500 * MS) == Delivery(5, 4, 500 * MS, 100 * MS)
    # After the jump back it throws the new messages away until the old ones have left its queues; here they have.
    arrive(log, *((at + 1000, name, stamp) for at, name, stamp in lap))
    assert log.stock_delivery(1500 * MS) == Delivery(10, 9, 1500 * MS, 600 * MS)


@given(st.lists(st.tuples(st.integers(0, 2000), st.sampled_from(["color", "depth"]), st.integers(0, 300)), max_size=60))
def test_whatever_arrives_the_stock_sets_are_delivered_within_the_run(arrivals: list[tuple[int, str, int]]) -> None:
    log = ArrivalLog("header", CONFIG)
    arrive(log, (0, "color", 0), *sorted(arrivals))
    delivery = log.stock_delivery(log.end_ns)
    assert delivery.number <= min(log.arrived["color"], log.arrived["depth"])
    assert delivery.longest_gap_ns <= delivery.run_ns == log.end_ns
