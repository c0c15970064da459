"""A DDS domain for one test alone, also among test runs at the same time."""

from __future__ import annotations

import fcntl
import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DOMAINS = range(1, 102)  # above 101 the ports of a domain may collide with those that Linux hands out
_LOCKS = Path(tempfile.gettempdir()) / f"m3l_ros_test_domains_{os.getuid()}"
_next = itertools.count(os.getpid() * 17)


def processes_of(domain: int) -> list[int]:
    """Processes that have been started for a domain."""
    marker = f"ROS_DOMAIN_ID={domain}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@contextmanager
def own_domain() -> Iterator[int]:
    """A domain id that no other test on this machine uses meanwhile."""
    _LOCKS.mkdir(exist_ok=True, mode=0o777)
    for _ in DOMAINS:
        domain = DOMAINS[next(_next) % len(DOMAINS)]
        with open(_LOCKS / str(domain), "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield domain
            return
    raise RuntimeError("every DDS domain is taken by a running test")
