"""What happens again and again is told once, and then counted: no line for every frame."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable

QUIET_S = 5.0
_MOST_KINDS = 20


class Repeats:
    """Whether to tell of something that has just happened: the first time, then once in ``QUIET_S``.

    Args:
        steady: seconds.
    """

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self._quiet_until_s: float | None = None
        self._untold = 0

    def count(self) -> int:
        """How many times there are to be told, this one included; 0: not now."""
        now_s = self._steady()
        self._untold += 1
        if self._quiet_until_s is not None and now_s < self._quiet_until_s:
            return 0
        self._quiet_until_s = now_s + QUIET_S
        number, self._untold = self._untold, 0
        return number


class Failures:
    """What a callback raises: the first of each kind with its traceback, the others counted. Any thread may tell.

    Args:
        what: has failed, as the subject of a sentence.
        write: takes the lines.
        steady: seconds.
    """

    def __init__(self, what: str, write: Callable[[str], None], steady: Callable[[], float] = time.monotonic) -> None:
        self._what, self._write = what, write
        self._kinds: set[tuple[type, str, int | None]] = set()
        self._repeats = Repeats(steady)
        self._lock = threading.Lock()

    def tell(self, error: Exception) -> None:
        """Of an exception that has been caught."""
        with self._lock:
            place = traceback.extract_tb(error.__traceback__)[-1]
            kind = type(error), place.filename, place.lineno
            if kind not in self._kinds and len(self._kinds) < _MOST_KINDS:
                self._kinds.add(kind)
                text = "".join(traceback.format_exception(error)).rstrip()
                self._write(f"{self._what} failed; it will be counted from now on:\n{text}")
            elif number := self._repeats.count():
                times = "once" if number == 1 else f"{number} times"
                self._write(f"{self._what} failed {times} more, at last with {type(error).__name__}: {error}")
