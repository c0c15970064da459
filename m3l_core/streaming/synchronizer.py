"""Frames of several modalities in, frame sets out: complete at once, partial after a bounded wait, never silent.

message_filters' ApproximateTimeSynchronizer fires only when every queue has a match, so one silent topic stops
everything. Here the *reference*, the first modality of the list that is not LOST, leads: each of its healthy frames
gives exactly one set, and the others contribute their nearest frame or are named as missing with the reason. At a
worthless one (a covered lens, a flash) the others' frames of that instant are a set of their own.

How a set leaves:

* at once, on the arrival that settles its nearest frames (a frame that the next one will better, judged by the
  modality's own period, is waited for; a frame nearer to the next reference frame is kept for that one);
* when its reference frame has waited ``sync_timeout_ns``;
* at once when everything it still waits for is LOST, or when a later set leaves: sets are in order of their stamps.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from m3l_core.frames import Frame, FrameSet
from m3l_core.streaming.jumps import judge_jump
from m3l_core.streaming.modality_report import Drop, ModalityReport, SyncEvent
from m3l_core.streaming.modality_stream import NEVER_NS, ModalityStream, Waiting
from m3l_core.streaming.ordered_delivery import OrderedDelivery
from m3l_core.streaming.set_assembly import SetAssembler
from m3l_core.streaming.sync_config import SyncConfig


class FrameSynchronizer:
    """Synchronizes any number of modalities; every method may be called from any thread.

    No lock is held while ``on_set`` and ``on_event`` run; what they raise is logged and counted, nothing else. Calls
    to them never overlap and keep the order of the sets. Every frame that enters is counted once: in a complete set,
    in a partial set, waiting, or dropped for one reason (see ``Drop``).

    Args:
        modalities: one name or more, the preferred reference first.
        on_set: takes each frame set.
        clock: current time in nanoseconds since any epoch, not negative: monotonic time, ROS time, or a bag's.
            Arrivals and waits are measured with it, so that a replay decides exactly as a robot would.
        on_event: takes each ``SyncEvent``.

    Raises:
        ValueError: no modality, a name twice, or an offset for an unknown one.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        on_set: Callable[[FrameSet], None],
        *,
        clock: Callable[[], int],
        config: SyncConfig | None = None,
        on_event: Callable[[SyncEvent], None] | None = None,
    ) -> None:
        self.config = config = config or SyncConfig()
        if not modalities or len(set(modalities)) != len(modalities):
            raise ValueError(f"expected different modalities, at least one, got {list(modalities)}")
        if unknown := set(config.stamp_offsets_ns) - set(modalities):
            raise ValueError(f"stamp offsets for {sorted(unknown)}, but the modalities are {list(modalities)}")
        self._streams = {name: ModalityStream(name, config) for name in modalities}
        self._ordered = tuple(self._streams.values())
        self._sets = OrderedDelivery(on_set, config.queue_size)
        self._events = OrderedDelivery(on_event or (lambda event: None), 64)
        self._assembler = SetAssembler(self._ordered, config, self._events.put)
        self._clock = clock
        self._lock = threading.Lock()
        self._now_ns: int | None = None
        self._idle_until_ns = 0
        """Before this, time alone changes nothing: most polls end here."""
        self._led_by: ModalityStream | None = None
        self.resets = 0

    def add(self, frame: Frame, unhealthy: str | None = None) -> None:
        """Take a frame; sets that it completes leave before this returns, unless another thread is at it.

        Args:
            unhealthy: why the frame is worth nothing; it is then in no set.

        Raises:
            ValueError: the frame's modality is not one of this synchronizer's.
        """
        stream = self._streams.get(frame.modality)
        if stream is None:
            raise ValueError(f"unknown modality '{frame.modality}', expected one of {list(self._streams)}")
        with self._lock:
            now = self._tick()
            entry = self._observe(stream, frame, unhealthy, now)
            self._update_states(now)
            if entry is not None and self._in_time(stream, entry, now):
                stream.insert(entry)
                if len(stream.queue) > self.config.queue_size and stream is not self._reference():
                    stream.drop_oldest(Drop.OVERFLOW)
            self._leave(now)
            self._idle_until_ns = self._next_change(now)
        self._deliver()

    def poll(self) -> None:
        """Let time pass: call it every few milliseconds, or at ``next_deadline_ns``."""
        with self._lock:
            now = self._tick()
            if now < self._idle_until_ns:
                return
            self._update_states(now)
            self._leave(now)
            self._idle_until_ns = self._next_change(now)
        self._deliver()

    def next_deadline_ns(self) -> int | None:
        """When ``poll`` will next have something to do if no frame arrives; None if never."""
        with self._lock:
            return None if self._idle_until_ns == NEVER_NS else self._idle_until_ns

    def report(self) -> dict[str, ModalityReport]:
        """A copy of every modality's state and accounts."""
        with self._lock:
            now = self._tick()
            self._update_states(now)
            return {name: stream.report(now) for name, stream in self._streams.items()}

    def reconfigure(self, config: SyncConfig) -> None:
        """From now on, other waits and windows; ``queue_size`` and the stamp offsets stay as they began."""
        with self._lock:
            self.config = config = replace(
                config, queue_size=self.config.queue_size, stamp_offsets_ns=self.config.stamp_offsets_ns
            )
            self._assembler.reconfigure(config)
            for stream in self._ordered:
                stream.reconfigure(config)
            self._idle_until_ns = 0

    @property
    def complete_sets(self) -> int:
        return self._assembler.complete_sets

    @property
    def partial_sets(self) -> int:
        return self._assembler.partial_sets

    @property
    def callback_errors(self) -> int:
        """How often a callback raised."""
        return self._sets.errors + self._events.errors

    def _deliver(self) -> None:
        self._events.flush()
        self._sets.flush()

    def _tick(self) -> int:
        now = self._clock()
        if self._now_ns is None:
            for stream in self._ordered:
                stream.start(now)
        elif now < self._now_ns:
            self._reset(f"the clock went back by {(self._now_ns - now) / 1e9:.2f} s", now)
        self._now_ns = now
        return now

    def _next_change(self, now: int) -> int:
        """When time alone will change a state or let a frame leave."""
        if self._sets.full:
            return 0
        soonest = min([stream.next_change_ns(now) for stream in self._ordered])
        for entry in self._led_by.queue if self._led_by is not None else ():
            soonest = min(soonest, entry.arrival_ns + self.config.sync_timeout_ns)
        return soonest

    def _update_states(self, now: int) -> None:
        for stream in self._ordered:
            state = stream.state_at(now)
            if state is not stream.state:
                stream.become(state)
            if stream.telling.untold and now >= stream.telling.due_ns(stream.lost):
                self._events.put(stream.told(now))

    def _reference(self) -> ModalityStream | None:
        for stream in self._ordered:
            if not stream.lost:
                return stream
        return None

    def _observe(self, stream: ModalityStream, frame: Frame, unhealthy: str | None, now: int) -> Waiting | None:
        """Take note of an arrival; what waits for its set, or None if the frame can be in none."""
        stream.received += 1
        stream.rhythm.arrivals.append(now)
        stamp = frame.stamp_ns + stream.offset_ns
        if frame.stamp_ns <= 0:
            unhealthy = unhealthy or "its stamp is zero"
        if unhealthy is not None:
            stream.last_reason, stream.unhealthy_stamp_ns = unhealthy, stamp
            stream.drop(Drop.UNHEALTHY)
            leads = frame.stamp_ns > 0 and stream is self._reference() and not stream.holds(stamp)
            return Waiting(stamp, now, frame, unhealthy) if leads else None
        if jump := stream.rhythm.jump_ns(stamp, now):
            followed, reset = judge_jump(stream, self._ordered, stamp, jump, now)
            if not followed:
                stream.drop(Drop.LEAP)
                return None
            if reset:
                self._reset(reset, now)
        if stream.holds(stamp):
            stream.drop(Drop.DUPLICATE)
            return None
        stream.observe(stamp, now)
        return Waiting(stamp, now, frame)

    def _in_time(self, stream: ModalityStream, entry: Waiting, now: int) -> bool:
        """Whether a frame can still be in a set; drops it if not."""
        if self._assembler.last_set_ns is None:
            return True
        behind = self._assembler.last_set_ns - entry.stamp_ns
        if entry.worthless:
            return behind < 0
        if stream is self._reference():
            if behind < 0:
                stream.late_since_ns = None
                return True
            if stream.late_since_ns is None:
                stream.late_since_ns = now
            newest = stream.rhythm.newest_stamp_ns
            loops = newest is not None and entry.stamp_ns < newest and stream.rhythm.is_followed(entry.stamp_ns, now)
            waited = now - stream.late_since_ns
            if not loops and behind <= self.config.reset_interval_ns and waited < self.config.sensor_timeout_ns:
                stream.drop(Drop.LATE)
                return False
            # It begins anew, as a short bag in a loop, or has another clock than the reference before it, or has set
            # its own back: its time counts from now on, or there would be no set until it has caught up.
            self._reset(f"{stream.name} leads, its stamps are {behind / 1e9:.2f} s behind", now)
            stream.observe(entry.stamp_ns, now)
        elif behind > self.config.approx_sync_max_interval_ns:
            stream.drop(Drop.LATE)
            return False
        return True

    def _leave(self, now: int) -> None:
        """Move every set that need not wait any longer to ``_sets``, as long as those are taken."""
        while (reference := self._leader()) is not None:
            if self._assembler.last_set_ns is not None:
                # After a change of the leader a frame may wait here whose place has passed.
                reference.drop_before(self._assembler.last_set_ns + 1, Drop.SUPERSEDED)
            if self._sets.full:
                while len(reference.queue) > self.config.queue_size:
                    reference.drop_oldest(Drop.OVERFLOW)
                return
            if not self._head_leaves(reference, now):
                return
            if (frames := self._assembler.assemble(reference, now)) is not None:
                self._sets.put(frames)

    def _leader(self) -> ModalityStream | None:
        """Whose frames lead sets: the reference, but when it has been lost, first those of its frames that wait."""
        former = self._led_by
        if former is None or not former.lost or not former.queue:
            self._led_by = self._reference()
        return self._led_by

    def _head_leaves(self, reference: ModalityStream, now: int) -> bool:
        """Whether the first waiting reference frame, or one behind it, has nothing more to wait for."""
        queue = reference.queue
        if len(queue) > self.config.queue_size or (queue and reference.lost):
            return True
        for index, entry in enumerate(queue):
            if now - entry.arrival_ns >= self.config.sync_timeout_ns:
                return True
            if index + 1 < len(queue):
                following: int | None = queue[index + 1].stamp_ns
            else:
                # Not there yet, so it must be clearly nearer to count: by a quarter of a period.
                period = reference.rhythm.period_ns
                following = entry.stamp_ns + period * 5 // 4 if period else None
            for stream in self._ordered:
                if stream is not reference and not stream.lost and not stream.is_settled(entry.stamp_ns, following):
                    break
            else:
                return True
        return False

    def _reset(self, why: str, now: int) -> None:
        for stream in self._ordered:
            stream.forget(now)
        self._assembler.last_set_ns = None
        self._idle_until_ns = 0
        self.resets += 1
        self._events.put(SyncEvent(f"reset: {why}"))
