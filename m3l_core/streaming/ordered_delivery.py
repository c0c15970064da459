"""Hands items to a callback in order, one at a time, whichever thread comes by, holding no lock meanwhile."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from m3l_core.streaming.repeats import Failures

logger = logging.getLogger(__name__)
T = TypeVar("T")


class OrderedDelivery(Generic[T]):
    """A bounded queue that is emptied by whoever calls ``flush`` first.

    What the callback raises is logged and counted. Beyond ``capacity`` the oldest item is forgotten; who cannot
    afford that asks ``full`` before.
    """

    def __init__(self, callback: Callable[[T], None], capacity: int) -> None:
        self._callback = callback
        self._items: deque[T] = deque(maxlen=capacity)
        self._lock = threading.Lock()
        self._delivering = False
        self._failures = Failures("a callback of the synchronizer", logger.error)
        self.errors = 0

    @property
    def full(self) -> bool:
        return len(self._items) == self._items.maxlen

    def put(self, item: T) -> None:
        """Queue an item; never calls out."""
        self._items.append(item)

    def flush(self) -> None:
        """Deliver what is queued, unless another call is at it: that one will deliver it."""
        while self._items:
            with self._lock:
                if self._delivering:
                    return
                self._delivering = True
            try:
                while self._items:
                    self._call(self._items.popleft())
            finally:
                self._delivering = False

    def _call(self, item: T) -> None:
        try:
            self._callback(item)
        except Exception as error:
            self.errors += 1
            self._failures.tell(error)
