"""One recording played into a node under one scenario, and what comes back."""

from __future__ import annotations

import hashlib
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo

from m3l_core.bags.arrivals import Arrival, Faults
from m3l_core.bags.reader import Bag
from m3l_core.errors import DatasetError, M3LError
from m3l_core.frames import ImageKind
from m3l_core.replay.arrival_log import ArrivalLog, Origin
from m3l_core.replay.label_images import LabelStore
from m3l_core.replay.measures.comparisons import Comparisons
from m3l_core.replay.measures.measures import LiveMeasures, Measures
from m3l_core.replay.measures.state_timeline import StateTimeline
from m3l_core.replay.measures.timing import DeliveryMeter
from m3l_core.replay.replay import ReplayResult, ReplaySettings, no_message
from m3l_ros.live_replay.accounts import Accounts, report_of
from m3l_ros.live_replay.node import LiveNode, NodeInputs
from m3l_ros.live_replay.outgoing import Outgoing, pack, readable_messages, serialized
from m3l_ros.node_client import NodeClient, NodeStatus

_PATIENCE_S = 10.0


class Sent(NamedTuple):
    """A message that has been published."""

    published_ns: int
    recorded_stamp_ns: int
    edited: bool
    """Whether a fault has befallen its image."""


class LiveRun:
    """Plays and collects. All times are by the bag's clock, which goes on while the recording is played.

    Args:
        topics: modality -> topic of the bag.
        settings: of the node.
        kinds: of the images of its sensors.
    """

    def __init__(self, topics: Mapping[str, str], settings: ReplaySettings, kinds: Mapping[str, ImageKind]) -> None:
        self.log = ArrivalLog(settings.stamps, settings.sync, tuple(kinds))
        self._kinds = kinds
        self.sent: dict[tuple[str, int], Sent] = {}
        """(modality, stamp) -> the message, the last one that counts if there were several."""
        self.live = LiveMeasures()
        self._topics, self._sync = topics, settings.sync
        self._unreadable: Counter[str] = Counter()
        self._ahead_ns: int | None = None
        """How far the bag's clock is ahead of the machine's; None before the first message."""
        self._last_message_ns = self._last_mask_ns = 0
        self._meter = DeliveryMeter()
        self._digest = hashlib.sha256()
        self._num_masks = 0
        self._timelines: dict[str, StateTimeline] = {}
        self._before: Mapping[str, NodeStatus] = {}
        self._told: Mapping[str, NodeStatus] = {}
        self._told_ns = 0
        self._disk_error: OSError | None = None

    def play(
        self,
        bag: Bag,
        faults: Faults,
        client: NodeClient,
        node: LiveNode,
        inputs: NodeInputs,
        masks: LabelStore,
        advance: Callable[[], None],
        camera_info: tuple[str, Any] | None = None,
    ) -> None:
        """Publish every message when it is due, and wait until the node has made of them all that it will.

        ``masks`` takes the labels that come, by their stamps. A ``camera_info``, topic and message, goes before each.

        Raises:
            DatasetError: the bag has no message on its topics.
            M3LError: the node has died, fallen silent, or cannot label.
            OSError: the labels cannot be kept on disk.
        """
        packed = pack(faults(self.log.before_faults(self._recorded(bag, advance))))
        first = next(packed, None)  # before the node begins: its sensors are LOST if nothing comes for a while
        if not self.log.recorded:
            raise DatasetError(self.log.damage or no_message(bag, self._topics))
        self._timelines = {name: StateTimeline(self.log.start_ns) for name in self._topics}
        client.on_mask, client.on_statuses = partial(self._take_mask, masks), self._take_statuses
        beside = None if camera_info is None else (camera_info[0], serialized(camera_info[1]))
        if beside is not None:
            client.announce(beside[0], CameraInfo)
        self._before = node.begin()
        self._last_message_ns = self.log.end_ns if first is None else first.arrival.time_ns
        self._ahead_ns = self._last_message_ns - time.monotonic_ns()
        everything = chain([] if first is None else [first], packed)
        for message in client.pace(everything, lambda each: each.arrival.time_ns):
            self._note(message)
            if beside is not None:
                client.publish(*beside)
            client.publish(inputs.topics[message.arrival.modality], message.raw)
            if self._disk_error is not None:
                raise self._disk_error
        self._settle(client)
        client.on_mask, client.on_statuses = lambda stamp_ns, ids: None, lambda statuses: None
        node.end()

    def result(self, bag: str, scenario: str, compared: Comparisons) -> ReplayResult:
        """What was measured, once everything is played and compared."""
        log, accounts = self.log, Accounts(self._before, self._told)
        end_ns = max(log.end_ns, self._last_mask_ns)
        measures = Measures(compared.scores, {}, live=self.live)
        measures.delivery, gaps = self._meter.finish(log.start_ns, end_ns)
        if len(self._topics) > 1:
            measures.stock = log.stock_delivery(log.end_ns)
        whole = accounts.of()
        measures.complete_sets, measures.partial_sets = whole["sets complete"], whole["sets partial"]
        measures.resets = whole["resets"]
        self.live.replaced_sets = whole["sets replaced by newer ones"]
        for name, timeline in self._timelines.items():
            timeline.finish(report_of(self._told[name]), self._told_ns, end_ns)
            recorded = log.recorded[name] + self._unreadable[name]
            counts = accounts.modality(name, recorded, log.arrived[name], self._unreadable[name])
            counts.states_ns = timeline.lengths_ns
            measures.modalities[name] = counts
        return ReplayResult(
            bag,
            scenario,
            measures,
            log.start_ns,
            end_ns,
            gaps,
            self._timelines,
            compared.worst.frames,
            compared.worst_by,
            self._digest.hexdigest(),
            log.damage,
        )

    def _recorded(self, bag: Bag, advance: Callable[[], None]) -> Iterator[Arrival]:
        for message in readable_messages(bag, self._topics, self._kinds):
            if isinstance(message, Arrival):
                yield message
            else:
                self._unreadable[message] += 1
            advance()

    def _note(self, message: Outgoing) -> None:
        arrival, edited, _ = message
        now_ns = self._last_message_ns = self._now_ns()
        self.live.longest_lag_ns = max(self.live.longest_lag_ns, now_ns - arrival.time_ns)
        self.log.behind_faults(arrival, now_ns)
        key = arrival.modality, arrival.stamp_ns
        former = self.sent.get(key)
        # Of two with one stamp the first is used, unless the stamps have jumped back between them.
        if former is None or now_ns - former.published_ns > self._sync.reset_interval_ns:
            self.sent[key] = Sent(now_ns, Origin.of(arrival).recorded_stamp_ns, edited)

    def _now_ns(self) -> int:
        return time.monotonic_ns() + (self._ahead_ns or 0)

    def _take_mask(self, masks: LabelStore, stamp_ns: int, ids: NDArray[np.uint8]) -> None:
        now_ns = self._now_ns()
        keys = ((name, stamp_ns) for name in self._kinds)  # the first that there is leads
        sent = next((self.sent[key] for key in keys if key in self.sent), None)
        if sent is None:  # of what somebody else has published before
            return
        self.live.latency.add(now_ns - sent.published_ns)
        self._meter.add(now_ns)
        self._last_mask_ns = now_ns
        self._digest.update(struct.pack("<q2I", stamp_ns, *ids.shape))
        self._digest.update(ids.tobytes())
        try:
            masks.add(stamp_ns, ids)
        except OSError as error:  # for the other thread to raise
            self._disk_error = error
        self._num_masks += 1

    def _take_statuses(self, statuses: Mapping[str, NodeStatus]) -> None:
        if self._ahead_ns is None or not statuses.keys() >= self._timelines.keys():
            return
        self._told, self._told_ns = statuses, self._now_ns()
        for name, timeline in self._timelines.items():
            timeline.observe(report_of(statuses[name]), self._told_ns)

    def _settle(self, client: NodeClient) -> None:
        waited_ns = self._last_message_ns + self._sync.sync_timeout_ns
        lost_ns = waited_ns + self._sync.sensor_timeout_ns

        def is_settled() -> bool:
            if self._told_ns <= waited_ns:
                return False
            accounts = Accounts(self._before, self._told)
            waits = accounts.num_waiting() and self._told_ns <= lost_ns
            return not waits and accounts.num_unsettled() <= 0 and self._num_masks >= accounts.of()["sets published"]

        client.wait_until(is_settled, (lost_ns - self._last_message_ns) / 1e9 + _PATIENCE_S)
        if self._disk_error is not None:
            raise self._disk_error
        if self._told_ns <= self._last_message_ns:
            raise M3LError(f"the node has fallen silent: no diagnostics for {_PATIENCE_S:.0f} s")
