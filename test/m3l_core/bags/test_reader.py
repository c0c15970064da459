"""Bags give their messages in order; damage is told, and what came before it is sound."""

from __future__ import annotations

import re
import sqlite3
import tracemalloc
from pathlib import Path

import lz4.frame
import numpy as np
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from rosbags.rosbag2 import CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import McapWriter
from support.bags import (
    COLOR,
    DEPTH,
    MS,
    START_NS,
    STORE,
    Recorded,
    break_chunk,
    frames,
    image,
    rgb,
    serialize,
    stamps,
    write_bag,
)

from m3l_core.bags.reader import RecordedMessage, deserialize, open_bag
from m3l_core.errors import DatasetError, ImageMessageError
from m3l_core.streaming.image_messages import decode_color, stamp_to_ns

STORAGES = pytest.mark.parametrize("storage", list(StoragePlugin))
IMAGE = "sensor_msgs/msg/Image"


@STORAGES
def test_messages_come_as_they_were_recorded(tmp_path: Path, storage: StoragePlugin) -> None:
    recorded = frames(3)
    path = write_bag(tmp_path / "kitchen", reversed(recorded), storage)
    with open_bag(path) as bag:
        assert (bag.name, bag.start_ns) == ("kitchen", START_NS + 3 * MS)
        assert {topic: info.msgcount for topic, info in bag.topics.items()} == {COLOR: 3, DEPTH: 3}
        messages = list(bag.messages((COLOR, DEPTH)))
        assert [(m.topic, m.time_ns, m.raw) for m in messages] == [
            (topic, time_ns, serialize(message)) for topic, time_ns, message, _ in recorded
        ]
        color = [deserialize(message) for message in bag.messages((COLOR,))]
        assert list(bag.messages(())) == list(bag.messages(("/nothing",))) == []
    assert [stamp_to_ns(message.header.stamp) for message in color] == stamps(3)
    for number, message in enumerate(color):
        np.testing.assert_array_equal(decode_color(message), rgb(number))


def colors_of(path: Path) -> list[np.ndarray]:
    with open_bag(path) as bag:
        return [decode_color(deserialize(message)) for message in bag.messages((COLOR,))]


@pytest.mark.parametrize(
    ("storage", "mode"),
    [
        *((StoragePlugin.MCAP, mode) for mode in CompressionMode),
        (StoragePlugin.SQLITE3, CompressionMode.FILE),
        (StoragePlugin.SQLITE3, CompressionMode.MESSAGE),
    ],
)
def test_compressed_bags_are_read_too(tmp_path: Path, storage: StoragePlugin, mode: CompressionMode) -> None:
    path = write_bag(tmp_path / "bag", frames(3), storage, mode)
    np.testing.assert_array_equal(colors_of(path), [rgb(number) for number in range(3)])


class Lz4McapWriter(McapWriter):
    def __init__(self, path: Path, compression: CompressionMode) -> None:
        super().__init__(path, compression)
        self.compression, self.compressor = "lz4", lz4.frame.compress


def test_chunks_of_lz4_are_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Writer.STORAGE_PLUGINS, StoragePlugin.MCAP, Lz4McapWriter)
    path = write_bag(tmp_path / "bag", frames(3))
    assert b"lz4" in (path / "bag.mcap").read_bytes()
    np.testing.assert_array_equal(colors_of(path), [rgb(number) for number in range(3)])


@STORAGES
@pytest.mark.parametrize("mode", [CompressionMode.NONE, CompressionMode.FILE])
def test_a_bag_of_several_files_is_one(tmp_path: Path, storage: StoragePlugin, mode: CompressionMode) -> None:
    path = write_bag(tmp_path / "kitchen", frames(2), storage, mode)
    further = write_bag(tmp_path / "further", frames(3, first=2), storage, mode)
    metadata = yaml.safe_load((path / "metadata.yaml").read_text())
    info = metadata["rosbag2_bagfile_information"]
    for file in further.iterdir():
        if file.name != "metadata.yaml":
            file.rename(path / file.name)
            info["relative_file_paths"].append(file.name)
    for topic in info["topics_with_message_count"]:
        topic["message_count"] = 5
    info["message_count"] = 10
    (path / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    with open_bag(path) as bag:
        assert {topic: info.msgcount for topic, info in bag.topics.items()} == {COLOR: 5, DEPTH: 5}
    np.testing.assert_array_equal(colors_of(path), [rgb(number) for number in range(5)])


@STORAGES
def test_a_single_file_is_a_bag_of_its_own_name(tmp_path: Path, storage: StoragePlugin) -> None:
    path = write_bag(tmp_path / "kitchen", frames(2), storage)
    file = next(file for file in path.iterdir() if file.name != "metadata.yaml")
    with open_bag(file) as bag:
        assert bag.name == "kitchen"
        assert len(list(bag.messages((COLOR,)))) == 2


def test_a_type_that_nobody_knows_does_not_close_the_bag(tmp_path: Path) -> None:
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        odd = writer.add_connection("/odd", "robot_msgs/msg/Odd", msgdef="what is this?\n", rihs01="RIHS01_" + 64 * "0")
        color = writer.add_connection(COLOR, IMAGE, typestore=STORE)
        writer.write(odd, START_NS, b"\0" * 8)
        writer.write(color, START_NS, serialize(image(rgb(0), "rgb8", START_NS)))
    with open_bag(tmp_path / "bag") as bag:
        (message,) = bag.messages((COLOR,))
        assert deserialize(message).encoding == "rgb8"


@STORAGES
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9])
def test_a_truncated_file_is_told_and_what_came_before_is_sound(
    tmp_path: Path, storage: StoragePlugin, share: float
) -> None:
    recorded = frames(40)
    path = write_bag(tmp_path / "kitchen", recorded, storage)
    file = next(file for file in path.iterdir() if file.name != "metadata.yaml")
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    came = []
    with pytest.raises(DatasetError, match=r"kitchen cannot be read: .*mcap recover"), open_bag(path) as bag:
        for message in bag.messages((COLOR, DEPTH)):
            came.append(message.raw)
    sound = [serialize(message) for _, _, message, _ in recorded]
    assert came == sound[: len(came)]


