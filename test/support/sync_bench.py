"""A synchronizer whose time is moved by hand."""

from __future__ import annotations

from m3l_core.frames import Frame, FrameSet
from m3l_core.streaming.modality_report import ModalityState, SyncEvent
from m3l_core.streaming.sync_config import SyncConfig
from m3l_core.streaming.synchronizer import FrameSynchronizer

MS = 1_000_000
START = 1_700_000_000_000 * MS
"""A stamp like those of a real clock; arrivals are told by another one that starts at 0."""


class Bench:
    """Polls whenever there is something to do."""

    def __init__(self, modalities: tuple[str, ...] = ("color", "depth"), **config: object) -> None:
        self.now_ns = 0
        self.sets: list[FrameSet] = []
        self.left_ns: list[int] = []
        self.events: list[SyncEvent] = []
        self.sync = FrameSynchronizer(
            modalities,
            self._take,
            clock=lambda: self.now_ns,
            config=SyncConfig(**config),  # type: ignore[arg-type]
            on_event=self.events.append,
        )
        self.sync.poll()

    def _take(self, frames: FrameSet) -> None:
        self.sets.append(frames)
        self.left_ns.append(self.now_ns)

    def wait_until(self, time_ms: float) -> None:
        end_ns = round(time_ms * MS)
        while (deadline := self.sync.next_deadline_ns()) is not None and deadline <= end_ns:
            self.now_ns = max(self.now_ns, deadline)
            self.sync.poll()
        self.now_ns = end_ns
        self.sync.poll()

    def arrive(self, modality: str, stamp_ms: float, at_ms: float | None = None, unhealthy: str | None = None) -> None:
        self.wait_until(stamp_ms if at_ms is None else at_ms)
        self.sync.add(Frame(modality, START + round(stamp_ms * MS), None), unhealthy)

    def stream(self, modality: str, first_ms: int, last_ms: int, period_ms: int = 33) -> None:
        for stamp_ms in range(first_ms, last_ms, period_ms):
            self.arrive(modality, stamp_ms)

    def pairs(self, first_ms: int, last_ms: int, period_ms: int = 33) -> None:
        for stamp_ms in range(first_ms, last_ms, period_ms):
            self.arrive("color", stamp_ms)
            self.arrive("depth", stamp_ms)

    def stamps_ms(self) -> list[float]:
        return [(frames.reference_frame.stamp_ns - START) / MS for frames in self.sets]

    def distances_ms(self) -> list[float]:
        return [
            abs(frames.frames["color"].stamp_ns - frames.frames["depth"].stamp_ns) / MS
            for frames in self.sets
            if frames.complete
        ]

    def state(self, modality: str) -> ModalityState:
        return self.sync.report()[modality].state
