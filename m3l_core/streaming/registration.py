"""Whether depth lies over color, by what the frames say of themselves."""

from __future__ import annotations

from m3l_core.frames import Frame, FrameSet

_ASPECT_TOLERANCE = 0.02
"""Of rounded sizes, and of modes of one sensor that are cropped by a few rows."""


def registration_doubt(frames: FrameSet) -> str | None:
    """What to tell of depth that does not lie over color, or may not; None if nothing speaks against it."""
    color, depth = (frames.frames.get(name) for name in ("color", "depth"))
    if color is None or depth is None:
        return None
    if misfit := _misfit(color, depth):
        return misfit
    if not color.frame_id or color.frame_id == depth.frame_id:
        return None
    return (
        f"depth is in the frame '{depth.frame_id}', color in '{color.frame_id}': if the driver does not register depth "
        "to color, labels are wrong wherever the two cameras see something else; config/cameras/ has the settings"
    )


def without_misfit(frames: FrameSet) -> FrameSet:
    """The frame set without depth of another aspect ratio than color, which would be stretched over it."""
    color, depth = (frames.frames.get(name) for name in ("color", "depth"))
    if color is None or depth is None or not (misfit := _misfit(color, depth)):
        return frames
    others = {name: frame for name, frame in frames.frames.items() if name != "depth"}
    return FrameSet(next(iter(others)), others, {**frames.missing, "depth": misfit})


def is_same_aspect(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether one of two image sizes (H, W) is the other one scaled, to 2%."""
    one, two = size[0] * other[1], size[1] * other[0]
    return abs(one - two) <= _ASPECT_TOLERANCE * min(one, two)


def _misfit(color: Frame, depth: Frame) -> str:
    size, other = color.data.shape[:2], depth.data.shape[:2]
    if is_same_aspect(size, other):
        return ""
    return (
        f"depth of {other[1]}x{other[0]} does not lie over color of {size[1]}x{size[0]}, so it is not used. Have the "
        "driver register depth to color, or publish both in one aspect ratio"
    )
