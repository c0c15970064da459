"""The first time in full, then a count now and then."""

from __future__ import annotations

from m3l_core.streaming.repeats import QUIET_S, Failures, Repeats


class Steady:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_the_first_is_told_and_then_how_many_there_were() -> None:
    assert QUIET_S == 5
    steady = Steady()
    repeats = Repeats(steady)
    assert [repeats.count() for _ in range(5)] == [1, 0, 0, 0, 0]
    steady.now_s += QUIET_S - 0.01
    assert repeats.count() == 0
    steady.now_s += 0.01
    assert [repeats.count(), repeats.count()] == [6, 0]
    steady.now_s += 10 * QUIET_S
    assert [repeats.count(), repeats.count()] == [2, 0]


def raised(kind: type[Exception], text: str, elsewhere: bool = False) -> Exception:
    try:
        if elsewhere:
            raise kind(text)
        raise kind(text)
    except Exception as error:
        return error


def test_a_callback_that_always_raises_leaves_one_traceback_and_a_counted_line_now_and_then() -> None:
    steady, lines = Steady(), []
    failures = Failures("a callback", lines.append, steady)
    for number in range(300):
        failures.tell(raised(RuntimeError, f"not my day {number}"))
        steady.now_s += 1 / 32
    assert lines[0].startswith("a callback failed") and "Traceback" in lines[0] and "not my day 0" in lines[0]
    assert lines[1] == "a callback failed once more, at last with RuntimeError: not my day 1"
    assert lines[2:] == ["a callback failed 160 times more, at last with RuntimeError: not my day 161"]


def test_each_kind_of_failure_has_its_traceback_but_not_without_end() -> None:
    lines: list[str] = []
    failures = Failures("a callback", lines.append, Steady())
    for error in (raised(ValueError, "one"), raised(KeyError, "two"), raised(ValueError, "three", elsewhere=True)):
        failures.tell(error)
    assert sum("Traceback" in line for line in lines) == 3
    for number in range(100):
        failures.tell(raised(type(f"Error{number}", (Exception,), {}), "another"))
    assert sum("Traceback" in line for line in lines) == 20
