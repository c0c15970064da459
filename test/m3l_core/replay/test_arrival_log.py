"""Every message is known as it was recorded and as it arrived."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3l_core.bags.arrivals import Arrival, Stamps
from m3l_core.errors import DatasetError
from m3l_core.replay.arrival_log import ArrivalLog, Origin
from m3l_core.replay.measures.timing import Delivery
from m3l_core.streaming.sync_config import SyncConfig

MS = 1_000_000
CONFIG = SyncConfig()


def arrive(log: ArrivalLog, *arrivals: tuple[int, str, int]) -> None:
    """Each is (ms, modality, stamp in ms)."""
    recorded = (Arrival(at * MS, name, None, stamp * MS) for at, name, stamp in arrivals)
    for arrival in log.before_faults(recorded):
        log.behind_faults(arrival, arrival.time_ns)


@pytest.mark.parametrize(("stamps", "seen_ms"), [("header", 40), ("receive", 100)])
def test_a_message_is_known_as_it_was_recorded_whatever_a_fault_made_of_it(stamps: Stamps, seen_ms: int) -> None:
    log = ArrivalLog(stamps, CONFIG)
    (arrival,) = log.before_faults([Arrival(100 * MS, "color", None, 40 * MS)])
    late = replace(arrival, time_ns=130 * MS, stamp_ns=55 * MS, edits=(lambda image: image,))
    log.behind_faults(late, 131 * MS)
    assert Origin.of(late) == (130 * MS, seen_ms * MS, True)
    assert (log.start_ns, log.end_ns) == (100 * MS, 131 * MS)


def test_where_the_bag_is_damaged_the_messages_end() -> None:
    def damaged() -> Iterator[Arrival]:
        yield Arrival(7, "color", None, 7)
        raise DatasetError("broken")

    log = ArrivalLog("header", CONFIG)
    assert len(list(log.before_faults(damaged()))) == 1
    assert (log.damage, log.recorded) == ("broken", {"color": 1})


def test_a_stock_synchronizer_delivers_when_the_last_of_a_set_came() -> None:
    log = ArrivalLog("header", CONFIG)
    arrive(log, (0, "color", 0), (10, "depth", 0), (100, "color", 100), (800, "depth", 100))
    assert log.stock_delivery(900 * MS).longest_gap_ns == 790 * MS


def test_a_stock_synchronizer_delivers_also_in_a_loop() -> None:
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
