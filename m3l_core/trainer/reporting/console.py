"""A training on the console: a progress bar in a terminal, lines elsewhere."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column, Table

from m3l_core.trainer.reporting.progress import MEAN, Pace, duration, losses_text, mean_losses, standing
from m3l_core.trainer.trainer import Monitor, Trainer

logger = logging.getLogger(__name__)

_SMOOTHED = 20
"""Iterations over which the losses are averaged, and between two lines."""
_REFRESH_SECONDS = 0.2


@contextmanager
def console_monitor(console: Console) -> Iterator[Monitor]:
    """A progress bar where ``console`` is a terminal, which it leaves in order; log lines elsewhere."""
    if not console.is_interactive:
        yield LogLines()
        return
    bar = ProgressBar(console)
    try:
        yield bar
    finally:
        bar.stop()


class LogLines:
    """A line every 20 iterations and at each evaluation."""

    def __init__(self) -> None:
        self._pace = Pace()

    def step(self, trainer: Trainer) -> None:
        self._pace.step(trainer)
        done, iterations = trainer.iteration, trainer.recipe.iterations
        if done % _SMOOTHED and done != iterations:
            return
        parts = [losses_text(mean_losses(trainer.losses[-_SMOOTHED:]))]
        if self._pace.known:
            parts += [f"{self._pace.seconds_per_iteration:.2f} s each", *_outlook(self._pace, trainer)]
        logger.info("iteration %d/%d: %s", done, iterations, ", ".join(parts))

    def evaluation(self, trainer: Trainer) -> None:
        self._pace.evaluation(trainer)
        figures = [
            f"{name} {value:.3f}{'*' if value == best else ''}" for name, value, best, _ in standing(trainer.history)
        ]
        logger.info("iteration %d, validation mIoU: %s (* best so far)", trainer.iteration, ", ".join(figures))


class ProgressBar:
    """A bar at the bottom of a terminal, and a table at each evaluation."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._pace = Pace()
        # No thread refreshes it: one that holds the console's lock while a data worker is forked would block the
        # worker's first line for ever.
        self._progress = Progress(
            TextColumn("{task.completed}/{task.total}"),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            TextColumn("{task.description}", markup=False),
            console=console,
            expand=True,
            auto_refresh=False,
        )
        self._refreshed = -math.inf

    def step(self, trainer: Trainer) -> None:
        self._pace.step(trainer)
        now, last = time.monotonic(), trainer.iteration == trainer.recipe.iterations
        if now - self._refreshed < _REFRESH_SECONDS and not last:
            return
        self._refreshed = now
        told = losses_text(mean_losses(trainer.losses[-_SMOOTHED:]))
        if self._pace.known:
            pace = [f"{1 / self._pace.seconds_per_iteration:.2f} it/s", *_outlook(self._pace, trainer)]
            told = f"{', '.join(pace)}\n{told}"
        if not self._progress.tasks:
            self._progress.add_task("", total=trainer.recipe.iterations)
            self._progress.start()
        task = self._progress.tasks[0].id
        self._progress.update(task, completed=trainer.iteration, description=told, refresh=True)

    def evaluation(self, trainer: Trainer) -> None:
        self._pace.evaluation(trainer)
        self._console.print(evaluation_table(trainer.history))

    def stop(self) -> None:
        """Leave the terminal as it was found."""
        self._progress.stop()


def evaluation_table(history: Sequence[Mapping[str, Any]]) -> Table:
    """The last evaluation beside the best figures so far."""
    table = Table(title=f"iteration {history[-1]['iteration']}, validation mIoU", title_justify="left")
    table.add_column("sensors")
    table.add_column("now", justify="right")
    table.add_column("best so far", justify="right")
    rows = standing(history)
    for name, now, best, iteration in rows:
        if name == MEAN:
            table.add_section()
        style = "bold green" if now == best else None
        table.add_row(name, f"{now:.3f}", "this" if now == best else f"{best:.3f} (iteration {iteration})", style=style)
    return table


def _outlook(pace: Pace, trainer: Trainer) -> list[str]:
    return [f"{duration(pace.seconds_left(trainer))} left", f"{pace.waiting:.0%} waiting for data"]
