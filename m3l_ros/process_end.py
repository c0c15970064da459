"""How the node's process ends: at the first Ctrl-C or SIGTERM, quietly, with status 0, at whatever moment it comes."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from queue import SimpleQueue

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE_S = 4.0
"""For what is under way, such as a frame set being labelled; ``ros2 launch`` sends SIGTERM after 5 s."""


def leave_at_once_on_signals() -> None:
    """While libraries are imported: there is nothing to take down yet."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: os._exit(0))


def ignore_further_signals() -> None:
    """``ros2 launch`` sends Ctrl-C twice. What hangs while Python takes itself down is ended all the same."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    atexit.register(signal.alarm, round(PATIENCE_S))


class StopRequest:
    """Made by SIGINT, SIGTERM or ``set``. The main thread makes this object and waits for it.

    Python runs signal handlers in the main thread, and at once only where that waits for something of Python's, not
    in a wait set of rcl's. So it does nothing but wait here, while another thread spins.
    """

    def __init__(self) -> None:
        # Its put, unlike an Event's set, may interrupt its own get.
        self._statuses: SimpleQueue[int] = SimpleQueue()
        for number in SIGNALS:
            signal.signal(number, lambda *_: self._statuses.put(0))

    def set(self, status: int = 0) -> None:
        self._statuses.put(status)

    def wait(self) -> threading.Timer:
        """Return once a stop is requested.

        Returns:
            What ends the process ``PATIENCE_S`` later, whatever it is still doing, unless it is cancelled. An engine
            that is being built cannot be interrupted; what it leaves half-written has a temporary name.
        """
        status = self._statuses.get()
        patience = threading.Timer(PATIENCE_S, os._exit, (status,))
        patience.daemon = True
        patience.start()
        return patience
