"""Faults of messages on their way from a bag to the synchronizer: lost, late, wrongly stamped, repeated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from m3l_core.bags.arrivals import Arrival
from m3l_core.replay.faults.fault import Fault, MessageFault, Run, Seconds, Share, SingleMessageFault, to_ns

# Longer ones would have to hold the messages of so long a time in memory.
_Delay = Annotated[float, Field(ge=0, le=5)]
_Part = Annotated[float, Field(gt=0, le=10)]
_Offset = Annotated[float, Field(ge=-2e9, le=2e9)]


class Gone(SingleMessageFault):
    """The sensor is gone, as in the entire-missing condition (EMM, arXiv 2503.18445)."""

    kind: Literal["gone"]

    def _instead(self, arrival: Arrival, seed: np.random.SeedSequence) -> Iterable[Arrival]:
        return ()


class Loss(SingleMessageFault):
    """Single messages are lost, as over a bad network."""

    kind: Literal["loss"]
    probability: Share

    def _instead(self, arrival: Arrival, seed: np.random.SeedSequence) -> Iterable[Arrival]:
        return ()


class Delay(SingleMessageFault):
    """Messages arrive late, all by the same time; their stamps are right."""

    kind: Literal["delay"]
    delay_s: _Delay

    def _instead(self, arrival: Arrival, seed: np.random.SeedSequence) -> Iterable[Arrival]:
        return (_later(arrival, self.delay_s),)


class Reorder(SingleMessageFault):
    """Some messages arrive late by more than a period, after others of their sensor that were sent later."""

    kind: Literal["reorder"]
    probability: Share
    delay_s: _Delay = 0.15

    def _instead(self, arrival: Arrival, seed: np.random.SeedSequence) -> Iterable[Arrival]:
        return (_later(arrival, self.delay_s),)


class Duplicate(SingleMessageFault):
    """Some messages arrive twice, as where a bridge or a second publisher repeats them."""

    kind: Literal["duplicate"]
    probability: Share
    delay_s: _Delay = 0.0
    """Of the second one."""

    def _instead(self, arrival: Arrival, seed: np.random.SeedSequence) -> Iterable[Arrival]:
        return arrival, _later(arrival, self.delay_s)


class Jitter(SingleMessageFault):
    """Each message is late by a time of its own, or its stamp is off, or both.

    A jitter of the arrivals above the sensor's period lets messages overtake each other.
    """

    kind: Literal["jitter"]
    arrival_s: _Delay = 0.0
    """Messages arrive late by 0 to so much, drawn evenly."""
    stamp_s: _Delay = 0.0
    """Stamps are off by up to so much either way, drawn evenly."""

    @model_validator(mode="after")
    def _does_something(self) -> Jitter:
        if not {"arrival_s", "stamp_s"} & self.model_fields_set:
            raise ValueError("arrival_s, stamp_s or both are needed")
        return self

    def _instead(self, arrival: Arrival, seed: np.random.SeedSequence) -> Iterable[Arrival]:
        late, off = np.random.default_rng(seed).uniform((0.0, -1.0), (1.0, 1.0))
        return (_restamped(_later(arrival, late * self.arrival_s), off * self.stamp_s),)


class ClockOffset(SingleMessageFault):
    """The clock that stamps the messages goes ahead of the robot's, or behind it (negative)."""

    kind: Literal["clock_offset"]
    offset_s: _Offset

    def _instead(self, arrival: Arrival, seed: np.random.SeedSequence) -> Iterable[Arrival]:
        return (_restamped(arrival, self.offset_s),)


class Frozen(MessageFault):
    """The driver repeats its last image, under new stamps."""

    kind: Literal["frozen"]

    def apply(self, arrivals: Iterable[Arrival], run: Run) -> Iterator[Arrival]:
        last: dict[str, Arrival] = {}
        for arrival, struck in self._struck(arrivals, run):
            if struck and (shown := last.get(arrival.modality)) is not None:
                yield replace(arrival, message=shown.message, edits=shown.edits)
            else:
                last[arrival.modality] = arrival
                yield arrival


class Rate(MessageFault):
    """The sensor delivers at most ``rate_hz`` images a second.

    By the stamps and for all its modalities alike, so that images that were taken together stay together.
    """

    kind: Literal["rate"]
    rate_hz: Annotated[float, Field(ge=0.001, le=1000)]

    def apply(self, arrivals: Iterable[Arrival], run: Run) -> Iterator[Arrival]:
        period_ns = to_ns(1.0 / self.rate_hz)
        begin_ns: int | None = None
        latest: dict[str, int] = {}
        for arrival, struck in self._struck(arrivals, run):
            if struck:
                if begin_ns is None:
                    # Not at the first stamp: every n-th image of the others would lie on the edge of a period, where
                    # the least jitter decides.
                    begin_ns = arrival.stamp_ns - period_ns // 14
                period = (arrival.stamp_ns - begin_ns) // period_ns
                if latest.get(arrival.modality) == period:
                    continue
                latest[arrival.modality] = period
            yield arrival


class BagLoop(Fault):
    """A part of the recording is played several times over, as by ``ros2 bag play --loop``.

    The robot's clock goes on, the stamps start over. After the last time the recording goes on; if it ends within the
    part, what there is of the part is looped.
    """

    kind: Literal["bag_loop"]
    from_s: Seconds = 0.0
    length_s: _Part
    times: Annotated[int, Field(ge=2)] = 2

    def apply(self, arrivals: Iterable[Arrival], run: Run) -> Iterator[Arrival]:
        stream = iter(arrivals)
        begin_ns, length_ns = run.start_ns + to_ns(self.from_s), to_ns(self.length_s)
        part: list[Arrival] = []
        following: Arrival | None = None
        for arrival in stream:
            if arrival.time_ns >= begin_ns + length_ns:
                following = arrival
                break
            yield arrival
            if arrival.time_ns >= begin_ns:
                part.append(arrival)
        if following is None and part:
            length_ns = part[-1].time_ns - part[0].time_ns
        for lap in range(1, self.times):
            for arrival in part:
                yield replace(arrival, time_ns=arrival.time_ns + lap * length_ns)
        part.clear()
        for arrival in chain([following] if following is not None else [], stream):
            yield replace(arrival, time_ns=arrival.time_ns + (self.times - 1) * length_ns)


def _later(arrival: Arrival, seconds: float) -> Arrival:
    return replace(arrival, time_ns=arrival.time_ns + to_ns(seconds))


def _restamped(arrival: Arrival, seconds: float) -> Arrival:
    # A driver that does not stamp its messages has no clock to be off.
    return replace(arrival, stamp_ns=arrival.stamp_ns + to_ns(seconds)) if arrival.stamp_ns else arrival
