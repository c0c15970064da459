"""What arrives in a run, and what it was before faults befell it."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from m3l_core.bags.arrivals import Arrival, Stamps
from m3l_core.bags.frame_sets import MODALITIES
from m3l_core.errors import DatasetError
from m3l_core.replay.measures.timing import Delivery, delivery_of
from m3l_core.streaming.stock_synchronizer import stock_sets
from m3l_core.streaming.sync_config import SyncConfig


@dataclass(frozen=True, slots=True)
class RecordedArrival(Arrival):
    """An arrival that keeps the stamp it was recorded with: a fault may change the other, not what there was to see."""

    recorded_stamp_ns: int = field(kw_only=True)


class Origin(NamedTuple):
    """Where a frame comes from."""

    arrived_ns: int
    recorded_stamp_ns: int
    edited: bool
    """Whether a fault has befallen its image."""

    @classmethod
    def of(cls, arrival: Arrival) -> Origin:
        recorded_ns = arrival.recorded_stamp_ns if isinstance(arrival, RecordedArrival) else arrival.stamp_ns
        return cls(arrival.time_ns, recorded_ns, bool(arrival.edits))


class ArrivalLog:
    """Sees every message twice: as it was recorded, and as it arrives behind the faults.

    Args:
        modalities: of the robot, as the stock synchronizer would have them.
    """

    def __init__(self, stamps: Stamps, config: SyncConfig, modalities: Sequence[str] = MODALITIES) -> None:
        self.start_ns = 0
        """When the first message was recorded."""
        self.end_ns = 0
        """When the last one was recorded or arrived."""
        self.damage: str | None = None
        """Why the bag could not be read to its end."""
        self.recorded: Counter[str] = Counter()
        """Modality -> messages."""
        self.arrived: Counter[str] = Counter()
        self._stamps = stamps
        self._config = config
        self._names = tuple(modalities)
        # For the stock synchronizer, which takes them all at once: 17 bytes a message.
        self._modalities, self._stamps_ns, self._times_ns = array("b"), array("q"), array("q")

    def before_faults(self, arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        """Pass the recorded messages on; where the bag is damaged they end, and ``damage`` says so."""
        try:
            for arrival in arrivals:
                if not self.recorded:
                    self.start_ns = arrival.time_ns
                self.recorded[arrival.modality] += 1
                self.end_ns = max(self.end_ns, arrival.time_ns)
                stamp_ns = arrival.time_ns if self._stamps == "receive" else arrival.stamp_ns
                yield RecordedArrival(
                    arrival.time_ns,
                    arrival.modality,
                    arrival.message,
                    stamp_ns,
                    arrival.edits,
                    arrival.kind,
                    recorded_stamp_ns=stamp_ns,
                )
        except DatasetError as error:
            self.damage = str(error)

    def behind_faults(self, arrival: Arrival, now_ns: int) -> None:
        """Note a message that has arrived."""
        self.arrived[arrival.modality] += 1
        self.end_ns = max(self.end_ns, now_ns)
        self._modalities.append(self._names.index(arrival.modality))
        self._stamps_ns.append(arrival.stamp_ns)
        self._times_ns.append(now_ns)

    def stock_delivery(self, end_ns: int) -> Delivery:
        """The sets that a stock ApproximateTimeSynchronizer makes of what arrived."""
        arrivals = zip((self._names[index] for index in self._modalities), self._stamps_ns, strict=True)
        made = stock_sets(arrivals, self._names, self._config.approx_sync_max_interval_ns)
        return delivery_of([self._times_ns[each.arrival] for each in made], self.start_ns, end_ns)
