"""What the synchronizer tells of a modality: its state, its accounts, and what happened to it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class ModalityState(Enum):
    OK = "OK"
    STALE = "STALE"
    """Nothing healthy for more than three of its periods, so that one lost frame is no news; or its stamps are of two
    timelines, as where two publish on one topic."""
    LOST = "LOST"
    """Nothing healthy for ``sensor_timeout``, or for three of its periods where those are longer."""


class Drop(Enum):
    """Why a frame is in no frame set."""

    LATE = "late"
    """Its place in the order had passed when it arrived."""
    SUPERSEDED = "superseded"
    """It waited, and another frame of its modality was nearer."""
    DUPLICATE = "duplicate"
    """Its modality already had a frame of this stamp."""
    OVERFLOW = "overflow"
    """The queue was full."""
    UNHEALTHY = "unhealthy"
    """It carries nothing worth using."""
    RESET = "reset"
    """It waited when the stamps jumped."""
    LEAP = "leap"
    """Its stamp was far from those before it, and it was not the third in a row there."""


@dataclass(frozen=True, slots=True)
class SyncEvent:
    """Something that a user wants to read once: a changed state, a reset, clocks that disagree."""

    text: str
    modality: str | None = None
    state: ModalityState | None = None
    """The new state, where the event is a change of state."""
    cause: str = ""
    """Of what keeps healthy frames from being used, the setting that helps; each is told once."""


@dataclass(frozen=True, slots=True)
class ModalityReport:
    """A copy of what is known about a modality at one moment."""

    state: ModalityState
    age_ns: int | None
    """Since the last healthy frame arrived; None before the first."""
    period_ns: int | None
    """Median distance of stamps; None until measured."""
    rate_hz: float
    """Frames a second that arrived in the last seconds, healthy or not."""
    stale_after_ns: int | None
    """Age at which it becomes STALE; None if it does not before it is LOST."""
    lost_after_ns: int
    """Age at which it becomes LOST."""
    received: int
    in_complete_sets: int
    in_partial_sets: int
    dropped: dict[str, int]
    """Reason -> frames."""
    waiting: int
    reused: int
    """Times that a frame served a further set."""
    last_reason: str
    """Why the last unhealthy frame was refused."""
    remark: str = ""
    """What keeps healthy frames from being used, and what to do about it; empty if nothing does."""
