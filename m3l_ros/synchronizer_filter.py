"""FrameSynchronizer as a message_filters filter, for nodes that use ApproximateTimeSynchronizer today."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rclpy.node import Node

from m3l_core.frames import Frame, FrameSet
from m3l_core.streaming.image_messages import stamp_to_ns
from m3l_core.streaming.repeats import Failures, Repeats
from m3l_core.streaming.sync_config import SyncConfig
from m3l_core.streaming.synchronizer import FrameSynchronizer
from m3l_ros.log_bridge import EventLog
from m3l_ros.polling import Polling

try:
    from message_filters import SimpleFilter
except ImportError:  # the ROS 2 wheels of PyPI lack it

    class SimpleFilter:  # type: ignore[no-redef]
        def __init__(self) -> None:
            self.callbacks: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = {}


class FrameSynchronizerFilter(SimpleFilter):
    """Calls back with one message per input, in their order, and None in place of a missing one.

        sync = FrameSynchronizerFilter([color_subscriber, depth_subscriber], ["color", "depth"], node)
        sync.registerCallback(lambda color, depth: print("no depth:", sync.missing["depth"]) if depth is None else ...)

    What callbacks raise is logged, and so are changes of a modality's state, resets and clocks that disagree, all by a
    logger of the filter's own below the node's. A message without a stamped header is dropped, with a warning.
    Attributes: ``frames`` is the set handed over now, or last; ``synchronizer.report()`` tells rates and drops.

    Args:
        inputs: message_filters Subscribers, or anything with their ``registerCallback(callback, *args)``.
        modalities: a name for each input. The first one that is not LOST leads: each of its messages gives one set.
        node: lends its timer, its clock and its logger.
        config: waits and windows; ``approx_sync_max_interval_ns`` is ApproximateTimeSynchronizer's slop.
        name: of the logger, such as ``front`` where a node has several; the modalities' names, joined, if empty.

    Raises:
        ValueError: not one name for each input, no input, or a name twice.
    """

    def __init__(
        self,
        inputs: Sequence[Any],
        modalities: Sequence[str],
        node: Node,
        config: SyncConfig | None = None,
        name: str = "",
    ) -> None:
        super().__init__()
        if len(inputs) != len(modalities):
            raise ValueError(f"expected a name for each of the {len(inputs)} inputs, got {list(modalities)}")
        self.frames: FrameSet | None = None
        self._modalities = tuple(modalities)
        self._logger = node.get_logger().get_child(name or "+".join(modalities))
        self._next_connection = 0
        self._failures = Failures("a callback of the synchronizer", lambda text: self._logger.error(text))
        self._headerless = {modality: Repeats() for modality in modalities}
        self._polling = Polling(node)
        self.synchronizer = FrameSynchronizer(
            modalities,
            self._hand_over,
            clock=self._polling.now_ns,
            config=config,
            on_event=EventLog(self._logger),
        )
        self._polling.start(self.synchronizer, self.synchronizer.poll)
        # message_filters offers no way to disconnect, so each input is given what destroy() can empty.
        self._receiver = [self._receive]
        for source, modality in zip(inputs, modalities, strict=True):
            source.registerCallback(_forward, self._receiver, modality)

    @property
    def missing(self) -> Mapping[str, str]:
        """Modality -> why its message is None, of ``frames``."""
        return self.frames.missing if self.frames is not None else {}

    def registerCallback(self, callback: Callable[..., Any], *args: Any) -> int:
        """Have ``callback(*messages, *args)`` called for each set; what is returned disconnects it."""
        self._next_connection += 1
        self.callbacks[self._next_connection] = (callback, args)
        return self._next_connection

    def disconnect(self, connection: int) -> None:
        self.callbacks.pop(connection, None)

    def signalMessage(self, *messages: Any) -> None:
        for callback, args in list(self.callbacks.values()):
            try:
                callback(*messages, *args)
            except Exception as error:
                self._failures.tell(error)

    def destroy(self) -> None:
        """Stop the timer, let go of the inputs and of the callbacks. The inputs remain their owner's."""
        self._polling.stop()
        self._receiver.clear()
        self.callbacks.clear()

    def _receive(self, message: Any, name: str) -> None:
        stamp = getattr(getattr(message, "header", None), "stamp", None)
        if stamp is None:  # an exception would end the executor that brought the message
            if number := self._headerless[name].count():
                more = f" ({number} since this was told last)" if number > 1 else ""
                self._logger.warning(
                    f"dropped a {type(message).__name__} of '{name}'{more}: without a stamped header nothing says what "
                    "belongs to it; synchronize messages that have one"
                )
            return
        self.synchronizer.add(Frame(name, stamp_to_ns(stamp), message))
        self._polling.arm()

    def _hand_over(self, frames: FrameSet) -> None:
        self.frames = frames
        self.signalMessage(*(frames.frames[name].data if name in frames.frames else None for name in self._modalities))


def _forward(message: Any, receiver: list[Callable[[Any, str], None]], name: str) -> None:
    for receive in receiver:
        receive(message, name)
