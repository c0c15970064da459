"""Why the frames of two modalities find no set together though both come, and which setting helps."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from m3l_core.streaming.modality_stream import ModalityStream
from m3l_core.streaming.sync_config import SyncConfig

MISMATCH_AFTER_NS = 2_000_000_000
"""Frames that are in no set for so long do not fit."""
_CLOCKS_APART_NS = 5_000_000_000
"""No image is so late: stamps that differ by more are of different clocks."""


class Mismatch(NamedTuple):
    """A cause, to be told once, and what to do about it."""

    cause: str
    """The setting that is to be changed."""
    text: str


def is_mismatched(stream: ModalityStream, now_ns: int) -> bool:
    """Whether frames of a modality have come for ``MISMATCH_AFTER_NS`` and three periods, and none was in a set."""
    return now_ns - stream.matched_ns >= max(MISMATCH_AFTER_NS, 3 * (stream.rhythm.pace_ns or 0))


def apart_ns(reference: ModalityStream, stream: ModalityStream) -> int:
    """How much later than the reference's a frame of the same stamp arrives, smoothed; 0 while that is not known."""
    skew, other = reference.rhythm.skew_ns, stream.rhythm.skew_ns
    return 0 if skew is None or other is None else skew - other


def differ(reference: ModalityStream, stream: ModalityStream, apart: int) -> str:
    return f"{reference.name} and {stream.name} differ by {abs(apart) / 1e9:.2f} s"


def mismatch(reference: ModalityStream, stream: ModalityStream, stamp_ns: int, config: SyncConfig) -> Mismatch:
    """What keeps ``stream``'s frames from the reference's, of which one of this stamp has just found none."""
    apart = apart_ns(reference, stream)
    seconds, name = abs(apart) / 1e9, stream.name
    told = differ(reference, stream, apart)
    offset = f"stamp_offset.{name} {(stream.offset_ns + apart) / 1e9:.3f}"
    if seconds > _CLOCKS_APART_NS / 1e9:
        return Mismatch(
            "stamp_offset",
            f"{told}: they are stamped by different clocks. Have both drivers stamp by the host's, or set {offset}",
        )
    period = stream.rhythm.period_ns
    if apart < -config.approx_sync_max_interval_ns and period and config.queue_size * period < -apart:
        held = config.queue_size * period / 1e9
        return Mismatch(
            "sync_queue_size",
            f"{told}: {reference.name} arrives {seconds:.2f} s late and sync_queue_size {config.queue_size} holds "
            f"{held:.2f} s of {name}. Set it to {ceil(-apart * 1.2 / period)}; if it is a clock that differs, {offset}",
        )
    if apart > max(config.sync_timeout_ns, config.approx_sync_max_interval_ns):
        return Mismatch(
            "sync_timeout",
            f"{told}: {name} arrives {seconds:.2f} s late and is waited for sync_timeout, "
            f"{config.sync_timeout_ns / 1e9:.3f} s. Set that to {seconds * 1.2:.2f}; if it is a clock that differs, "
            f"set {offset}",
        )
    interval = config.approx_sync_max_interval_ns / 1e9
    off = min((abs(entry.stamp_ns - stamp_ns) for entry in stream.queue), default=0)
    distance = f"are {off / 1e9:.3f} s from" if off else "never meet"
    wanted = f"{ceil(off / 1e6) / 1e3:.3f}" if off else "half a period"
    return Mismatch(
        "approx_sync_max_interval",
        f"{name}'s stamps {distance} {reference.name}'s, approx_sync_max_interval is {interval:.3f} s. "
        f"Have one trigger both sensors, or set it to {wanted} or more",
    )
