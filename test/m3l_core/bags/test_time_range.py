"""Parts of a recording."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from support.bags import MS, PERIOD_NS, START_NS, stamps

from m3l_core.bags.arrivals import Arrival
from m3l_core.bags.time_range import Moment, TimeRange, parse_moment

S = 1000 * MS


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("0", Moment(0, False)),
        ("12.5", Moment(12_500_000_000, False)),
        ("1700000000.123456789", Moment(1_700_000_000_123_456_789, True)),
        ("1700000000123456789", Moment(1_700_000_000_123_456_789, True)),
    ],
)
def test_a_moment_is_an_offset_or_a_stamp(text: str, moment: Moment) -> None:
    assert parse_moment(text) == moment


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", ""])
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="expected a number"):
        parse_moment(text)


def test_the_end_is_not_in_it() -> None:
    part = TimeRange(Moment(2 * S, False), Moment(START_NS + 4 * S, True))
    assert [number for number in range(6) if part.holds(number * S, START_NS + number * S)] == [2, 3]
    assert TimeRange().holds(0, 0)


@pytest.mark.parametrize("is_stamp", [False, True])
def test_no_more_is_read_than_is_needed(is_stamp: bool) -> None:
    """Ten seconds before and after: what the synchronizer and the health checks look at."""
    zero = START_NS if is_stamp else 0
    part = TimeRange(Moment(zero + 15 * S, is_stamp), Moment(zero + 17 * S, is_stamp))
    read, skipped = [], Counter[str]()

    def recorded():
        for number, stamp in enumerate(stamps(500)):
            read.append(number)
            yield Arrival(stamp, "color" if number % 2 else "depth", None, stamp)

    needed = part.needed(recorded(), START_NS, {"color": 250, "depth": 250}, lambda name, n: skipped.update({name: n}))
    assert [(arrival.time_ns - START_NS) // PERIOD_NS for arrival in needed] == list(range(50, 270))
    # One stamp may be wrong, ten of each are not.
    assert read == list(range(290 if is_stamp else 271))
    assert skipped == {"color": 140, "depth": 140}


@pytest.mark.parametrize("modalities", [("color",), ("color", "depth")])
def test_a_wrong_stamp_is_not_the_end(modalities: tuple[str, ...]) -> None:
    arrivals = [Arrival(stamp, name, None, stamp) for stamp in stamps(40) for name in modalities]
    arrivals[5] = replace(arrivals[5], stamp_ns=arrivals[5].stamp_ns + 3600 * S)
    recorded, skipped = dict.fromkeys(modalities, 40), Counter[str]()
    part = TimeRange(None, Moment(START_NS + 2 * S, True))
    needed = part.needed(arrivals, START_NS, recorded, lambda name, n: skipped.update({name: n}))
    assert list(needed) == arrivals[:5] + arrivals[6:]
    assert skipped == {arrivals[5].modality: 1}


def test_no_limit_reads_all() -> None:
    arrivals = [Arrival(stamp, "color", None, stamp) for stamp in stamps(5)]
    assert list(TimeRange().needed(iter(arrivals), START_NS, {"color": 5}, lambda name, n: pytest.fail())) == arrivals
