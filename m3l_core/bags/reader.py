"""Reads recorded bags (rosbag2: MCAP or sqlite3; ROS 1: .bag) message by message, on a machine without ROS.

At any time one chunk of the bag is in memory, however long the bag; of a .bag also its index, some hundred bytes a
message.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rosbags import rosbag1, rosbag2
from rosbags.interfaces import TopicInfo

from m3l_core.bags.bag_files import is_ros1, name_of_file, whole_bag
from m3l_core.bags.message_types import message_types
from m3l_core.bags.unpacking import limit_rosbags
from m3l_core.errors import DatasetError, ImageMessageError

Serialization = Literal["cdr", "ros1"]
limit_rosbags()


@dataclass(frozen=True, slots=True)
class RecordedMessage:
    """A message as it lies in the bag."""

    topic: str
    message_type: str
    time_ns: int
    """When it was recorded; its own stamp is in its header."""
    raw: bytes
    serialization: Serialization = "cdr"
    """Of ``raw``."""


class Bag:
    """An open bag; ``open_bag`` makes it."""

    def __init__(self, path: Path, reader: rosbag1.Reader | rosbag2.Reader) -> None:
        self.path = path
        self.name = path.resolve().name if path.is_dir() else name_of_file(path.name)
        """That of its folder, or of its file."""
        self.topics: Mapping[str, TopicInfo] = reader.topics
        """Topic -> ``msgtype`` and ``msgcount``."""
        self.start_ns = reader.start_time
        """When the first message was recorded."""
        self._reader = reader
        self._serialization: Serialization = "ros1" if isinstance(reader, rosbag1.Reader) else "cdr"

    def messages(self, topics: Collection[str]) -> Iterator[RecordedMessage]:
        """The messages of ``topics`` in the order in which they were recorded.

        Raises:
            DatasetError: the bag is damaged; what came until then is sound.
        """
        connections = [connection for connection in self._reader.connections if connection.topic in topics]
        if not connections:  # to the library, none means all
            return
        found = iter(self._reader.messages(connections))
        while True:
            try:
                connection, time_ns, raw = next(found)
                time_ns = operator.index(time_ns)  # sqlite keeps whatever it was given
            except StopIteration:
                return
            except Exception as error:  # whatever damage makes the library raise
                raise _unreadable(self.path, error) from error
            yield RecordedMessage(connection.topic, connection.msgtype, time_ns, raw, self._serialization)


@contextmanager
def open_bag(path: Path) -> Iterator[Bag]:
    """Open a bag: its folder, a single file of it, compressed or not, or a .bag of ROS 1.

    Raises:
        DatasetError: there is no bag, or it cannot be read.
    """
    with ExitStack() as stack:
        try:
            whole = stack.enter_context(whole_bag(path))
            reader = rosbag1.Reader(whole) if is_ros1(whole) else rosbag2.Reader(whole)
            reader.open()
            stack.callback(reader.close)
            bag = Bag(path, reader)
            numbers = (bag.start_ns, *(each.msgcount for each in bag.topics.values()))
            if not all(isinstance(number, int) for number in numbers):
                raise ValueError("its metadata has a text in place of a number")
        except DatasetError:
            raise
        except Exception as error:  # whatever damage makes the library raise
            raise _unreadable(path, error) from error
        yield bag


def deserialize(message: RecordedMessage) -> Any:
    """The message of a type that is known, with the fields that ROS gives it.

    Raises:
        ImageMessageError: its bytes are not a message of that type.
    """
    # Not the definitions in the bag: one of a type that cannot be parsed would close the whole bag to us.
    types, kind = message_types(), message.message_type
    try:
        # So a message of ROS 1 gets the fields of ROS 2: the number in its header is dropped, a camera's K becomes k.
        raw = types.ros1_to_cdr(message.raw, kind) if message.serialization == "ros1" else message.raw
        return types.deserialize_cdr(raw, kind)
    except Exception as error:  # whatever damage makes the library raise
        raise ImageMessageError(f"no {kind}: {error or type(error).__name__}") from error


def _unreadable(path: Path, error: Exception) -> DatasetError:
    why = str(error) or type(error).__name__
    repair = (
        f"repair it with: rosbag reindex {path}"
        if is_ros1(path)
        else "repair a file of it with 'mcap recover' or 'sqlite3 FILE .recover' and then run: ros2 bag reindex"
    )
    return DatasetError(f"bag {path} cannot be read: {why.rstrip('.')}. If its recording was cut off, {repair}")
