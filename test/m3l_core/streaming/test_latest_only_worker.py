"""The newest item wins. Threads meet at events and barriers; nothing here waits for time to pass."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import pytest

from m3l_core.streaming.latest_only_worker import LatestOnlyWorker

LONG_S = 30.0
"""How long a broken worker hangs a test; a sound one never waits for it."""


class Gate:
    """Work that begins when it is told and ends when it is let go."""

    def __init__(self) -> None:
        self.begun: queue.Queue[int] = queue.Queue()
        self.go = threading.Semaphore(0)
        self.done: list[int] = []

    def __call__(self, item: int) -> None:
        self.begun.put(item)
        assert self.go.acquire(timeout=LONG_S)
        if item < 0:
            raise ValueError(f"{item} is negative")
        self.done.append(item)

    def wait_for(self, item: int) -> None:
        assert self.begun.get(timeout=LONG_S) == item


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def worker(gate: Gate) -> Iterator[LatestOnlyWorker[int]]:
    worker = LatestOnlyWorker(gate, "tester")
    yield worker
    gate.go.release(1000)
    worker.close(LONG_S)
    assert "tester" not in {thread.name for thread in threading.enumerate()}


def test_the_newest_item_wins_and_the_others_are_counted(gate: Gate, worker: LatestOnlyWorker[int]) -> None:
    worker.put(0)
    gate.wait_for(0)
    for item in range(1, 6):
        worker.put(item)
    gate.go.release(2)
    gate.wait_for(5)
    worker.close(LONG_S)
    assert gate.done == [0, 5]
    assert worker.replaced == 4
    assert worker.errors == 0


def test_items_that_come_one_by_one_are_all_done_in_order(gate: Gate, worker: LatestOnlyWorker[int]) -> None:
    for item in range(20):
        worker.put(item)
        gate.wait_for(item)
        gate.go.release()
    worker.close(LONG_S)
    assert gate.done == list(range(20))
    assert worker.replaced == 0


def test_work_that_raises_is_counted_and_the_next_item_is_done(
    gate: Gate, worker: LatestOnlyWorker[int], caplog: pytest.LogCaptureFixture
) -> None:
    gate.go.release(3)
    for item in (-1, -2, 7):
        worker.put(item)
        gate.wait_for(item)
    worker.close(LONG_S)
    assert gate.done == [7]
    assert worker.errors == 2
    assert worker.last_error == "ValueError: -2 is negative"
    first, second = (record.message for record in caplog.records)
    assert first.startswith("tester failed; ") and "Traceback" in first and first.endswith("ValueError: -1 is negative")
    assert second == "tester failed once more, at last with ValueError: -2 is negative"


def test_close_waits_for_the_running_item_and_forgets_the_waiting_one(
    gate: Gate, worker: LatestOnlyWorker[int]
) -> None:
    worker.put(1)
    gate.wait_for(1)
    worker.put(2)
    closer = threading.Thread(target=worker.close, args=(LONG_S,))
    closer.start()
    assert closer.is_alive()
    assert gate.done == []
    gate.go.release(2)
    closer.join(LONG_S)
    assert not closer.is_alive()
    assert gate.done == [1]
    assert gate.begun.empty()


def test_close_gives_up_on_work_that_hangs(gate: Gate, worker: LatestOnlyWorker[int]) -> None:
    worker.put(1)
    gate.wait_for(1)
    worker.close(timeout_s=0.0)
    assert gate.done == []


def test_work_that_hangs_does_not_hold_up_the_end_of_the_process(worker: LatestOnlyWorker[int]) -> None:
    assert [thread.daemon for thread in threading.enumerate() if thread.name == "tester"] == [True]


def test_what_is_put_after_close_is_ignored(gate: Gate, worker: LatestOnlyWorker[int]) -> None:
    worker.close(LONG_S)
    worker.put(1)
    worker.close(LONG_S)
    assert gate.begun.empty()
    assert worker.replaced == 0


def test_every_item_of_many_threads_is_done_or_replaced() -> None:
    threads, each = 8, 200
    done: list[int] = []
    last = threading.Event()

    def work(item: int) -> None:
        done.append(item)
        if item == -1:
            last.set()

    worker = LatestOnlyWorker(work)
    barrier = threading.Barrier(threads)

    def produce(number: int) -> None:
        barrier.wait(LONG_S)
        for item in range(each):
            worker.put(number * each + item)

    producers = [threading.Thread(target=produce, args=(number,)) for number in range(threads)]
    for producer in producers:
        producer.start()
    for producer in producers:
        producer.join(LONG_S)
    worker.put(-1)
    assert last.wait(LONG_S)
    worker.close(LONG_S)
    assert done[-1] == -1
    assert len(set(done)) == len(done)
    assert len(done) + worker.replaced == threads * each + 1
