"""Which frame sets are kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.bags import MS, START_NS, stamps

from m3l_core.extraction.frame_choice import changing, thinned
from m3l_core.frames import Frame, FrameSet

SIZE = (96, 128)


def sets(stamps_ns: list[int]) -> list[FrameSet]:
    return [FrameSet("color", {"color": Frame("color", stamp, None)}) for stamp in stamps_ns]


@given(st.floats(1.0, 60.0), st.floats(0.05, 1.0), st.lists(st.floats(-0.2, 0.2), min_size=2, max_size=200))
def test_jitter_costs_no_frame(camera_hz: float, share: float, jitter: list[float]) -> None:
    source_ns = 1e9 / camera_hz
    stamps_ns = [START_NS + round((number + shift) * source_ns) for number, shift in enumerate(jitter)]
    kept = [each.reference_frame.stamp_ns for each in thinned(sets(stamps_ns), camera_hz * share)]
    assert kept[0] == stamps_ns[0]
    expected = (stamps_ns[-1] - stamps_ns[0]) / source_ns * share
    assert abs(len(kept) - 1 - expected) <= 1.7
    gaps = np.diff(kept) / source_ns
    assert np.all(np.abs(gaps - 1 / share) <= 1.7)


def test_no_rate_keeps_all_and_a_new_timeline_begins_at_once() -> None:
    again = stamps(20) * 2
    assert len(list(thinned(sets(again), None))) == 40
    assert [each.reference_frame.stamp_ns for each in thinned(sets(again), 1.0)] == stamps(20)[::10] * 2


def thinned_ms(times_ms: Iterable[int], rate_hz: float) -> list[int]:
    kept = thinned(sets([START_NS + time * MS for time in times_ms]), rate_hz)
    return [(each.reference_frame.stamp_ns - START_NS) // MS for each in kept]


def test_the_nearest_to_each_tick_is_kept_and_a_gap_brings_no_burst() -> None:
    assert thinned_ms(range(0, 1001, 100), 4.0) == [0, 200, 500, 700, 1000]  # of two as near the earlier one
    assert thinned_ms([*range(0, 300, 100), *range(5030, 7030, 100)], 1.0) == [0, 5030, 5530, 6530]
    assert thinned_ms([0, 0, 0], 1.0) == [0]


def scene(block: int = 0, noise: int = 0, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """A gray wall at 2 m with a nearer, brighter block of so many pixels a side, seen by noisy sensors."""
    random = np.random.default_rng(seed)
    color = np.full((*SIZE, 3), 100, np.int32) + random.integers(-noise, noise + 1, (*SIZE, 3))
    depth = np.full(SIZE, 2000, np.int32) + random.integers(-2 * noise, 2 * noise + 1, SIZE)
    color[:block, :block] = 180
    depth[:block, :block] = 1200
    return color.clip(0, 255).astype(np.uint8), depth.astype(np.uint16)


def as_set(number: int, color: Any = None, depth: Any = None) -> FrameSet:
    images = {name: image for name, image in (("color", color), ("depth", depth)) if image is not None}
    frames = {name: Frame(name, START_NS + number, image) for name, image in images.items()}
    return FrameSet(next(iter(frames)), frames)


def kept(share: float | None, *images: tuple[Any, Any]) -> list[int]:
    """Numbers of the frame sets that are kept; the others are counted."""
    skipped = iter(range(len(images) + 1))
    frame_sets = [as_set(number, *pair) for number, pair in enumerate(images)]
    numbers = [each.reference_frame.stamp_ns - START_NS for each in changing(frame_sets, share, lambda: next(skipped))]
    assert next(skipped) == len(images) - len(numbers)
    return numbers


def test_no_share_keeps_all() -> None:
    assert kept(None, scene(), scene(), scene()) == [0, 1, 2]


def test_noise_is_no_change() -> None:
    assert kept(0.001, *(scene(noise=6, seed=seed) for seed in range(5))) == [0]


@pytest.mark.parametrize("which", [(True, True), (True, False), (False, True)], ids=["both", "color", "depth"])
def test_a_share_of_the_picture_must_change(which: tuple[bool, bool]) -> None:
    """A block of 24 pixels is 576 of 12288, 4.7%; one of 12 is 1.2%."""

    def seen(block: int) -> tuple[Any, Any]:
        color, depth = scene(block, noise=2, seed=block)
        return (color if which[0] else None, depth if which[1] else None)

    assert kept(0.04, seen(0), seen(12), seen(24), seen(24)) == [0, 2]
    assert kept(0.01, seen(0), seen(12), seen(24), seen(24)) == [0, 1, 2]


def test_either_sensor_may_see_the_change() -> None:
    color, depth = scene()
    assert kept(0.04, (color, depth), (color, scene(24)[1]), (scene(24)[0], scene(24)[1])) == [0, 1, 2]


def test_small_changes_add_up_to_one() -> None:
    """Each is compared with the last one kept, not with the one before."""
    blocks = range(0, 36, 4)
    numbers = kept(0.04, *(scene(block) for block in blocks))
    assert numbers[0] == 0
    assert 2 <= len(numbers) < len(blocks)


def test_a_cell_has_changed_by_more_than_ten_gray_levels_or_by_more_than_a_twentieth_of_its_distance() -> None:
    color, depth = scene()
    for level, changed in ((110, []), (90, []), (111, [1]), (89, [1])):
        assert kept(1.0, (color, None), (np.full_like(color, level), None)) == [0, *changed]
    for distance, changed in ((2098, []), (1902, []), (2102, [1]), (1898, [1])):
        assert kept(1.0, (None, depth), (None, np.full_like(depth, distance))) == [0, *changed]


@pytest.mark.parametrize(("invalid", "counts"), [(1, True), (2, False), (3, False), (4, False)])
def test_a_cell_of_which_half_has_no_depth_does_not_count(invalid: int, counts: bool) -> None:
    """Cells are of 2x2 pixels here."""
    nearer = np.full(SIZE, 1200, np.uint16)
    for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))[:invalid]:
        nearer[row::2, column::2] = 0
    assert kept(1.0, (None, scene()[1]), (None, nearer)) == [0, *([1] if counts else [])]


def test_a_sensor_that_comes_back_counts_and_one_that_goes_does_not() -> None:
    color, depth = scene()
    assert kept(0.04, (color, None), (color, None), (color, depth), (color, None), (None, depth)) == [0, 2]


def test_depth_that_is_invalid_changes_nothing() -> None:
    color, depth = scene()
    holes = depth.copy()
    holes[:, :64] = 0
    metres = np.where(holes == 0, np.nan, holes / 1000).astype(np.float32)
    assert kept(0.01, (color, depth), (color, holes), (color, metres), (color, np.zeros_like(depth))) == [0]


@settings(deadline=None, max_examples=30)
@given(st.floats(0.01, 1.0), st.lists(st.integers(0, 96), min_size=1, max_size=8))
def test_a_larger_share_keeps_no_more_and_the_first_always(share: float, blocks: list[int]) -> None:
    seen = [scene(block) for block in blocks]
    numbers = kept(share, *seen)
    assert numbers[0] == 0
    assert kept(share, *(scene(blocks[number]) for number in numbers)) == list(range(len(numbers)))


def test_any_size_of_image_will_do() -> None:
    color, depth = scene(24)
    larger = cv2.resize(color, (640, 400)), cv2.resize(depth, (640, 400), interpolation=cv2.INTER_NEAREST)
    assert kept(0.04, (color, depth), larger) == [0]
