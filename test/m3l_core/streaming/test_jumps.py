"""How many frames a jump takes until it is followed, and whether all modalities begin anew with it."""

from __future__ import annotations

import pytest

from m3l_core.streaming.jumps import Verdict, judge_jump
from m3l_core.streaming.modality_stream import ModalityStream
from m3l_core.streaming.rhythm import FOLLOWERS
from m3l_core.streaming.sync_config import SyncConfig

MS = 1_000_000
LAST, NOW = 900 * MS, 1000 * MS
"""Arrival and stamp of the last frame of each modality; arrival of the next."""
BACK, AHEAD = -1_700_000_000_000 * MS, 50_000 * MS
FOLLOWED, REFUSED = Verdict(True), Verdict(False)
JUMPED_BACK = Verdict(True, "the stamps of color jumped back by 1700000000.00 s")


def streams() -> tuple[ModalityStream, ModalityStream]:
    """Color, of which a frame is judged, and depth."""
    both = ModalityStream("color", SyncConfig()), ModalityStream("depth", SyncConfig())
    for stream in both:
        stream.start(0)
        for time in range(0, NOW, 100 * MS):
            stream.observe(time, time)
    return both


def contest(stream: ModalityStream) -> None:
    """Two publishers are suspected on its topic."""
    for number in range(FOLLOWERS):
        stream.rhythm.is_followed(10**15 + number, LAST, 700 * MS)
    assert stream.rhythm.is_contested(NOW)


def judge(jump: int, both: tuple[ModalityStream, ModalityStream], now: int = NOW, number: int = 3) -> list[Verdict]:
    """Of frames of color that come at once; each is judged as if those before had not been followed."""
    return [judge_jump(both[0], both, LAST + jump + each, jump, now) for each in range(number)]


def test_one_frame_is_enough_for_a_jump_back_and_all_begin_anew() -> None:
    both = streams()
    assert judge(BACK, both, number=1) == [JUMPED_BACK]
    assert both[0].rhythm.unsettled
    assert not both[1].rhythm.unsettled


def test_a_jump_ahead_takes_three_and_is_the_modality_s_own() -> None:
    both = streams()
    assert judge(AHEAD, both, number=2) == [REFUSED, REFUSED]
    assert not both[0].rhythm.unsettled
    assert judge_jump(both[0], both, LAST + AHEAD + 2, AHEAD, NOW) == FOLLOWED
    assert both[0].rhythm.unsettled


@pytest.mark.parametrize(("now_ms", "verdict"), [(1400, FOLLOWED), (1399.999999, REFUSED)])
def test_one_frame_is_enough_for_any_jump_of_one_that_is_lost(now_ms: float, verdict: Verdict) -> None:
    assert judge(AHEAD, streams(), round(now_ms * MS), 1) == [verdict]


@pytest.mark.parametrize("jump", [BACK, AHEAD])
def test_one_frame_is_enough_after_a_reset_which_is_no_reason_for_another(jump: int) -> None:
    both = streams()
    both[0].rhythm.unsettled = True
    assert judge(jump, both, number=1) == [FOLLOWED]


@pytest.mark.parametrize(
    ("jump", "now_ms", "unsettled", "last"),
    [
        (BACK, 1000, False, JUMPED_BACK),
        (AHEAD, 1000, False, FOLLOWED),
        (AHEAD, 1400, False, FOLLOWED),
        (BACK, 1000, True, FOLLOWED),
    ],
)
def test_where_two_publishers_are_suspected_every_jump_takes_three(
    jump: int, now_ms: int, unsettled: bool, last: Verdict
) -> None:
    both = streams()
    contest(both[0])
    both[0].rhythm.unsettled = unsettled
    assert judge(jump, both, now_ms * MS) == [REFUSED, REFUSED, last]


def test_where_two_are_suspected_on_another_topic_a_jump_back_takes_three() -> None:
    both = streams()
    contest(both[1])
    assert judge(BACK, both) == [REFUSED, REFUSED, JUMPED_BACK]
    both = streams()
    contest(both[1])
    assert judge(BACK, both, 1400 * MS, 1) == [JUMPED_BACK], "it was lost"


def test_one_frame_is_enough_to_go_on_where_the_stamps_were_before_they_jumped_back() -> None:
    both = streams()
    color = both[0]
    assert judge(BACK, both, number=1) == [JUMPED_BACK]
    color.observe(LAST + BACK, NOW)
    assert judge_jump(color, both, NOW, -BACK + 100 * MS, NOW + MS) == Verdict(
        True, "the stamps of color leap by 1700000000.10 s to and fro"
    )
    assert color.rhythm.is_contested(NOW + MS)


def test_after_a_jump_back_that_took_three_nothing_is_returned_to() -> None:
    both = streams()
    contest(both[0])
    judge(BACK, both)
    both[0].observe(LAST + BACK, NOW)
    assert judge_jump(both[0], both, NOW, -BACK, NOW + MS) == REFUSED
