"""An image message becomes a frame: the same on the robot, from a bag, and in a replay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from m3l_core.errors import M3LError
from m3l_core.frames import Frame, ImageKind
from m3l_core.pictures import MOST_PIXELS
from m3l_core.streaming.image_messages import decode_color, decode_depth, decode_intensity, stamp_to_ns

_LONGEST_ENCODING, _LONGEST_REASON = 80, 600
_DECODERS: dict[str, Callable[[Any, int], Any]] = {
    "color": decode_color,
    "depth": decode_depth,
    "height": decode_depth,
    "intensity": decode_intensity,
}


def decode_frame(
    modality: str, message: Any, most_pixels: int = MOST_PIXELS, kind: ImageKind | None = None
) -> tuple[Frame, str | None]:
    """Decode an image message; any thread may.

    Args:
        modality: which the frame is of.
        message: sensor_msgs Image or CompressedImage, rclpy's or rosbags'.
        most_pixels: that a compressed image may have.
        kind: of the modality's images; that of its name if None.

    Returns:
        The frame, and None; or a frame without data, and why it cannot be decoded.
    """
    stamp_ns, frame_id = stamp_to_ns(message.header.stamp), message.header.frame_id
    encoding = _shortened(message.format if hasattr(message, "format") else message.encoding, _LONGEST_ENCODING)
    try:
        return Frame(modality, stamp_ns, _DECODERS[kind or modality](message, most_pixels), frame_id, encoding), None
    except M3LError as error:
        why = str(error)
    except Exception as error:  # nobody has thought of all that drivers send
        why = f"it cannot be decoded, {type(error).__name__}: {error}"
    return Frame(modality, stamp_ns, None, frame_id, encoding), _shortened(why, _LONGEST_REASON)


def _shortened(text: str, longest: int) -> str:
    """What goes into a log and into /diagnostics: a stranger's message may say anything at any length."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
