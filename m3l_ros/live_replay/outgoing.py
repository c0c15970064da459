"""The messages of a recording as they are published: behind the faults, packed ahead of time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

from m3l_core.bags.arrivals import Arrival
from m3l_core.bags.frame_sets import KINDS
from m3l_core.bags.message_types import message_types
from m3l_core.bags.reader import Bag, deserialize
from m3l_core.errors import ImageMessageError
from m3l_core.frames import ImageKind
from m3l_core.replay.recordings.ros_messages import as_arrived
from m3l_core.streaming.image_messages import stamp_to_ns

_PACKED_AHEAD = 256


class Outgoing(NamedTuple):
    """A message to be published."""

    arrival: Arrival
    """As ``as_published`` gives it; ``time_ns`` is when it is due."""
    edited: bool
    """Whether a fault has befallen its image."""
    raw: bytes
    """Serialized (CDR)."""


def readable_messages(
    bag: Bag, topics: Mapping[str, str], kinds: Mapping[str, ImageKind] = KINDS
) -> Iterator[Arrival | str]:
    """The messages of a bag as arrivals; of one that is not of its type, only the modality."""
    modalities = {topic: name for name, topic in topics.items()}
    for recorded in bag.messages(modalities):
        modality = modalities[recorded.topic]
        try:
            message = deserialize(recorded)
        except ImageMessageError:
            yield modality
        else:
            stamp_ns = stamp_to_ns(message.header.stamp)
            yield Arrival(recorded.time_ns, modality, message, stamp_ns, kind=kinds[modality])


def as_published(arrival: Arrival) -> Arrival:
    """The same without edits: what they make of its image is in the message."""
    message = as_arrived(arrival)
    return replace(arrival, message=message, stamp_ns=stamp_to_ns(message.header.stamp), edits=())


def pack(arrivals: Iterable[Arrival]) -> Iterator[Outgoing]:
    """In order.

    Images that faults have befallen are encoded anew, for which time may not suffice while they are played. So several
    threads work ahead, and the first message comes only when the next seconds' messages are packed, too.
    """
    stream = iter(arrivals)
    with ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="packer") as pool:
        ahead = deque(pool.submit(_packed, arrival) for arrival in islice(stream, _PACKED_AHEAD))
        wait(ahead)
        while ahead:
            yield ahead.popleft().result()
            ahead.extend(pool.submit(_packed, arrival) for arrival in islice(stream, 1))


def _packed(arrival: Arrival) -> Outgoing:
    published = as_published(arrival)
    return Outgoing(published, bool(arrival.edits), serialized(published.message))


def serialized(message: Any) -> bytes:
    """CDR of a message of rosbags."""
    return bytes(message_types().serialize_cdr(message, message.__msgtype__))
