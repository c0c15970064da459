"""Small recordings, whole and with holes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from support.rooms import draw_room, write_images

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000


def write_sequence(folder: Path, count: int) -> Path:
    """Frames at 10 Hz as training/make_recording.py takes them."""
    random = np.random.default_rng(2)
    frames = []
    for number in range(count):
        name = f"{number:04}"
        write_images(folder, name, *draw_room(random))
        frames.append({"name": name, "stamp_ns": START_NS + number * PERIOD_NS, "fx": 80.5})
    (folder / "frames.json").write_text(json.dumps(frames))
    return folder


def copy_without(bag: Path, copy: Path, *topics: str, number: int | None = None) -> Path:
    """Copy a bag but for the messages of ``topics``: all of them, or the one with this number on each.

    What is left out goes to topics of another name, so that the copy is not empty.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    with (
        AnyReader([bag], default_typestore=store) as reader,
        Writer(copy, version=9, storage_plugin=StoragePlugin.MCAP) as writer,
    ):
        names = [connection.topic for connection in reader.connections]
        kinds = {connection.topic: connection.msgtype for connection in reader.connections}
        kept = {name: writer.add_connection(name, kinds[name], typestore=store) for name in names}
        aside = {name: writer.add_connection(f"/aside{name}", kinds[name], typestore=store) for name in topics}
        seen = dict.fromkeys(names, 0)
        for connection, time_ns, raw in reader.messages():
            topic = connection.topic
            left_out = topic in topics and number in (None, seen[topic])
            seen[topic] += 1
            writer.write((aside if left_out else kept)[topic], time_ns, raw)
    return copy
