"""What arrives in a run, and what it was before faults befell it."""

from __future__ import annotations

from array import array
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from m3l_core.datasets.arrivals import Arrival
from m3l_core.datasets.bag_frames import MODALITIES
from m3l_core.errors import DatasetError
from m3l_core.frames import Frame
from m3l_core.replay.timing import Delivery, delivery_of
from m3l_core.streaming.stock_synchronizer import stock_sets
from m3l_core.streaming.sync_config import SyncConfig

Stamps = Literal["header", "receive"]
"""What counts as the stamp of an image: that of its header, or when it was recorded."""


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


class ArrivalLog:
    """Sees every message twice: as it was recorded, and as it arrives behind the faults."""

    def __init__(self, stamps: Stamps, config: SyncConfig) -> None:
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
        self._origins: OrderedDict[tuple[str, int], Origin] = OrderedDict()
        # Longer than a frame waits in the synchronizer.
        self._kept_ns = 2 * (config.sensor_timeout_ns + config.sync_timeout_ns)
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
                    recorded_stamp_ns=stamp_ns,
                )
        except DatasetError as error:
            self.damage = str(error)

    def behind_faults(self, arrival: Arrival, now_ns: int) -> None:
        """Note a message that has arrived."""
        self.arrived[arrival.modality] += 1
        self.end_ns = max(self.end_ns, now_ns)
        recorded_ns = arrival.recorded_stamp_ns if isinstance(arrival, RecordedArrival) else arrival.stamp_ns
        while self._origins and now_ns - next(iter(self._origins.values())).arrived_ns > self._kept_ns:
            self._origins.popitem(last=False)
        # Of two with one stamp the first is used.
        self._origins.setdefault((arrival.modality, arrival.stamp_ns), Origin(now_ns, recorded_ns, bool(arrival.edits)))
        self._modalities.append(MODALITIES.index(arrival.modality))
        self._stamps_ns.append(arrival.stamp_ns)
        self._times_ns.append(now_ns)

    def origin(self, frame: Frame) -> Origin:
        """Where a frame that has just left the synchronizer comes from."""
        return self._origins[frame.modality, frame.stamp_ns]

    def stock_delivery(self, end_ns: int) -> Delivery:
        """The sets that a stock ApproximateTimeSynchronizer makes of what arrived, each when its color arrived."""
        arrivals = zip((MODALITIES[index] for index in self._modalities), self._stamps_ns, strict=True)
        made = np.sort(stock_sets(arrivals, MODALITIES, self._config.approx_sync_max_interval_ns))
        is_color = np.asarray(self._modalities) == MODALITIES.index("color")
        stamps_ns, times_ns = (np.asarray(each)[is_color] for each in (self._stamps_ns, self._times_ns))
        order = np.argsort(stamps_ns, kind="stable")
        # The n-th set of a stamp is of the n-th message with it.
        place = np.searchsorted(stamps_ns[order], made) + np.arange(len(made)) - np.searchsorted(made, made)
        return delivery_of(np.sort(times_ns[order][place]).tolist(), self.start_ns, end_ns)
