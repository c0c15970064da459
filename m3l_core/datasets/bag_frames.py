"""The frame sets of a bag, as a robot would have made them: same decoding, same health checks, same synchronizer.

Time is the bag's: a message arrives when it was recorded.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from m3l_core.datasets.bag_reader import Bag, RecordedMessage, deserialize
from m3l_core.errors import ImageMessageError
from m3l_core.frames import Frame, FrameSet
from m3l_core.streaming.image_messages import decode_color, decode_depth, stamp_to_ns
from m3l_core.streaming.modality_stream import Drop
from m3l_core.streaming.sensor_health import SensorHealth
from m3l_core.streaming.sync_config import SyncConfig
from m3l_core.streaming.synchronizer import FrameSynchronizer

MODALITIES: tuple[Literal["color", "depth"], ...] = ("color", "depth")
_DECODERS: dict[str, Callable[[Any], Any]] = {"color": decode_color, "depth": decode_depth}
# A bag of broken images, each broken in its own way, must not fill the memory.
_MOST_REASONS = 20


@dataclass(frozen=True, slots=True)
class RecordedFrame(Frame):
    """A frame that still knows how it was recorded."""

    compressed: NDArray[np.uint8] | None = None
    """The jpeg or png that a compressed color message carries."""


class BagFrames:
    """Iterates over the frame sets of a bag, once.

    Args:
        bag: an open bag.
        topics: modality (color, depth) -> topic; a modality without one is missing throughout.
        config: waits and windows of the synchronizer.
        advance: called after every message.
    """

    def __init__(
        self,
        bag: Bag,
        topics: Mapping[str, str],
        config: SyncConfig | None = None,
        advance: Callable[[], None] = lambda: None,
    ) -> None:
        self.dropped: Counter[tuple[str, str]] = Counter()
        """(modality, why) -> messages that are in no frame set."""
        self._bag = bag
        self._modalities = {topic: name for name, topic in topics.items()}
        self._advance = advance
        self._now_ns = 0
        self._ready: deque[FrameSet] = deque()
        self._health: dict[str, SensorHealth] = {name: SensorHealth(name) for name in MODALITIES}
        self._synchronizer = FrameSynchronizer(
            MODALITIES, self._ready.append, clock=lambda: self._now_ns, config=config
        )

    def __iter__(self) -> Iterator[FrameSet]:
        """The frame sets in order; the frames' data are arrays as `Frame` says.

        Raises:
            DatasetError: the bag is damaged; what came until then is sound.
        """
        for number, message in enumerate(self._bag.messages(self._modalities)):
            if number == 0:
                self._now_ns = message.time_ns
            yield from self._pass_time(until_ns=message.time_ns)
            self._add(message)
            self._advance()
            yield from self._take()
        yield from self._pass_time()
        for name, report in self._synchronizer.report().items():
            for reason, count in (report.dropped | {"still waiting at the end": report.waiting}).items():
                if count and reason != Drop.UNHEALTHY.value:  # counted as they came, each with its reason
                    self.dropped[name, reason] += count

    def drop(self, modality: str, reason: str) -> None:
        """Count a message that is of no use."""
        known = (modality, reason) in self.dropped or len(self.dropped) < _MOST_REASONS
        self.dropped[modality, reason if known else "other reasons"] += 1

    def _pass_time(self, until_ns: int | None = None) -> Iterator[FrameSet]:
        """Poll as often as something would happen; without an end, until nothing more will."""
        while (deadline := self._synchronizer.next_deadline_ns()) is not None:
            if until_ns is not None and deadline > until_ns:
                break
            self._now_ns = max(self._now_ns, deadline)
            self._synchronizer.poll()
            yield from self._take()
        # A robot's clock never goes back, even where the files of a bag overlap.
        self._now_ns = max(self._now_ns, until_ns or 0)

    def _take(self) -> Iterator[FrameSet]:
        while self._ready:
            yield self._ready.popleft()

    def _add(self, recorded: RecordedMessage) -> None:
        modality = self._modalities[recorded.topic]
        try:
            message = deserialize(recorded)
        except ImageMessageError as error:
            self.drop(modality, str(error))
            return
        frame, unhealthy = self._frame(modality, message)
        if unhealthy is not None:
            self.drop(modality, unhealthy)
        self._synchronizer.add(frame, unhealthy)

    def _frame(self, modality: str, message: Any) -> tuple[Frame, str | None]:
        """The frame and why it is worth nothing, or None."""
        stamp_ns, frame_id = stamp_to_ns(message.header.stamp), message.header.frame_id
        is_compressed = hasattr(message, "format")
        encoding = message.format if is_compressed else message.encoding
        compressed = message.data if is_compressed and modality == "color" else None
        try:
            pixels = _DECODERS[modality](message)
        except ImageMessageError as error:
            return Frame(modality, stamp_ns, None, frame_id, encoding), str(error)
        frame = RecordedFrame(modality, stamp_ns, pixels, frame_id, encoding, compressed)
        unhealthy = self._health[modality].check(frame)
        return frame, "its stamp is zero" if stamp_ns <= 0 else unhealthy
