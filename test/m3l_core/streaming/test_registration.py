"""Depth that is registered to color bears color's frame_id."""

from __future__ import annotations

import pytest

from m3l_core.frames import Frame, FrameSet
from m3l_core.streaming.registration import registration_doubt


def frame_set(**frame_ids: str) -> FrameSet:
    frames = {name: Frame(name, 1, None, frame_id) for name, frame_id in frame_ids.items()}
    return FrameSet(next(iter(frames)), frames)


@pytest.mark.parametrize(
    "frame_ids",
    [{"color": "optical", "depth": "optical"}, {"color": "optical"}, {"depth": "optical"}, {"color": "", "depth": "a"}],
)
def test_nothing_speaks_against_it(frame_ids: dict[str, str]) -> None:
    assert registration_doubt(frame_set(**frame_ids)) is None


@pytest.mark.parametrize("depth", ["depth_optical", ""])
def test_another_frame_is_told(depth: str) -> None:
    told = registration_doubt(frame_set(color="color_optical", depth=depth))
    assert told is not None
    assert f"depth is in the frame '{depth}', color in 'color_optical'" in told