def test_damage_inside_a_file_ends_the_reading_where_it_is(tmp_path: Path) -> None:
    big = np.zeros((600, 1000, 3), np.uint8)  # more than a chunk holds
    recorded = [Recorded(COLOR, stamp, image(big, "rgb8", stamp)) for stamp in stamps(4)]
    path = write_bag(tmp_path / "kitchen", recorded, compression=CompressionMode.STORAGE)
    break_chunk(path, 2)
    came = []
    with open_bag(path) as bag, pytest.raises(DatasetError, match="kitchen cannot be read"):
        for message in bag.messages((COLOR,)):
            came.append(stamp_to_ns(deserialize(message).header.stamp))
    assert came == stamps(2)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere", "does not exist"),
        ("text.txt", "Unrecognized storage"),
        ("folder", "has no metadata.yaml"),
        ("ros1", r"give its files, such as .*ros1/a\.bag"),
    ],
)
def test_what_is_no_bag_is_told(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "folder").mkdir()
    (tmp_path / "ros1").mkdir()
    for bag in "ba":
        (tmp_path / f"ros1/{bag}.bag").touch()
    with pytest.raises(DatasetError, match=reason), open_bag(tmp_path / name):
        pass


def test_what_the_reader_of_a_bag_raises_is_its_own(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "kitchen", frames(1))
    with pytest.raises(ZeroDivisionError), open_bag(path):
        raise ZeroDivisionError


@STORAGES
def test_memory_does_not_grow_with_the_bag(tmp_path: Path, storage: StoragePlugin) -> None:
    pixels = np.zeros((600, 600, 3), np.uint8)
    count = 30
    path = write_bag(tmp_path / "long", (Recorded(COLOR, s, image(pixels, "rgb8", s)) for s in stamps(count)), storage)
    with open_bag(path) as bag:
        tracemalloc.start()
        try:
            assert sum(deserialize(message).height == 600 for message in bag.messages((COLOR,))) == count
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < count * pixels.nbytes / 3


@given(st.binary(max_size=200), st.integers(0, 500), st.booleans())
@example(b"", 0, True)
def test_damaged_bytes_are_no_message_or_some_message(damage: bytes, place: int, cut: bool) -> None:
    raw = serialize(image(rgb(0)[:4, :4], "rgb8", START_NS))
    place %= len(raw)
    broken = raw[:place] + damage + (b"" if cut else raw[place + len(damage) :])
    try:
        message = deserialize(RecordedMessage(COLOR, IMAGE, START_NS, broken))
    except ImageMessageError as error:
        assert IMAGE in str(error)
    else:
        assert {"header", "encoding", "data"} <= set(vars(type(message))["__dataclass_fields__"])


@pytest.mark.parametrize("key", ["message_count", "nanoseconds_since_epoch"])
def test_a_text_in_place_of_a_number_is_told(tmp_path: Path, key: str) -> None:
    metadata = write_bag(tmp_path / "kitchen", frames(1)) / "metadata.yaml"
    metadata.write_text(re.sub(rf"{key}: (\d+)", rf"{key}: 'x\1'", metadata.read_text()))
    with pytest.raises(DatasetError, match="cannot be read"), open_bag(tmp_path / "kitchen"):
        pass


def test_a_time_that_is_no_whole_number_is_told(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "kitchen", frames(1), StoragePlugin.SQLITE3)
    with sqlite3.connect(bag / "kitchen.db3") as database:
        database.execute("update messages set timestamp = 1e300")
    database.close()
    with open_bag(bag) as opened, pytest.raises(DatasetError, match="cannot be read"):
        list(opened.messages(opened.topics))
