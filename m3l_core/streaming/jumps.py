"""Whether stamps that jump begin a timeline that is to be followed, or are wrong, or another publisher's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from m3l_core.streaming.modality_report import ModalityState
from m3l_core.streaming.modality_stream import ModalityStream


class Verdict(NamedTuple):
    """What to make of a jump."""

    followed: bool
    reset: str = ""
    """Why the other modalities begin anew, too; empty if they do not."""


def judge_jump(
    stream: ModalityStream, streams: Sequence[ModalityStream], stamp_ns: int, jump_ns: int, now_ns: int
) -> Verdict:
    """Judge a frame whose stamp is ``jump_ns`` from the newest one of its modality.

    One frame is enough for a jump to where the stamps were before they jumped back: there are two publishers, and the
    first one goes on. Unless another publisher may have sent it, one is also enough for a jump back, as of a bag that
    begins anew, for any of a modality that is LOST, and for the first after a reset. All others take ``FOLLOWERS``.

    Args:
        stream: the frame's modality.
        streams: all of them.
        stamp_ns: of the frame.
        jump_ns: ahead, or back if negative.
        now_ns: its arrival.
    """
    rhythm = stream.rhythm
    if rhythm.returns(stamp_ns, now_ns):
        return Verdict(True, f"the stamps of {stream.name} leap by {jump_ns / 1e9:.2f} s to and fro")
    begins = jump_ns < 0 and not rhythm.unsettled
    at_once = (
        rhythm.unsettled
        or stream.state_at(now_ns) is ModalityState.LOST
        or (begins and not any(each.rhythm.is_contested(now_ns) for each in streams))
    )
    if rhythm.is_contested(now_ns) or not at_once:
        if not rhythm.is_followed(stamp_ns, now_ns, jump_ns):
            return Verdict(False)
    elif begins:
        rhythm.leave()
    rhythm.unsettled = True
    return Verdict(True, f"the stamps of {stream.name} jumped back by {-jump_ns / 1e9:.2f} s" if begins else "")
