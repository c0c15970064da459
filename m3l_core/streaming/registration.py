"""Whether depth lies over color, by what the frames say of themselves."""

from __future__ import annotations

from m3l_core.frames import FrameSet


def registration_doubt(frames: FrameSet) -> str | None:
    """What to tell of depth that is in another coordinate frame than color; None if nothing speaks against it."""
    color, depth = (frames.frames.get(name) for name in ("color", "depth"))
    if color is None or depth is None or not color.frame_id or color.frame_id == depth.frame_id:
        return None
    return (
        f"depth is in the frame '{depth.frame_id}', color in '{color.frame_id}': if the driver does not register depth "
        "to color, labels are wrong wherever the two cameras see something else; config/cameras/ has the settings"
    )
