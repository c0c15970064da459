"""A recording with ground truth, cut into phases in which sensors are silent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3l_core.bags.reader import deserialize, open_bag
from m3l_core.errors import DatasetError, ImageMessageError
from m3l_core.streaming.image_messages import decode_color, decode_depth, stamp_to_ns

COLOR_TOPIC = "/color/image_raw/compressed"
DEPTH_TOPIC = "/depth/image_rect/compressedDepth"
CAMERA_INFO_TOPIC = "/color/camera_info"
TRUTH_TOPIC = "/ground_truth/labels"
_KINDS = {
    COLOR_TOPIC: "sensor_msgs/msg/CompressedImage",
    DEPTH_TOPIC: "sensor_msgs/msg/CompressedImage",
    CAMERA_INFO_TOPIC: "sensor_msgs/msg/CameraInfo",
    TRUTH_TOPIC: "sensor_msgs/msg/Image",
}
SENSOR_TOPICS = {"color": COLOR_TOPIC, "depth": DEPTH_TOPIC}


@dataclass(frozen=True, slots=True)
class Phase:
    """A quarter of the recording."""

    name: str
    silent: frozenset[str] = frozenset()


PHASES = (
    Phase("both sensors"),
    Phase("depth lost", frozenset({"depth"})),
    Phase("color lost", frozenset({"color"})),
    Phase("both again"),
)


@dataclass(frozen=True, slots=True)
class Instant:
    """Everything recorded under one stamp."""

    stamp_ns: int
    phase: Phase
    messages: dict[str, bytes]
    """Topic -> serialized message (CDR)."""
    color: NDArray[np.uint8]
    """(H, W, 3) uint8 RGB."""
    depth: NDArray[np.uint16]
    """(H, W) uint16 millimetres."""
    truth: NDArray[np.uint8]
    """(H, W) uint8 class ids, 255 = unlabelled."""

    def sensor_messages(self) -> dict[str, bytes]:
        """Topic -> message, without those of silent sensors."""
        silent = {SENSOR_TOPICS[name] for name in self.phase.silent}
        return {topic: raw for topic, raw in self.messages.items() if topic != TRUTH_TOPIC and topic not in silent}


def read_recording(path: Path) -> list[Instant]:
    """Read a recording whole: it is short.

    Raises:
        DatasetError: it cannot be read, lacks a topic at some instant, or has something else on it.
    """
    try:
        return _read(path)
    except ImageMessageError as error:
        raise DatasetError(f"recording {path} cannot be read: {error}") from error


def _read(path: Path) -> list[Instant]:
    by_stamp: dict[int, dict[str, tuple[bytes, Any]]] = {}
    with open_bag(path) as bag:
        for recorded in bag.messages(_KINDS):
            topic, kind = recorded.topic, recorded.message_type
            if (kind, recorded.serialization) != (_KINDS[topic], "cdr"):
                raise DatasetError(f"recording {path} has {kind} on {topic}, expected {_KINDS[topic]} of ROS 2")
            message = deserialize(recorded)
            by_stamp.setdefault(stamp_to_ns(message.header.stamp), {})[topic] = (recorded.raw, message)
    if not by_stamp:
        raise DatasetError(f"recording {path} has none of the topics {', '.join(_KINDS)}")
    if len(by_stamp) < len(PHASES):
        raise DatasetError(f"recording {path} has {len(by_stamp)} instants, the demo needs {len(PHASES)} or more")
    instants = []
    for number, (stamp_ns, found) in enumerate(sorted(by_stamp.items())):
        if missing := [topic for topic in _KINDS if topic not in found]:
            raise DatasetError(f"recording {path} has no {', '.join(missing)} at {stamp_ns} ns")
        instant = Instant(
            stamp_ns=stamp_ns,
            phase=PHASES[number * len(PHASES) // len(by_stamp)],
            messages={topic: raw for topic, (raw, _) in found.items()},
            color=decode_color(found[COLOR_TOPIC][1]),
            depth=decode_depth(found[DEPTH_TOPIC][1]),
            # Labels are ids, not gray values: any one channel of what a mono8 image decodes to.
            truth=decode_color(found[TRUTH_TOPIC][1])[..., 0],
        )
        sizes = {image.shape[:2] for image in (instant.color, instant.depth, instant.truth)}
        if len(sizes) > 1:
            raise DatasetError(f"recording {path} has images of {sorted(sizes)} at {stamp_ns} ns, expected one size")
        instants.append(instant)
    return instants
