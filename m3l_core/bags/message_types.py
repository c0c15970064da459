"""The message types that are known here: those of ROS 2, and what tells which id of a label image is which class."""

from __future__ import annotations

import functools

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

LABEL_INFO = "vision_msgs/msg/LabelInfo"
# The fields of vision_msgs 4, which are not among the library's types.
_VISION_CLASS = "uint16 class_id\nstring class_name\n"
_LABEL_INFO = "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n"


@functools.cache
def message_types() -> Typestore:
    """Those of ROS 2, with vision_msgs/LabelInfo."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for name, text in (("vision_msgs/msg/VisionClass", _VISION_CLASS), (LABEL_INFO, _LABEL_INFO)):
        store.register(get_types_from_msg(text, name))
    return store
