"""Pace, time left and standing are what a stopwatch and a pencil say."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.rooms import recipe

from m3l_core.trainer.reporting.progress import MEAN, Pace, duration, losses_text, mean_losses, standing

pytestmark = pytest.mark.needs("torch")


class Watch:
    """A training whose steps take as long as told."""

    def __init__(self, **changes: Any) -> None:
        self.trainer: Any = SimpleNamespace(recipe=recipe(**changes), iteration=0, waited=0.0)
        self.now = 100.0
        self.pace = Pace(clock=lambda: self.now)

    def step(self, seconds: float, waited: float = 0.0) -> None:
        self.now += seconds
        self.trainer.waited += waited
        self.trainer.iteration += 1
        self.pace.step(self.trainer)

    def evaluation(self, seconds: float) -> None:
        self.now += seconds
        self.pace.evaluation(self.trainer)


def phase(iterations: int, side: int, batch: int = 2) -> dict[str, Any]:
    return {"iterations": iterations, "batch": batch, "crop": [side, side], "scale": [1.0, 1.0]}


def test_the_first_step_tells_nothing_yet() -> None:
    watch = Watch()
    watch.step(60.0)
    assert not watch.pace.known
    assert math.isnan(watch.pace.seconds_per_iteration)
    assert math.isnan(watch.pace.seconds_left(watch.trainer))
    assert watch.pace.waiting == 0.0


def test_the_pace_is_that_of_the_last_steps_without_evaluations() -> None:
    watch = Watch()
    watch.step(60.0)
    watch.step(0.5, waited=0.1)
    watch.evaluation(30.0)
    watch.step(1.5, waited=0.3)
    assert watch.pace.seconds_per_iteration == pytest.approx(1.0)
    assert watch.pace.waiting == pytest.approx(0.2)


def test_what_was_long_ago_is_forgotten() -> None:
    watch = Watch(phases=[phase(200, 32)])
    for seconds in [5.0] * 30 + [1.0] * 50:
        watch.step(seconds)
    assert watch.pace.seconds_per_iteration == pytest.approx(1.0)


def test_a_phase_of_larger_views_is_expected_to_take_longer() -> None:
    watch = Watch(phases=[phase(10, 32), phase(10, 64)], evaluate_every=100)
    for _ in range(6):
        watch.step(1.0)
    assert watch.pace.seconds_left(watch.trainer) == pytest.approx(4 + 10 * 4 * 1.0)


def test_evaluations_to_come_count() -> None:
    watch = Watch(phases=[phase(20, 32)], evaluate_every=6)  # at 6, 12, 18 and 20
    for _ in range(6):
        watch.step(1.0)
    watch.evaluation(10.0)
    assert watch.pace.seconds_left(watch.trainer) == pytest.approx(14 + 3 * 10)


def test_nothing_is_left_at_the_end() -> None:
    watch = Watch(phases=[phase(3, 32), phase(2, 64)], evaluate_every=5)
    for _ in range(5):
        watch.step(1.0)
    assert watch.pace.seconds_left(watch.trainer) == 0.0


@given(st.integers(0, 10**6))
def test_a_duration_is_as_long_as_it_says(seconds: int) -> None:
    units = {"s": 1, "min": 60, "h": 3600}
    words = duration(seconds).split()
    told = sum(int(number) * units[unit] for number, unit in zip(words[::2], words[1::2], strict=True))
    assert abs(told - seconds) <= (0 if seconds < 60 else 30)
    assert "60 min" not in duration(seconds)


def test_losses_are_told_with_their_terms_unless_there_is_one() -> None:
    losses = [{"loss": 1.0, "supervised": 0.8, "pseudo": 0.2}, {"loss": 2.0, "supervised": 1.4, "pseudo": 0.6}]
    assert losses_text(mean_losses(losses)) == "loss 1.500 (supervised 1.100, pseudo 0.400)"
    assert losses_text({"loss": 1.0, "supervised": 1.0}) == "loss 1.000"


def test_the_best_of_each_subset_is_found_among_all_evaluations() -> None:
    history = [
        {"iteration": 4, "miou": {"color+depth": 0.3, "color": 0.2}},
        {"iteration": 8, "miou": {"color+depth": 0.5, "color": 0.1}},
        {"iteration": 10, "miou": {"color+depth": 0.4, "color": 0.15}},
    ]
    assert standing(history) == [
        ("color+depth", 0.4, 0.5, 8),
        ("color", 0.15, 0.2, 4),
        (MEAN, pytest.approx(0.275), pytest.approx(0.3), 8),
    ]


def test_a_figure_that_does_not_exist_is_no_best() -> None:
    history = [{"iteration": 4, "miou": {"color": 0.2}}, {"iteration": 8, "miou": {"color": math.nan}}]
    name, now, best, iteration = standing(history)[0]
    assert (name, best, iteration) == ("color", 0.2, 4)
    assert math.isnan(now)
