"""Items leave in the order in which they came, one at a time, whoever comes by and whatever the callback does."""

from __future__ import annotations

import threading

import pytest

from m3l_core.streaming.ordered_delivery import OrderedDelivery

LONG_S = 30.0


def test_nothing_is_delivered_before_flush() -> None:
    came: list[int] = []
    delivery = OrderedDelivery(came.append, 10)
    delivery.put(1)
    delivery.put(2)
    assert came == []
    delivery.flush()
    assert came == [1, 2]
    delivery.flush()
    assert came == [1, 2]


def test_many_threads_keep_the_order_of_put_and_never_call_at_once() -> None:
    threads, each = 8, 300
    came: list[int] = []
    order: list[int] = []
    at_work = threading.Lock()
    collisions: list[int] = []

    def callback(item: int) -> None:
        if not at_work.acquire(blocking=False):
            collisions.append(item)
            return
        came.append(item)
        at_work.release()

    delivery = OrderedDelivery(callback, threads * each)
    barrier = threading.Barrier(threads)
    putting = threading.Lock()

    def produce(number: int) -> None:
        barrier.wait(LONG_S)
        for item in range(number * each, (number + 1) * each):
            with putting:
                order.append(item)
                delivery.put(item)
            delivery.flush()

    producers = [threading.Thread(target=produce, args=(number,)) for number in range(threads)]
    for producer in producers:
        producer.start()
    for producer in producers:
        producer.join(LONG_S)
    assert not collisions
    assert came == order
    assert len(came) == threads * each


def test_a_flush_beside_a_running_one_returns_at_once_and_loses_nothing() -> None:
    came: list[int] = []
    begun, go = threading.Event(), threading.Event()

    def callback(item: int) -> None:
        begun.set()
        assert go.wait(LONG_S)
        came.append(item)

    delivery = OrderedDelivery(callback, 10)
    delivery.put(1)
    runner = threading.Thread(target=delivery.flush)
    runner.start()
    assert begun.wait(LONG_S)
    delivery.put(2)
    delivery.flush()  # would wait for `go` if it waited for the other
    assert came == []
    go.set()
    runner.join(LONG_S)
    assert came == [1, 2]


def test_a_callback_may_put_and_flush() -> None:
    came: list[int] = []
    depths: list[int] = []
    depth = 0

    def callback(item: int) -> None:
        nonlocal depth
        depth += 1
        depths.append(depth)
        if item < 5:
            delivery.put(item + 1)
            delivery.flush()
        came.append(item)
        depth -= 1

    delivery = OrderedDelivery(callback, 10)
    delivery.put(0)
    delivery.flush()
    assert came == [0, 1, 2, 3, 4, 5]
    assert set(depths) == {1}, "a callback within a callback"


def test_a_callback_that_raises_is_counted_and_the_next_items_come(caplog: pytest.LogCaptureFixture) -> None:
    came: list[int] = []

    def callback(item: int) -> None:
        if item % 2:
            raise ValueError(f"{item} is odd")
        came.append(item)

    delivery = OrderedDelivery(callback, 10)
    for item in range(6):
        delivery.put(item)
    delivery.flush()
    assert came == [0, 2, 4]
    assert delivery.errors == 3
    assert len(caplog.records) == 2  # the first with its traceback, then one that counts


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_callback_does_not_jam_the_queue(interruption: type[BaseException]) -> None:
    came: list[int] = []

    def callback(item: int) -> None:
        if item == 1:
            raise interruption
        came.append(item)

    delivery = OrderedDelivery(callback, 10)
    for item in range(4):
        delivery.put(item)
    with pytest.raises(interruption):
        delivery.flush()
    assert came == [0]
    assert delivery.errors == 0
    delivery.flush()
    assert came == [0, 2, 3]


def test_beyond_the_capacity_the_oldest_is_forgotten() -> None:
    came: list[int] = []
    delivery = OrderedDelivery(came.append, 3)
    for item in range(3):
        assert not delivery.full
        delivery.put(item)
    assert delivery.full
    delivery.put(3)
    delivery.flush()
    assert came == [1, 2, 3]
    assert not delivery.full
