"""What m3l_core logs, and what its synchronizer tells, appear in the node's log."""

from __future__ import annotations

import logging
from typing import Any

from m3l_core.streaming.modality_report import ModalityState, SyncEvent


class EventLog:
    """Writes what happens in the synchronizers of a node, one after the other: what can be mended by a setting once.

    A warning, but for a sensor that is well or merely late.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._told: set[tuple[str | None, str]] = set()

    def __call__(self, event: SyncEvent) -> None:
        if event.cause:
            if (event.modality, event.cause) in self._told:
                return
            self._told.add((event.modality, event.cause))
        # rclpy wants each level from a line of its own.
        if event.state in (None, ModalityState.LOST):
            self._logger.warning(event.text)
        else:
            self._logger.info(event.text)


class LogBridge(logging.Handler):
    """Hands records of Python's logging to an rclpy logger, level for level."""

    def __init__(self, logger: Any) -> None:
        super().__init__()
        # rclpy wants each level from a line of its own.
        self._by_level = (
            (logging.ERROR, lambda text: logger.error(text)),
            (logging.WARNING, lambda text: logger.warning(text)),
            (logging.INFO, lambda text: logger.info(text)),
            (logging.NOTSET, lambda text: logger.debug(text)),
        )

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        for level, write in self._by_level:
            if record.levelno >= level:
                write(text)
                return


def bridge_logging(logger: Any) -> LogBridge:
    """Route ``m3l_core``'s log into ``logger``, until ``unbridge_logging``."""
    handler = LogBridge(logger)
    core = logging.getLogger("m3l_core")
    core.addHandler(handler)
    core.setLevel(logging.DEBUG)  # the node's logger has a level of its own
    core.propagate = False
    return handler


def unbridge_logging(handler: LogBridge) -> None:
    """Take a bridge away; the core's log propagates again when the last one is gone."""
    core = logging.getLogger("m3l_core")
    core.removeHandler(handler)
    core.propagate = not any(isinstance(other, LogBridge) for other in core.handlers)
