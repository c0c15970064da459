"""What every fault of a replay has: whom it strikes, when, how often, and chance that is the same every time.

A fault takes arrivals in the order of their ``time_ns`` and gives arrivals in that order, holding few of them at a
time, however long the bag. Those of messages are in `message_faults`, those of images in `image_faults`.
"""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from m3l_core.bags.arrivals import Arrival

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]
_Period = Annotated[float, Field(ge=0.001, le=1e9)]


@dataclass(frozen=True, slots=True)
class Run:
    """A fault in one replay: where its times count from and what it draws from."""

    start_ns: int
    """When the first message of the recording arrives."""
    seed: int
    key: tuple[int, ...] = ()
    """Tells this fault and this recording from the others of the same seed."""

    def random(self) -> np.random.Generator:
        """Of the fault as a whole."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=self.key))

    def seed_of(self, number: int) -> np.random.SeedSequence:
        """Of its ``number``-th message: whatever befalls the others, in whatever thread, this one gets the same."""
        return np.random.SeedSequence(self.seed, spawn_key=(*self.key, number))


class Fault(BaseModel, ABC):
    """A fault of a scenario: settings that cannot change, where an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @abstractmethod
    def apply(self, arrivals: Iterable[Arrival], run: Run) -> Iterator[Arrival]:
        """What becomes of a recording's messages."""


class MessageFault(Fault):
    """Strikes the messages of a modality in an interval, each with a probability."""

    modality: str = "all"
    """The name of a sensor, or all."""
    from_s: Seconds = 0.0
    """Since the first message of the recording, as all intervals: by when messages arrive, not by their stamps."""
    until_s: Seconds | None = None
    """Exclusive; None = to the end."""
    every_s: _Period | None = None
    """The fault comes and goes: in each ``every_s`` from ``from_s`` on it strikes during the first ``for_s``."""
    for_s: _Period | None = None
    probability: Share = 1.0

    @model_validator(mode="after")
    def _interval_is_one(self) -> MessageFault:
        if self.until_s is not None and self.until_s <= self.from_s:
            raise ValueError(f"until_s ({self.until_s:g}) must be above from_s ({self.from_s:g})")
        if (self.every_s is None) != (self.for_s is None):
            raise ValueError("every_s and for_s belong together: give both or none")
        if self.every_s is not None and self.for_s is not None and self.for_s > self.every_s:
            raise ValueError(f"for_s ({self.for_s:g}) must not be above every_s ({self.every_s:g})")
        return self

    def _struck(self, arrivals: Iterable[Arrival], run: Run) -> Iterator[tuple[Arrival, bool]]:
        """Every message, and whether the fault strikes it."""
        random = run.random()
        for arrival in arrivals:
            # Drawn for every message, so that another interval or modality leaves the draws of the rest alone.
            drawn = random.random() < self.probability
            yield arrival, drawn and self.modality in ("all", arrival.modality) and self._is_at(arrival, run.start_ns)

    def _is_at(self, arrival: Arrival, start_ns: int) -> bool:
        since_ns = arrival.time_ns - start_ns - to_ns(self.from_s)
        if since_ns < 0 or (self.until_s is not None and since_ns >= to_ns(self.until_s) - to_ns(self.from_s)):
            return False
        return self.every_s is None or self.for_s is None or since_ns % to_ns(self.every_s) < to_ns(self.for_s)


class SingleMessageFault(MessageFault):
    """One that strikes each message without regard to the others."""

    def apply(self, arrivals: Iterable[Arrival], run: Run) -> Iterator[Arrival]:
        late: list[tuple[int, int, Arrival]] = []
        count = 0
        for number, (arrival, struck) in enumerate(self._struck(arrivals, run)):
            for instead in self._instead(arrival, run.seed_of(number)) if struck else (arrival,):
                heapq.heappush(late, (instead.time_ns, count, instead))
                count += 1
            while late and late[0][0] <= arrival.time_ns:
                yield heapq.heappop(late)[2]
        while late:
            yield heapq.heappop(late)[2]

    @abstractmethod
    def _instead(self, arrival: Arrival, seed: np.random.SeedSequence) -> Iterable[Arrival]:
        """What arrives in place of a message that is struck, none of it earlier."""


def to_ns(seconds: float) -> int:
    return round(seconds * 1e9)
