"""How a training gets on: its pace, the time it still takes, its losses, its best figures."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from m3l_core.metrics import mm_robust
from m3l_core.trainer.recipe import Recipe
from m3l_core.trainer.trainer import Trainer

MEAN = "MM-Robust (mean)"


class Step(NamedTuple):
    """What an iteration took."""

    seconds: float
    waited: float
    """Seconds of those in which no data was there."""
    pixels: int


class Pace:
    """Speed over the last steps. Told of every step and evaluation, whose time counts apart."""

    def __init__(self, window: int = 50, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._steps: deque[Step] = deque(maxlen=window)
        self._last: tuple[float, float] | None = None
        """When the last step or evaluation ended, and how long had been waited for data until then."""
        self._evaluation_seconds = 0.0

    def step(self, trainer: Trainer) -> None:
        now = self._clock()
        if self._last is not None:  # the first step is slow: workers start, and a network may be compiled
            last, waited = self._last
            self._steps.append(Step(now - last, trainer.waited - waited, _pixels(trainer.recipe, trainer.iteration)))
        self._last = now, trainer.waited

    def evaluation(self, trainer: Trainer) -> None:
        now = self._clock()
        if self._last is not None:
            self._evaluation_seconds = now - self._last[0]
        self._last = now, trainer.waited

    @property
    def known(self) -> bool:
        return bool(self._steps)

    @property
    def seconds_per_iteration(self) -> float:
        """NaN before two steps."""
        return sum(step.seconds for step in self._steps) / len(self._steps) if self._steps else math.nan

    @property
    def waiting(self) -> float:
        """Share of the time in which no data was there, in [0, 1]."""
        seconds = sum(step.seconds for step in self._steps)
        return min(1.0, sum(step.waited for step in self._steps) / seconds) if seconds else 0.0

    def seconds_left(self, trainer: Trainer) -> float:
        """To the end of the recipe, by the pixels of the phases to come; NaN before two steps."""
        if not self._steps:
            return math.nan
        recipe, done = trainer.recipe, trainer.iteration
        seconds_per_pixel = sum(step.seconds for step in self._steps) / sum(step.pixels for step in self._steps)
        evaluations = -(-recipe.iterations // recipe.evaluate_every) - done // recipe.evaluate_every
        return _pixels_after(recipe, done) * seconds_per_pixel + evaluations * self._evaluation_seconds


def standing(history: Sequence[Mapping[str, Any]]) -> list[tuple[str, float, float, int]]:
    """Of each subset, and of their mean: name, mIoU now, the best mIoU so far, the iteration that had it.

    Where there are several data sets, the same of each, by ``SET: SUBSET``. NaN is no best; where there is nothing
    else, the best is NaN.
    """
    rows = []
    courses = [of_names(entry) for entry in history]
    for name in courses[-1]:
        course = [(values[name], entry["iteration"]) for values, entry in zip(courses, history, strict=True)]
        best, iteration = max(course, key=lambda point: -math.inf if math.isnan(point[0]) else point[0])
        rows.append((name, course[-1][0], best, iteration))
    return rows


def of_names(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """The mIoU of each subset, of their mean, and of each data set where there are several."""
    figures = dict(evaluation["miou"]) | {MEAN: mm_robust(evaluation["miou"])}
    for name, of_set in evaluation.get("sets", {}).items():
        figures |= {f"{name}: {subset}": value for subset, value in of_set["miou"].items()}
    return figures


def mean_losses(losses: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean of each term over some iterations, at least one."""
    return {name: sum(each[name] for each in losses) / len(losses) for name in losses[0]}


def losses_text(losses: dict[str, float]) -> str:
    """``loss 1.234 (supervised 1.100, pseudo 0.134)``; a loss of one term is that term."""
    terms = [f"{name} {value:.3f}" for name, value in losses.items() if name != "loss"]
    return f"loss {losses['loss']:.3f}" + (f" ({', '.join(terms)})" if len(terms) > 1 else "")


def duration(seconds: float) -> str:
    """``40 s``, ``3 min``, ``2 h 05 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _pixels(recipe: Recipe, iteration: int) -> int:
    """Of the views of an iteration, counted from 1."""
    return _pixels_after(recipe, iteration - 1) - _pixels_after(recipe, iteration)


def _pixels_after(recipe: Recipe, iteration: int) -> int:
    """Of the views of all iterations after one."""
    pixels, first = 0, 0
    for phase in recipe.phases:
        left = phase.iterations - min(phase.iterations, max(0, iteration - first))
        pixels += left * phase.batch * phase.crop[0] * phase.crop[1]
        first += phase.iterations
    return pixels
