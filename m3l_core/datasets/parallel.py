"""The same work on many items, in several processes."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2

from m3l_core.errors import DatasetError

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_processes(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int, chunk: int = 8
) -> Iterator[Result]:
    """Results in the order of the items; one worker means this process.

    Args:
        work: a function that other processes can import.
        items: what it is called with, one after another.
        workers: processes.
        chunk: items that travel to a process at once.

    Raises:
        DatasetError: a process died.
    """
    if workers <= 1:
        yield from map(work, items)
        return
    # Spawned: a fork would copy the threads' locks of whoever shows the progress.
    executor = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start)
    try:
        yield from executor.map(work, items, chunksize=chunk)
    except BrokenProcessPool as error:
        raise DatasetError("a worker process died, perhaps for want of memory: try fewer workers") from error
    finally:
        executor.shutdown(cancel_futures=True)


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted command ends its workers itself
    cv2.setNumThreads(1)
