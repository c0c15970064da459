"""A reference frame and the nearest frames of the others become a set; what is missing is named with its reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from m3l_core.frames import Frame, FrameSet
from m3l_core.streaming.mismatch import apart_ns, differ, is_mismatched, mismatch
from m3l_core.streaming.modality_report import Drop, SyncEvent
from m3l_core.streaming.modality_stream import ModalityStream, Waiting
from m3l_core.streaming.sync_config import SyncConfig


class SetAssembler:
    """Takes frames out of the queues of modalities. Not thread safe: the synchronizer guards it.

    Args:
        streams: the modalities, the preferred reference first.
        config: how near is near.
        on_event: told once, for each cause, when the frames of a modality come and find no set.
    """

    def __init__(
        self, streams: Sequence[ModalityStream], config: SyncConfig, on_event: Callable[[SyncEvent], None]
    ) -> None:
        self._streams, self._config, self._on_event = streams, config, on_event
        self._told: set[tuple[str, str]] = set()
        """(modality, cause) of the mismatches that have been told."""
        self.last_set_ns: int | None = None
        """Corrected stamp of the last set; None at the beginning of a timeline."""
        self.complete_sets = 0
        self.partial_sets = 0

    def reconfigure(self, config: SyncConfig) -> None:
        self._config = config

    def assemble(self, reference: ModalityStream, now_ns: int) -> FrameSet | None:
        """The set of the first waiting frame of ``reference``.

        Where that frame is worthless, the next modality with a frame of that instant leads in its place; None if there
        is none.
        """
        leading = reference.queue.pop(0)
        frames: dict[str, Frame] = {}
        missing: dict[str, str] = {}
        contributing = []
        following = reference.queue[0].stamp_ns if reference.queue else None
        if leading.worthless:
            missing[reference.name] = leading.worthless
            if following is None and reference.rhythm.period_ns is not None:
                following = leading.stamp_ns + reference.rhythm.period_ns
        else:
            frames[reference.name], reference.last_used = leading.frame, leading
            contributing.append(reference)
        leader = reference.name
        for stream in self._streams:
            if stream is reference:
                continue
            chosen = stream.candidate(leading.stamp_ns, following)
            if not frames and chosen is not None:
                if self._may_lead(stream, chosen):
                    leader, leading = stream.name, chosen
                else:
                    chosen = None
            if chosen is None:
                missing[stream.name] = self._why_missing(stream, reference, leading.stamp_ns, now_ns)
            else:
                frames[stream.name] = chosen.frame
                stream.matched_ns, stream.mismatch = now_ns, ""
                if chosen is stream.last_used:
                    stream.reused += 1
                else:
                    stream.take(chosen)
                    contributing.append(stream)
            stream.drop_before(leading.stamp_ns - self._config.approx_sync_max_interval_ns, Drop.SUPERSEDED)
        if not frames:
            return None
        for stream in contributing:
            stream.in_sets[not missing] += 1
        self.partial_sets += bool(missing)
        self.complete_sets += not missing
        self.last_set_ns = leading.stamp_ns
        return FrameSet(leader, frames, missing)

    def _may_lead(self, stream: ModalityStream, chosen: Waiting) -> bool:
        """Sets are in order, and a frame that is used again leads no second one."""
        return chosen is not stream.last_used and (self.last_set_ns is None or chosen.stamp_ns > self.last_set_ns)

    def _why_missing(self, stream: ModalityStream, reference: ModalityStream, stamp_ns: int, now_ns: int) -> str:
        interval_ns = self._config.approx_sync_max_interval_ns
        if stream.unhealthy_stamp_ns is not None and abs(stream.unhealthy_stamp_ns - stamp_ns) <= interval_ns:
            stream.matched_ns = now_ns
            return stream.last_reason
        if stream.lost:
            why = f", the last one: {stream.last_reason}" if stream.is_unhealthy else ""
            return f"no healthy frame for {(now_ns - stream.healthy_since_ns) / 1e9:.1f} s{why}"
        if not stream.mismatch and is_mismatched(stream, now_ns):
            cause, stream.mismatch = mismatch(reference, stream, stamp_ns, self._config)
            if (stream.name, cause) not in self._told:
                self._told.add((stream.name, cause))
                self._on_event(SyncEvent(stream.mismatch, stream.name, cause=cause))
        apart = apart_ns(reference, stream)
        return (
            differ(reference, stream, apart)
            if abs(apart) > interval_ns
            else f"no frame within {interval_ns / 1e9:.3f} s"
        )
