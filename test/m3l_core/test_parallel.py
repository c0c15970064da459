"""Work in processes and in threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from support.slow_work import wait

from m3l_core.errors import DatasetError
from m3l_core.parallel import in_processes, in_threads

PROGRAM = """
import sys
from functools import partial
from pathlib import Path

from support.slow_work import wait_for_ever

from m3l_core.parallel import in_processes

if __name__ == "__main__":
    list(in_processes(partial(wait_for_ever, Path(sys.argv[1])), [1, 2], 2, chunk=1))
"""


def test_who_is_interrupted_does_not_wait_for_the_others(tmp_path: Path) -> None:
    """pytest's time limit is below what they would take."""
    results = in_processes(partial(wait, tmp_path), [0, 1, 2], 2, chunk=1)
    assert next(results) == 0
    wait_until(lambda: len(list(tmp_path.glob("*.begun"))) == 2)
    results.close()
    assert len(list(tmp_path.glob("*.stopped"))) == 2


def test_who_is_interrupted_leaves_no_process_that_goes_on_with_the_next_item(tmp_path: Path) -> None:
    results = in_processes(partial(wait, tmp_path), range(5), 2, chunk=1)
    assert next(results) == 0
    wait_until(lambda: len(list(tmp_path.glob("*.begun"))) == 2)
    results.close()
    assert len(list(tmp_path.glob("*.begun"))) == len(list(tmp_path.glob("*.stopped"))) == 2


def test_workers_end_with_the_process_that_has_started_them(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path)], env=environment)
    wait_until(lambda: len(list(tmp_path.glob("*.process"))) == 2)
    workers = [int(path.read_text() or 0) for path in tmp_path.glob("*.process")]
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


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
