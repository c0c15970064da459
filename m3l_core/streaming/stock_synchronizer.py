"""What a stock ApproximateTimeSynchronizer would have delivered: its rule, replayed offline.

The rule (message_filters): every topic has a queue from which the smallest stamp is evicted; an arrival gives a set if
every other queue holds a message less than ``slop`` from it, and the set's messages leave their queues. So one silent
topic stops all sets, and after a jump of the stamps back the new messages are the ones evicted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class StockSet(NamedTuple):
    """A set, by what is known of it offline."""

    stamp_ns: int
    """Of the first modality's message."""
    arrival: int
    """Which arrival completed it, counted from 0."""


def stock_sets(
    arrivals: Iterable[tuple[str, int]], modalities: Sequence[str], slop_ns: int, queue_size: int = 10
) -> list[StockSet]:
    """The sets that it makes of arrivals, as they leave.

    Args:
        arrivals: (modality, stamp in ns), in the order of their arrival.
    """
    queues: dict[str, dict[int, None]] = {name: {} for name in modalities}
    sets = []
    for number, (modality, stamp) in enumerate(arrivals):
        queue = queues[modality]
        queue[stamp] = None
        if len(queue) > queue_size:
            del queue[min(queue)]
        if stamp not in queue:
            continue
        chosen = {modality: stamp}
        for name, others in queues.items():
            if others:
                nearest = min(others, key=lambda other: abs(other - stamp))
                if abs(nearest - stamp) < slop_ns:
                    chosen[name] = nearest
        if len(chosen) == len(queues):
            for name, used in chosen.items():
                queues[name].pop(used)
            sets.append(StockSet(chosen[modalities[0]], number))
    return sets
