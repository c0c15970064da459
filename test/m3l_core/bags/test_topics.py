"""Which topics are color and depth: guessed where that is clear, asked for where it is not."""

from __future__ import annotations

import re

import pytest
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat, TopicInfo

from m3l_core.bags.topics import COMPRESSED_IMAGE, IMAGE, NONE, choose_topics
from m3l_core.errors import DatasetError

GUESS = {"color": None, "depth": None}
NO_DEFINITION = MessageDefinition(MessageDefinitionFormat.NONE, "")


def recorded(*topics: str, **others: str) -> dict[str, TopicInfo]:
    """Image topics, compressed ones by their names, and ``others``: name -> type."""
    kinds = {topic: COMPRESSED_IMAGE if "ompressed" in topic else IMAGE for topic in topics} | others
    return {topic: TopicInfo(kind, NO_DEFINITION, 5, []) for topic, kind in kinds.items()}


@pytest.mark.parametrize(
    ("topics", "color", "depth"),
    [
        (["/color/image_raw/compressed", "/depth/image_rect/compressedDepth", "/ground_truth/labels"], 0, 1),
        (["/camera/camera/color/image_raw", "/camera/camera/aligned_depth_to_color/image_raw"], 0, 1),
        (["/camera/color/image_raw", "/camera/depth/image_rect_raw", "/camera/aligned_depth_to_color/image_raw"], 0, 2),
        (["/camera/color/image_raw", "/camera/depth/image_rect_raw", "/camera/infra1/image_rect_raw"], 0, 1),
        (["/oak/rgb/image_raw", "/oak/stereo/image_raw"], 0, 1),
        (["/zed/zed_node/rgb/color/rect/image", "/zed/zed_node/depth/depth_registered"], 0, 1),
        (["/zed/rgb/color/rect/image", "/zed/left/color/rect/image", "/zed/depth/depth_registered"], 0, 2),
        (["/rgb/image_raw", "/depth_to_rgb/image_raw", "/depth/image_raw", "/ir/image_raw"], 0, 1),
        (["/image_raw", "/depth"], 0, 1),
        (["/rgb/image/compressed", "/rgb/image/compressedDepth", "/rgb/image", "/depth/image"], 2, 3),
        (["/rgb/image/compressed", "/depth/image/compressed", "/depth/image/compressedDepth"], 0, 2),
        (["/segmentation/overlay", "/Color/image", "/Depth/image"], 1, 2),
    ],
)
def test_the_names_of_known_drivers_are_understood(topics: list[str], color: int, depth: int) -> None:
    expected = {"color": topics[color], "depth": topics[depth]}
    assert choose_topics(recorded(*topics), GUESS) == expected
    assert choose_topics(recorded(*reversed(topics)), GUESS) == expected


def test_what_holds_no_image_is_not_guessed() -> None:
    topics = recorded("/a/color/image", "/a/depth/image", **{"/a/color/info": "x", "/depth_registered": "y"})
    assert choose_topics(topics, GUESS) == {"color": "/a/color/image", "depth": "/a/depth/image"}
    topics["/a/color/image_rect"] = TopicInfo(IMAGE, NO_DEFINITION, 0, [])
    assert choose_topics(topics, GUESS)["color"] == "/a/color/image"


def test_what_is_given_counts() -> None:
    topics = recorded("/front/color", "/rear/color", "/front/depth", "/rear/depth", "/labels")
    given = {"color": "/rear/color", "depth": NONE, "label": "/labels"}
    assert choose_topics(topics, given) == {"color": "/rear/color", "label": "/labels"}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"color": None}, "/front/color, /rear/color could all be color: name the one you mean"),
        (
            {"depth": None},
            "no topic looks like depth: name it, or say 'none' if it was not recorded; image topics in the bag: "
            "/front/color (5 messages), /rear/color (5 messages)",
        ),
        ({"color": "/left"}, "the color topic /left was not recorded; image topics in the bag: /front/color (5"),
        (
            {"color": "/scan"},
            "the color topic /scan holds sensor_msgs/msg/LaserScan, expected sensor_msgs/msg/Image or",
        ),
        (
            {"label": "/scan"},
            "the label topic /scan holds sensor_msgs/msg/LaserScan, expected sensor_msgs/msg/Image or",
        ),
        ({"color": NONE, "depth": NONE}, "there is nothing to read"),
        (
            {"color": "/rear/color", "depth": "/rear/color"},
            "expected a topic for each of color, depth, got /rear/color, /rear/color",
        ),
    ],
)
def test_what_is_not_clear_is_asked_for(given: dict[str, str | None], reason: str) -> None:
    topics = recorded("/front/color", "/rear/color", **{"/scan": "sensor_msgs/msg/LaserScan"})
    with pytest.raises(DatasetError, match=re.escape(reason)):
        choose_topics(topics, given)


def test_a_bag_without_images_says_so() -> None:
    with pytest.raises(DatasetError, match=r"image topics in the bag: none$"):
        choose_topics(recorded(**{"/scan": "sensor_msgs/msg/LaserScan"}), GUESS)
