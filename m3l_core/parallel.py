"""The same work on many items, in several processes or threads."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from threading import Thread
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
    others = multiprocessing.active_children()
    executor = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start)
    try:
        yield from executor.map(partial(_work_until_stopped, work), items, chunksize=chunk)
    except BrokenProcessPool as error:
        raise DatasetError("a worker process died, perhaps for want of memory: try fewer workers") from error
    except BaseException:
        # Who is interrupted does not wait for items that take minutes.
        for process in multiprocessing.active_children():
            if process not in others:
                process.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def in_threads(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Results in the order of the items, of which few are in memory at any time.

    Args:
        work: gives the same whatever runs beside it.
        items: taken one after another, in the caller's thread.
        threads: at work at once.

    Raises:
        DatasetError: the items end with it; the results of those before come first.
    """
    waiting: deque[Future[Result]] = deque()
    damage: DatasetError | None = None
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
        except DatasetError as error:
            damage = error
        while waiting:
            yield waiting.popleft().result()
    if damage is not None:
        raise damage


def _work_until_stopped(work: Callable[[Item], Result], item: Item) -> Result:
    try:
        return work(item)
    except SystemExit as stopped:  # the pool would take it for a result, and go on with the next item
        os._exit(stopped.code if isinstance(stopped.code, int) else 1)


def _start() -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted command ends its workers itself
    signal.signal(signal.SIGTERM, _stop)
    cv2.setNumThreads(1)


def _end_with_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _stop(number: int, frame: object) -> None:
    raise SystemExit(128 + number)  # so that what is half-written is removed
