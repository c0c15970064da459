"""Which topics of a bag are color, depth and what else a bundle takes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rosbags.interfaces import TopicInfo

from m3l_core.errors import DatasetError

IMAGE, COMPRESSED_IMAGE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
NONE = "none"
"""In place of a topic: the recording is without this modality."""

# By falling preference; depth that is registered to color comes before depth that is not.
_NAMES = {
    "color": ("rgb", "color", "image"),
    "depth": ("aligned_depth|depth_registered|depth_to_(color|rgb)", "depth", "stereo/image"),
}
_MADE = "confidence|label|mask|segment|overlay"
_OTHERS = {"color": f"depth|stereo|disparity|infra|{_MADE}", "depth": f"infra|{_MADE}"}
# What image_transport appends: the first of those that were recorded is the least changed.
_TRANSPORTS = ("", "/compressedDepth", "/compressed")


def choose_topics(recorded: Mapping[str, TopicInfo], given: Mapping[str, str | None]) -> dict[str, str]:
    """Check the topics that are given and guess the others by type and name.

    Args:
        recorded: the topics of the bag.
        given: modality -> topic, ``NONE``, or None to guess it.

    Returns:
        Modality -> topic, without what is ``NONE``.

    Raises:
        DatasetError: a topic is not there or holds no images, or there is none or no single one to guess.
    """
    further = [re.escape(name) for name in given if name not in _NAMES]
    chosen = {
        modality: _guess(recorded, modality, further) if topic is None else _checked(recorded, modality, topic)
        for modality, topic in given.items()
        if topic != NONE
    }
    if not chosen:
        raise DatasetError("there is nothing to read: every modality is 'none'")
    if len(set(chosen.values())) < len(chosen):
        raise DatasetError(f"expected a topic for each of {', '.join(chosen)}, got {', '.join(chosen.values())}")
    return chosen


def _checked(recorded: Mapping[str, TopicInfo], modality: str, topic: str) -> str:
    if topic not in recorded:
        raise DatasetError(f"the {modality} topic {topic} was not recorded; {_listing(recorded)}")
    if recorded[topic].msgtype not in (IMAGE, COMPRESSED_IMAGE):
        came = recorded[topic].msgtype
        raise DatasetError(f"the {modality} topic {topic} holds {came}, expected {IMAGE} or {COMPRESSED_IMAGE}")
    return topic


def _guess(recorded: Mapping[str, TopicInfo], modality: str, further: Sequence[str]) -> str:
    """A topic by its name; one that is called as another of the ``further`` modalities is none."""
    own = re.escape(modality)
    others = "|".join([_OTHERS.get(modality, _MADE), *(name for name in further if name != own)])
    possible = [
        topic
        for topic in _image_topics(recorded)
        if recorded[topic].msgcount and not re.search(others, topic, re.IGNORECASE)
    ]
    for pattern in _NAMES.get(modality, (own,)):
        found = {topic: _split(topic) for topic in possible if re.search(pattern, _split(topic)[0], re.IGNORECASE)}
        bases = sorted({base for base, _ in found.values()})
        if len(bases) > 1:
            raise DatasetError(f"{', '.join(bases)} could all be {modality}: name the one you mean")
        if found:
            return min(found, key=lambda topic: _TRANSPORTS.index(found[topic][1]))
    raise DatasetError(
        f"no topic looks like {modality}: name it, or say '{NONE}' if it was not recorded; {_listing(recorded)}"
    )


def base_topic(topic: str) -> str:
    """A topic without what image_transport appends."""
    return _split(topic)[0]


def _split(topic: str) -> tuple[str, str]:
    """Base and transport."""
    transport = next((each for each in _TRANSPORTS if each and topic.endswith(each)), "")
    return topic.removesuffix(transport), transport


def _image_topics(recorded: Mapping[str, TopicInfo]) -> list[str]:
    return sorted(topic for topic, info in recorded.items() if info.msgtype in (IMAGE, COMPRESSED_IMAGE))


def _listing(recorded: Mapping[str, TopicInfo]) -> str:
    images = [f"{topic} ({recorded[topic].msgcount} messages)" for topic in _image_topics(recorded)]
    return f"image topics in the bag: {', '.join(images) or 'none'}"
