"""The frame sets of a bag, as a robot would have made them: same decoding, same health checks, same synchronizer.

Time is the bag's: a message arrives when it was recorded.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from m3l_core.bags.arrivals import Arrival, Faults, no_faults
from m3l_core.bags.reader import Bag, deserialize
from m3l_core.errors import DatasetError, ImageMessageError
from m3l_core.frames import Frame, FrameSet, ImageKind
from m3l_core.streaming.frame_decoding import decode_frame
from m3l_core.streaming.image_messages import stamp_to_ns
from m3l_core.streaming.modality_report import Drop, SyncEvent
from m3l_core.streaming.sensor_health import HealthThresholds, SensorHealth
from m3l_core.streaming.sync_config import SyncConfig
from m3l_core.streaming.synchronizer import FrameSynchronizer

KINDS: Mapping[str, ImageKind] = {"color": "color", "depth": "depth"}
MODALITIES = tuple(KINDS)
"""What bags are read for where no bundle says otherwise."""
# A bag of broken images, each broken in its own way, must not fill the memory.
_MOST_REASONS = 20
_DECODED_AHEAD = 16


@dataclass(frozen=True, slots=True)
class RecordedFrame(Frame):
    """A frame that still knows the message it was decoded from."""

    arrival: Arrival = field(kw_only=True)

    @property
    def compressed(self) -> NDArray[np.uint8] | None:
        """What a compressed message carries, if its image is as recorded."""
        message = self.arrival.message
        return message.data if hasattr(message, "format") and not self.arrival.edits else None


class BagFrames:
    """Iterates over the frame sets of a bag, once.

    Images are decoded in several threads, ahead of time; all else happens in the order of the arrivals, so that the
    frame sets are the same every time.

    Args:
        bag: an open bag.
        topics: modality -> topic; a modality without one is missing throughout.
        config: waits and windows of the synchronizer.
        thresholds: of the health checks.
        faults: what happens to the messages on their way.
        on_arrival: called with every message that arrives, whatever becomes of it.
        advance: called after every message of the bag.
        kinds: of the images of the robot's sensors, the preferred reference first; with all of ``topics``.
    """

    def __init__(
        self,
        bag: Bag,
        topics: Mapping[str, str],
        config: SyncConfig | None = None,
        thresholds: HealthThresholds | None = None,
        faults: Faults = no_faults,
        on_arrival: Callable[[Arrival], None] = lambda arrival: None,
        advance: Callable[[], None] = lambda: None,
        kinds: Mapping[str, ImageKind] = KINDS,
    ) -> None:
        self.dropped: Counter[tuple[str, str]] = Counter()
        """(modality, why) -> messages that are in no frame set."""
        self.recorded: Counter[str] = Counter()
        """Modality -> messages of the bag so far, readable or not."""
        self.remarks: list[str] = []
        """What the synchronizer told of stamps that do not fit, and what to set."""
        self.now_ns = 0
        """The robot's clock; while the caller has a frame set, when that left the synchronizer."""
        self._bag = bag
        self._modalities = {topic: name for name, topic in topics.items()}
        self._faults = faults
        self._on_arrival = on_arrival
        self._advance = advance
        self._ready: deque[FrameSet] = deque()
        self._kinds = kinds
        self._health = {name: SensorHealth(kind, thresholds) for name, kind in kinds.items()}
        self.synchronizer = FrameSynchronizer(
            tuple(kinds), self._ready.append, clock=lambda: self.now_ns, config=config, on_event=self._note
        )

    def __iter__(self) -> Iterator[FrameSet]:
        """The frame sets in order; the frames' data are arrays as `Frame` says.

        Raises:
            DatasetError: the bag is damaged; what came until then is sound.
        """
        for number, (arrival, frame, unreadable) in enumerate(_decoded(self._faults(self._arrivals()))):
            if number == 0:
                self.now_ns = arrival.time_ns
            yield from self._pass_time(until_ns=arrival.time_ns)
            self._on_arrival(arrival)
            self._add(frame, unreadable)
            yield from self._take()
        yield from self._pass_time()
        for name, report in self.synchronizer.report().items():
            for reason, count in (report.dropped | {"still waiting at the end": report.waiting}).items():
                if count and reason != Drop.UNHEALTHY.value:  # counted as they came, each with its reason
                    self.dropped[name, reason] += count

    def drop(self, modality: str, reason: str) -> None:
        """Count a message that is of no use."""
        known = (modality, reason) in self.dropped or len(self.dropped) < _MOST_REASONS
        self.dropped[modality, reason if known else "other reasons"] += 1

    def _note(self, event: SyncEvent) -> None:
        if event.cause:
            self.remarks.append(event.text)

    def _arrivals(self) -> Iterator[Arrival]:
        for recorded in self._bag.messages(self._modalities):
            modality = self._modalities[recorded.topic]
            self.recorded[modality] += 1
            try:
                message = deserialize(recorded)
            except ImageMessageError as error:
                self.drop(modality, str(error))
            else:
                stamp_ns, kind = stamp_to_ns(message.header.stamp), self._kinds[modality]
                yield Arrival(recorded.time_ns, modality, message, stamp_ns, kind=kind)
            self._advance()

    def _pass_time(self, until_ns: int | None = None) -> Iterator[FrameSet]:
        """Poll as often as something would happen; without an end, until nothing more will."""
        while (deadline := self.synchronizer.next_deadline_ns()) is not None:
            if until_ns is not None and deadline > until_ns:
                break
            self.now_ns = max(self.now_ns, deadline)
            self.synchronizer.poll()
            yield from self._take()
        # A robot's clock never goes back, even where the files of a bag overlap.
        self.now_ns = max(self.now_ns, until_ns or 0)

    def _take(self) -> Iterator[FrameSet]:
        while self._ready:
            yield self._ready.popleft()

    def _add(self, frame: Frame, unreadable: str | None) -> None:
        unhealthy = unreadable or self._health[frame.modality].check(frame)
        if frame.stamp_ns <= 0:
            unhealthy = "its stamp is zero"
        if unhealthy is not None:
            self.drop(frame.modality, unhealthy)
        self.synchronizer.add(frame, unhealthy)


def _decoded(arrivals: Iterable[Arrival]) -> Iterator[tuple[Arrival, Frame, str | None]]:
    """Each arrival with its frame, or with why there is none, in order; what comes before a damage comes out first."""
    waiting: deque[tuple[Arrival, Future[tuple[Frame, str | None]]]] = deque()
    damage: DatasetError | None = None
    with ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="decoder") as pool:
        try:
            for arrival in arrivals:
                waiting.append((arrival, pool.submit(_decode, arrival)))
                if len(waiting) > _DECODED_AHEAD:
                    first, future = waiting.popleft()
                    yield first, *future.result()
        except DatasetError as error:
            damage = error
        while waiting:
            first, future = waiting.popleft()
            yield first, *future.result()
    if damage is not None:
        raise damage


def _decode(arrival: Arrival) -> tuple[Frame, str | None]:
    frame, unreadable = decode_frame(arrival.modality, arrival.message, kind=arrival.kind)
    if unreadable is not None:
        return Frame(frame.modality, arrival.stamp_ns, None, frame.frame_id, frame.encoding), unreadable
    pixels = frame.data
    for edit in arrival.edits:
        pixels = edit(pixels)
    stamped = RecordedFrame(arrival.modality, arrival.stamp_ns, pixels, frame.frame_id, frame.encoding, arrival=arrival)
    return stamped, None
