"""What the graph knows of an input topic: who publishes, what, and why nothing of it arrives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible


class TopicFacts(NamedTuple):
    """Of one subscription, at one moment."""

    topic: str
    values: Mapping[str, Any]
    """For /diagnostics."""
    obstacle: str
    """Why nothing arrives; empty if nothing speaks against it."""


def type_name(kind: type) -> str:
    """Of a message: ``sensor_msgs/msg/Image``."""
    return f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"


def topic_facts(node: Node, topic: str, kind: type, qos: QoSProfile, transports: Mapping[str, str]) -> TopicFacts:
    """Look at the publishers of a topic.

    Args:
        node: that subscribes.
        topic: fully qualified.
        kind: of the messages that are subscribed to.
        qos: of the subscription.
        transports: other topics on which the images may come -> how to set up the node for them.
    """
    publishers = node.get_publishers_info_by_topic(topic)
    wanted = type_name(kind)
    values = {"topic": topic, "type": wanted, "publishers": len(publishers)}
    number = f"{len(publishers)} publisher{'s' * (len(publishers) != 1)}"
    of_kind = [publisher for publisher in publishers if publisher.topic_type == wanted]
    refusals = [
        reason
        for publisher in of_kind
        for compatibility, reason in [qos_check_compatible(publisher.qos_profile, qos)]
        if compatibility == QoSCompatibility.ERROR
    ]
    obstacle = ""
    if not publishers:
        elsewhere = [
            f"{count} on {other}: {advice}"
            for other, advice in transports.items()
            if (count := node.count_publishers(other))
        ]
        obstacle = ", but ".join([f"0 publishers on {topic}", *elsewhere])
    elif not of_kind:
        found = ", ".join(sorted({publisher.topic_type.rpartition("/")[2] for publisher in publishers}))
        advice = " or ".join(dict.fromkeys(transports.values())) or "remap the input"
        obstacle = f"{number} on {topic}, but of {found}: {advice}"
    elif len(refusals) == len(of_kind):
        obstacle = f"{number} on {topic}, but QoS does not match: {refusals[0].strip().rstrip('; .')}"
    return TopicFacts(topic, values, obstacle)
