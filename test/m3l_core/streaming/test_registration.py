"""Depth that is registered to color bears color's frame_id."""

from __future__ import annotations

import numpy as np
import pytest

from m3l_core.frames import Frame, FrameSet
from m3l_core.streaming.registration import is_same_aspect, registration_doubts, without_misfits


def frame_set(**frame_ids: str) -> FrameSet:
    frames = {name: Frame(name, 1, np.zeros((6, 8)), frame_id) for name, frame_id in frame_ids.items()}
    return FrameSet(next(iter(frames)), frames)


@pytest.mark.parametrize(
    "frame_ids",
    [{"color": "optical", "depth": "optical"}, {"color": "optical"}, {"depth": "optical"}, {"color": "", "depth": "a"}],
)
def test_nothing_speaks_against_it(frame_ids: dict[str, str]) -> None:
    assert registration_doubts(frame_set(**frame_ids)) == {}


@pytest.mark.parametrize("depth", ["depth_optical", ""])
def test_another_frame_is_told(depth: str) -> None:
    doubts = registration_doubts(frame_set(color="color_optical", depth=depth, thermal="color_optical"))
    assert set(doubts) == {"depth"}
    told = doubts["depth"]
    assert f"depth is in the frame '{depth}', color in 'color_optical'" in told


@pytest.mark.parametrize(
    ("size", "other", "same"),
    [
        ((480, 640), (240, 320), True),
        ((720, 1280), (480, 848), True),  # modes of one sensor, rounded
        ((100, 100), (100, 102), True),
        ((100, 100), (100, 103), False),
        ((180, 320), (240, 320), False),
        ((480, 640), (640, 480), False),
    ],
)
def test_depth_of_another_aspect_ratio_is_told_and_not_used(
    size: tuple[int, int], other: tuple[int, int], same: bool
) -> None:
    frames = {name: Frame(name, 1, np.zeros(shape), "cam") for name, shape in (("color", size), ("depth", other))}
    given = FrameSet("color", frames, {})
    assert is_same_aspect(size, other) is is_same_aspect(other, size) is same
    used = without_misfits(given)
    if same:
        assert used is given and registration_doubts(given) == {}
    else:
        assert set(used.frames) == {"color"} and used.missing == registration_doubts(given)
        assert f"depth of {other[1]}x{other[0]} does not lie over color of {size[1]}x{size[0]}" in used.missing["depth"]


def test_of_one_that_does_not_lie_over_color_nothing_else_is_told() -> None:
    frames = {"color": Frame("color", 1, np.zeros((6, 8)), "a"), "depth": Frame("depth", 1, np.zeros((6, 6)), "b")}
    (told,) = registration_doubts(FrameSet("color", frames)).values()
    assert "does not lie over" in told


@pytest.mark.parametrize(
    ("sizes", "left", "leads"),
    [
        ({"color": (6, 8), "depth": (6, 8), "thermal": (6, 6)}, {"color", "depth"}, "color"),
        ({"color": (6, 8), "depth": (6, 6), "thermal": (6, 6)}, {"color"}, "color"),
        ({"depth": (6, 6), "color": (6, 8), "thermal": (12, 16)}, {"color", "thermal"}, "color"),
        ({"depth": (6, 6), "thermal": (6, 8)}, {"depth"}, "depth"),
    ],
)
def test_of_several_sensors_those_that_do_not_lie_over_color_are_left_out(
    sizes: dict[str, tuple[int, int]], left: set[str], leads: str
) -> None:
    frames = {name: Frame(name, 1, np.zeros(size), "cam") for name, size in sizes.items()}
    used = without_misfits(FrameSet(next(iter(sizes)), frames))
    assert (set(used.frames), used.reference) == (left, leads)
    assert set(used.missing) == sizes.keys() - left
