"""Work in processes and in threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from support.slow_work import wait

from m3l_core.datasets.parallel import in_processes, in_threads
from m3l_core.errors import DatasetError


def test_who_is_interrupted_does_not_wait_for_the_others(tmp_path: Path) -> None:
    """pytest's time limit is below what they would take."""
    results = in_processes(partial(wait, tmp_path), [0, 1, 2], 2, chunk=1)
    assert next(results) == 0
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s and len(list(tmp_path.glob("*.begun"))) < 2:
        time.sleep(0.02)
    results.close()
    assert len(list(tmp_path.glob("*.stopped"))) == 2


def test_threads_keep_the_order_and_take_no_more_than_they_need() -> None:
    taken, running, most = 0, 0, 0
    lock = threading.Lock()

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(50):
            taken += 1
            yield number

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002 * (number % 3))
        with lock:
            running -= 1
        return number * number

    for number, result in enumerate(in_threads(work, items(), 3)):
        assert result == number * number
        assert taken <= number + 8
    assert 1 < most <= 3


def test_what_came_before_a_damage_comes_first() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise DatasetError("damaged")

    results = []
    with pytest.raises(DatasetError, match="damaged"):
        for each in in_threads(str, items(), 2):
            results.append(each)
    assert results == ["0", "1", "2", "3", "4"]


def test_an_error_of_the_work_is_told() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda number: 1 // number, [1, 0, 1], 2))
