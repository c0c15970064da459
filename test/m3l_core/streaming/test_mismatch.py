"""Which setting is named where two modalities find no set together, at the limits between them."""

from __future__ import annotations

import pytest

from m3l_core.frames import Frame
from m3l_core.streaming.mismatch import MISMATCH_AFTER_NS, apart_ns, differ, is_mismatched, mismatch
from m3l_core.streaming.modality_stream import ModalityStream, Waiting
from m3l_core.streaming.sync_config import SyncConfig

MS = 1_000_000


def stream(name: str, skew_ms: float | None = 0, period_ms: float | None = None, **config: int) -> ModalityStream:
    """Of which is known by how much its frames arrive before their stamps, and how often."""
    made = ModalityStream(name, SyncConfig(**config))  # type: ignore[arg-type]
    made.rhythm.skew_ns = None if skew_ms is None else round(skew_ms * MS)
    made.rhythm.period_ns = made.rhythm.pace_ns = None if period_ms is None else round(period_ms * MS)
    return made


@pytest.mark.parametrize(
    ("period_ms", "after_ms"), [(None, 2000), (100, 2000), (600, 2000), (1000, 3000), (5000, 15_000)]
)
def test_frames_do_not_fit_after_two_seconds_and_three_periods(period_ms: float | None, after_ms: int) -> None:
    assert MISMATCH_AFTER_NS == 2000 * MS
    depth = stream("depth", period_ms=period_ms)
    depth.matched_ns = 7 * MS
    assert not is_mismatched(depth, (7 + after_ms) * MS - 1)
    assert is_mismatched(depth, (7 + after_ms) * MS)
    assert is_mismatched(depth, (8 + after_ms) * MS)


def test_how_much_later_one_arrives_is_known_once_both_have_come() -> None:
    assert apart_ns(stream("color", -10), stream("depth", -310)) == 300 * MS
    assert apart_ns(stream("color", -310), stream("depth", -10)) == -300 * MS
    assert apart_ns(stream("color", None), stream("depth", -310)) == 0
    assert apart_ns(stream("color", -10), stream("depth", None)) == 0


@pytest.mark.parametrize("apart", [-300 * MS, 300 * MS])
def test_the_distance_is_told_without_a_sign(apart: int) -> None:
    assert differ(stream("color"), stream("depth"), apart) == "color and depth differ by 0.30 s"


@pytest.mark.parametrize(
    ("apart_ms", "period_ms", "cause"),
    [
        (5000, 100, "sync_timeout"),  # as late as an image can be
        (5001, 100, "stamp_offset"),
        (60_000, 100, "stamp_offset"),
        (-5001, 100, "stamp_offset"),
        (-5000, 100, "approx_sync_max_interval"),  # 50 frames at 100 ms are 5 s: they are held
        (-5000, 99.9, "sync_queue_size"),
        (-5000, None, "approx_sync_max_interval"),
        (-20, 0.3, "approx_sync_max_interval"),
        (-20.001, 0.3, "sync_queue_size"),
        (50, 100, "approx_sync_max_interval"),
        (50.001, 100, "sync_timeout"),
        (0, 100, "approx_sync_max_interval"),
    ],
)
def test_the_setting_that_helps(apart_ms: float, period_ms: float | None, cause: str) -> None:
    found = mismatch(stream("color", apart_ms), stream("depth", 0, period_ms), 0, SyncConfig())
    assert found.cause == cause
    assert ("stamp_offset.depth" in found.text) == (cause != "approx_sync_max_interval")


@pytest.mark.parametrize(("apart_ms", "cause"), [(80, "approx_sync_max_interval"), (80.001, "sync_timeout")])
def test_what_the_interval_forgives_is_not_late(apart_ms: float, cause: str) -> None:
    config = SyncConfig(approx_sync_max_interval_ns=80 * MS)
    assert mismatch(stream("color", apart_ms), stream("depth"), 0, config).cause == cause


def test_the_offset_is_what_is_to_be_set_not_what_is_to_be_added() -> None:
    depth = ModalityStream("depth", SyncConfig(stamp_offsets_ns={"depth": 1500 * MS}))
    depth.rhythm.skew_ns = 0
    text = mismatch(stream("color", 60_000), depth, 0, SyncConfig()).text
    assert text == (
        "color and depth differ by 60.00 s: they are stamped by different clocks. "
        "Have both drivers stamp by the host's, or set stamp_offset.depth 61.500"
    )


def test_a_late_reference_asks_for_a_queue_that_holds_a_fifth_more() -> None:
    config = SyncConfig(queue_size=10)
    text = mismatch(stream("color", -1000), stream("depth", 0, 33), 0, config).text
    assert text == (
        "color and depth differ by 1.00 s: color arrives 1.00 s late and sync_queue_size 10 holds 0.33 s of depth. "
        "Set it to 37; if it is a clock that differs, stamp_offset.depth -1.000"
    )


def test_a_late_one_asks_for_a_wait_that_is_a_fifth_longer() -> None:
    text = mismatch(stream("color", 1000), stream("depth"), 0, SyncConfig()).text
    assert text == (
        "color and depth differ by 1.00 s: depth arrives 1.00 s late and is waited for sync_timeout, 0.050 s. "
        "Set that to 1.20; if it is a clock that differs, set stamp_offset.depth 1.000"
    )


@pytest.mark.parametrize(
    ("stamps_ms", "distance", "wanted"),
    [
        ([], "never meet", "half a period"),
        ([970, 1033], "are 0.030 s from", "0.030"),
        ([933, 1030.0001], "are 0.030 s from", "0.031"),  # rounded up: 0.030 would not do
        ([1000], "never meet", "half a period"),
    ],
)
def test_stamps_that_never_meet_are_told_of_the_interval(stamps_ms: list[float], distance: str, wanted: str) -> None:
    depth = stream("depth")
    for stamp_ms in stamps_ms:
        depth.insert(Waiting(round(stamp_ms * MS), 0, Frame("depth", 0, None)))
    assert mismatch(stream("color"), depth, 1000 * MS, SyncConfig()).text == (
        f"depth's stamps {distance} color's, approx_sync_max_interval is 0.020 s. "
        f"Have one trigger both sensors, or set it to {wanted} or more"
    )
