"""Plays the recording to the node in real time and collects what the node says."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage

from m3l_core.errors import M3LError
from m3l_ros.demo.recording import CAMERA_INFO_TOPIC, SENSOR_TOPICS, Instant
from m3l_ros.node_client import NodeClient

TOPICS: dict[str, type] = dict.fromkeys(SENSOR_TOPICS.values(), CompressedImage) | {CAMERA_INFO_TOPIC: CameraInfo}


class Stage:
    """Where the recording is played; what it has seen is written by the listening thread and read by any."""

    def __init__(self, client: NodeClient) -> None:
        self.masks: dict[int, NDArray[np.uint8]] = {}
        """Stamp -> labels (H, W) uint8."""
        self.arrivals_s: list[float] = []
        """When each mask came."""
        self._client = client
        client.on_mask = self._take_mask

    @property
    def states(self) -> dict[str, str]:
        """Modality -> OK, STALE or LOST."""
        return {
            name: status.values["state"] for name, status in self._client.statuses.items() if "state" in status.values
        }

    @property
    def accounts(self) -> dict[str, str]:
        """What the node says about its pipeline."""
        return dict(self._client.state.values)

    def wait_until_ready(self, timeout_s: float = 90.0) -> None:
        """Wait until the node labels and hears every topic.

        Raises:
            M3LError: it does not within ``timeout_s``; the text has its last status.
        """
        client = self._client
        if not client.wait_until(lambda: client.state.is_labelling and client.is_heard(), timeout_s):
            said = client.state.message or "nothing"
            raise M3LError(f"the node was not ready after {timeout_s:.0f} s; it says: {said}")

    def play(self, instants: Sequence[Instant]) -> Iterator[Instant]:
        """Publish every instant when it is due, and yield it.

        Raises:
            M3LError: the node has died.
        """
        for instant in self._client.pace(instants, attrgetter("stamp_ns")):
            for topic, raw in instant.sensor_messages().items():
                self._client.publish(topic, raw)
            yield instant

    def wait_for_last_mask(self, stamp_ns: int, timeout_s: float = 5.0) -> None:
        """Wait until the node has labelled ``stamp_ns`` or a later instant, or for ``timeout_s``."""
        self._client.wait_until(lambda: max(list(self.masks), default=0) >= stamp_ns, timeout_s)

    def _take_mask(self, stamp_ns: int, ids: NDArray[np.uint8]) -> None:
        self.masks[stamp_ns] = ids
        self.arrivals_s.append(time.monotonic())
