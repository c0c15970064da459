"""The same work on many items, on the machines of a Ray cluster.

Every machine of it needs this package in the same version, as well as what the items name: a path must be there under
the same name (shared storage), a URL can be read from anywhere.
"""

from __future__ import annotations

import logging
import pickle
import socket
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import cv2

from m3l_core.errors import DatasetError, M3LError, require
from m3l_core.parallel import in_processes

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

_ATTEMPTS = 3
_IN_FLIGHT = 1000
"""Items that Ray knows of at a time: more than there are cores, so that a cluster that can grow sees why to."""
_ANSWER_S = 10.0
_STOP_S = 10.0


def spread(
    work: Callable[[Item], Result], items: Sequence[Item], ray: str | None, jobs: int, cpus: int = 1, gpus: int = 0
) -> Iterator[Result | DatasetError]:
    """The results of ``on_ray``, or those of processes on this machine where there is no address of a cluster."""
    if ray is None:
        return in_processes(work, items, jobs, chunk=1)
    return on_ray(work, items, ray, cpus, gpus)


def on_ray(
    work: Callable[[Item], Result], items: Sequence[Item], address: str, cpus: int = 1, gpus: int = 0
) -> Iterator[Result | DatasetError]:
    """Results in the order of the items, each a task of Ray; in place of one that there is not, why not.

    An item whose worker or machine dies is tried again, three times in all; one whose work fails is not.

    Args:
        work: a function that other processes can import; it may be called again with an item it has begun with.
        items: what it is called with; ``str`` of one tells it apart.
        address: as ``ray.init`` takes it: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``; ``local`` starts Ray here.
            Where this process is connected already, that connection counts.
        cpus: cores that an item takes.
        gpus: GPUs that an item takes.

    Raises:
        MissingPackageError: Ray is not installed.
        DatasetError: there is no cluster at that address.
    """
    ray = require("ray", "fleet")
    with _connected(ray, address):
        _warn_of_waiting(ray, cpus, gpus)
        # Not retried by Ray: it would try a task that takes too much memory again without end.
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(_result)
        waiting, attempts = deque(range(len(items))), Counter[int]()
        running: dict[Any, int] = {}
        done: dict[int, Result | DatasetError] = {}
        try:
            for number in range(len(items)):
                while number not in done:
                    while waiting and len(running) < _IN_FLIGHT:
                        which = waiting.popleft()
                        running[task.remote(work, items[which])] = which
                    (ended,), _ = ray.wait(list(running), num_returns=1)
                    which = running.pop(ended)
                    attempts[which] += 1
                    try:
                        done[which] = pickle.loads(ray.get(ended))
                    except ray.exceptions.RayError as error:
                        if attempts[which] < _ATTEMPTS:
                            logger.warning("%s is tried again, its worker ended: %s", items[which], error)
                            waiting.appendleft(which)
                        else:
                            lost = f"its worker ended {_ATTEMPTS} times, perhaps for want of memory"
                            done[which] = DatasetError(f"{items[which]}: {lost}: {error}")
                yield done.pop(number)
        finally:
            for each in running:
                ray.cancel(each)
            if running:
                ray.wait(list(running), num_returns=len(running), timeout=_STOP_S)  # what is half-written is removed


def _result(work: Callable[[Item], Result], item: Item) -> bytes:
    """On a worker. Pickled as between processes of one machine: what Ray itself gives back lies in its own memory."""
    cv2.setNumThreads(1)
    outcome: Result | DatasetError
    try:
        outcome = work(item)
    except M3LError as error:
        outcome = DatasetError(f"{item}: {error}")
    except Exception:  # costs no other item
        outcome = DatasetError(f"{item}: {traceback.format_exc()}")
    return pickle.dumps(outcome)


@contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    try:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if host and port.isdecimal():
            # Ray itself takes minutes to give up.
            socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (OSError, ValueError, RuntimeError, SystemExit) as error:
        why = "Ray gave up" if isinstance(error, SystemExit) else error
        raise DatasetError(
            f"no Ray cluster answers at '{address}': {why}. Expected 'auto' on a machine of the cluster, HOST:PORT or "
            "ray://HOST:PORT, and the cluster started, as with: ray start --head"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _warn_of_waiting(ray: Any, cpus: int, gpus: int) -> None:
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(machine.get("CPU", 0) >= cpus and machine.get("GPU", 0) >= gpus for machine in machines):
        logger.warning("no machine of the Ray cluster has %d CPUs and %d GPUs: waiting for one", cpus, gpus)
