"""Whether the images of an instant lie over each other, by what the frames say of themselves."""

from __future__ import annotations

from collections.abc import Iterator

from m3l_core.frames import Frame, FrameSet

_ASPECT_TOLERANCE = 0.02
"""Of rounded sizes, and of modes of one sensor that are cropped by a few rows."""


def registration_doubts(frames: FrameSet) -> dict[str, str]:
    """Modality -> what to tell of one that does not lie over color, or may not; empty if nothing speaks against it.

    Where there is no color, the others are held against the frame that leads the set.
    """
    base = _base(frames)
    doubts = dict(_misfits(frames))
    for frame in frames.frames.values():
        if frame.modality not in doubts and base.frame_id and base.frame_id != frame.frame_id:
            name, other = frame.modality, base.modality
            doubts[name] = (
                f"{name} is in the frame '{frame.frame_id}', {other} in '{base.frame_id}': if the driver does not "
                f"register {name} to {other}, labels are wrong wherever the two cameras see something else; "
                "config/cameras/ has the settings"
            )
    return doubts


def without_misfits(frames: FrameSet) -> FrameSet:
    """The frame set without images of another aspect ratio than color, which would be stretched over it."""
    if not (misfits := dict(_misfits(frames))):
        return frames
    fitting = {name: frame for name, frame in frames.frames.items() if name not in misfits}
    reference = _base(frames).modality if frames.reference in misfits else frames.reference
    return FrameSet(reference, fitting, {**frames.missing, **misfits})


def is_same_aspect(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether one of two image sizes (H, W) is the other one scaled, to 2%."""
    one, two = size[0] * other[1], size[1] * other[0]
    return abs(one - two) <= _ASPECT_TOLERANCE * min(one, two)


def _base(frames: FrameSet) -> Frame:
    return frames.frames.get("color", frames.reference_frame)


def _misfits(frames: FrameSet) -> Iterator[tuple[str, str]]:
    base = _base(frames)
    for name, frame in frames.frames.items():
        size, other = base.data.shape[:2], frame.data.shape[:2]
        if not is_same_aspect(size, other):
            yield (
                name,
                f"{name} of {other[1]}x{other[0]} does not lie over {base.modality} of {size[1]}x{size[0]}, so it is "
                f"not used. Have the driver register {name} to {base.modality}, or publish both in one aspect ratio",
            )
