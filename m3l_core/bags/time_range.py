"""A part of a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from m3l_core.bags.arrivals import Arrival

_AROUND_NS = 10_000_000_000
"""So much is read around a part: the synchronizer waits less, and 30 frames, which is as far as the health checks look
back, take less at more than 3 Hz."""
_IN_A_ROW = 10
"""Stamps of each modality beyond the end, before it counts as reached: now and then a driver sends a wrong one."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A point of a recording."""

    ns: int
    is_stamp: bool
    """Of the images' headers; else counted from the beginning of the recording."""

    def passed(self, since_start_ns: int, stamp_ns: int, slack_ns: int = 0) -> bool:
        return (stamp_ns if self.is_stamp else since_start_ns) >= self.ns + slack_ns


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From ``start`` to before ``end``; None for no limit."""

    start: Moment | None = None
    end: Moment | None = None

    def holds(self, since_start_ns: int, stamp_ns: int) -> bool:
        started = self.start is None or self.start.passed(since_start_ns, stamp_ns)
        return started and not (self.end is not None and self.end.passed(since_start_ns, stamp_ns))

    def needed(
        self,
        arrivals: Iterable[Arrival],
        start_ns: int,
        recorded: Mapping[str, int],
        skip: Callable[[str, int], None],
    ) -> Iterator[Arrival]:
        """The arrivals that the frame sets of this part are made from; once the end is reached, none is read.

        Args:
            arrivals: in the order of the recording.
            start_ns: when the recording began.
            recorded: modality -> all its messages.
            skip: called with a modality and the number of its messages that are left out.
        """
        seen = dict.fromkeys(recorded, 0)
        beyond = dict.fromkeys(recorded, 0)
        for arrival in arrivals:
            since_start_ns = arrival.time_ns - start_ns
            seen[arrival.modality] += 1
            if self.end is not None and self.end.passed(since_start_ns, arrival.stamp_ns, _AROUND_NS):
                skip(arrival.modality, 1)
                beyond[arrival.modality] += 1
                reached = all(beyond[modality] >= _IN_A_ROW for modality, number in recorded.items() if number)
                if reached or not self.end.is_stamp:
                    for modality, number in recorded.items():
                        skip(modality, number - seen[modality])
                    return
                continue
            beyond[arrival.modality] = 0
            if self.start is None or self.start.passed(since_start_ns, arrival.stamp_ns, -_AROUND_NS):
                yield arrival
            else:
                skip(arrival.modality, 1)


def parse_moment(text: str) -> Moment:
    """Seconds from the beginning of a recording, or a stamp: seconds since 1970, or nanoseconds as in names of files.

    Raises:
        ValueError: it is none of these.
    """
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"expected a number, got {text}") from error
    if not number.is_finite() or number < 0:
        raise ValueError(f"expected a number from 0 on, got {text}")
    if number >= 10**17:
        return Moment(int(number), is_stamp=True)
    # No recording takes thirty years.
    return Moment(int(number * 10**9), is_stamp=number >= 10**9)
