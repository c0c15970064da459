"""One thread, one slot: the newest item wins, so latency does not grow under load."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from m3l_core.streaming.repeats import Failures

logger = logging.getLogger(__name__)
T = TypeVar("T")


class LatestOnlyWorker(Generic[T]):
    """Runs ``work`` on the newest item, in its own thread.

    An item that was not begun when a newer one came is replaced and counted. What ``work`` raises is logged and
    counted; the thread goes on.
    """

    def __init__(self, work: Callable[[T], None], name: str = "worker") -> None:
        self._work = work
        self._slot: list[T] = []
        self._condition = threading.Condition()
        self._closed = False
        self._failures = Failures(name, logger.error)
        self.replaced = 0
        self.errors = 0
        self.last_error = ""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Offer an item; returns at once. After ``close`` it is ignored."""
        with self._condition:
            if self._closed:
                return
            self.replaced += len(self._slot)
            self._slot = [item]
            self._condition.notify()

    def close(self, timeout_s: float = 10.0) -> None:
        """Let the running item finish, forget a waiting one, end the thread."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._slot or self._closed)
                if self._closed:
                    return
                item = self._slot.pop()
            try:
                self._work(item)
            except Exception as error:
                self.errors += 1
                self.last_error = f"{type(error).__name__}: {error}"
                self._failures.tell(error)
