"""Which changes of a state are told, and when."""

from __future__ import annotations

import pytest

from m3l_core.streaming.state_telling import QUIET_NS, StateTelling

SECOND = 1_000_000_000


def told(at_s: float, *, lost: bool = False, changes: int = 1) -> tuple[StateTelling, str]:
    telling = StateTelling()
    telling.untold += changes
    return telling, telling.tell(lost, round(at_s * SECOND))


def test_the_first_change_is_told_at_once() -> None:
    assert StateTelling().due_ns(False) == StateTelling().due_ns(True) == 0


def test_then_none_is_told_for_three_seconds_but_the_loss() -> None:
    assert QUIET_NS == 3 * SECOND
    telling, _ = told(10)
    assert telling.due_ns(lost=False) == 13 * SECOND
    assert telling.due_ns(lost=True) == 0


def test_a_loss_that_has_been_told_waits_too() -> None:
    telling, _ = told(10, lost=True)
    assert telling.due_ns(lost=True) == telling.due_ns(lost=False) == 13 * SECOND


@pytest.mark.parametrize(("changes", "added"), [(1, ""), (2, " (after 1 more change)"), (3, " (after 2 more changes)")])
def test_what_was_left_out_is_counted_once(changes: int, added: str) -> None:
    telling, text = told(10, changes=changes)
    assert text == added
    assert telling.untold == 0


@pytest.mark.parametrize(("now_s", "due_s"), [(5, 8), (10, 13), (12, 13)])
def test_a_clock_that_goes_back_makes_no_wait_longer(now_s: int, due_s: int) -> None:
    telling, _ = told(10)
    telling.forget(now_s * SECOND)
    assert telling.due_ns(lost=False) == due_s * SECOND
