"""What a training says while it runs, in a terminal and in a log."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path

import pytest
from rich.console import Console
from support.rooms import recipe, write_rooms

from m3l_core.trainer.data import read_data
from m3l_core.trainer.recipe import Recipe
from m3l_core.trainer.reporting.console import LogLines, ProgressBar, console_monitor, evaluation_table
from m3l_core.trainer.trainer import Monitor, Trainer

pytestmark = [pytest.mark.needs("torch"), pytest.mark.usefixtures("one_thread")]
PHASES = [{"iterations": 22, "batch": 2, "crop": [32, 48], "scale": [0.5, 1.0]}]


def tiny() -> Recipe:
    return recipe(
        phases=PHASES,
        evaluate_every=20,
        method={"pseudo_labels": "mean_teacher"},
        data={"labelled": "train.json", "validation": "val.json", "label_fraction": 0.4},
    )


def run(folder: Path, monitor: Monitor) -> Trainer:
    made = tiny()
    trainer = Trainer(made, read_data(made, write_rooms(folder / "rooms")), folder, workers=0, monitors=(monitor,))
    trainer.run()
    return trainer


def terminal() -> Console:
    """As narrow as they come."""
    return Console(file=io.StringIO(), force_terminal=True, width=80, height=30, color_system=None)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())


def test_a_log_gets_a_line_every_20_iterations_and_at_each_evaluation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), console_monitor(Console(file=io.StringIO())) as monitor:
        assert isinstance(monitor, LogLines)
        run(tmp_path, monitor)
    lines = [record.getMessage() for record in caplog.records]
    number = r"\d\.\d{3}"
    figures = rf"{number}\*?, color {number}\*?, depth {number}\*?, MM-Robust \(mean\) {number}\*? \(\* best so far\)"
    loss = rf"loss {number} \(supervised {number}, pseudo {number}\)"
    pace = r"\d+\.\d\d s each, \d+ s left, \d+% waiting for data"
    expected = [
        rf"iteration 20/22: {loss}, {pace}",
        rf"iteration 20, validation mIoU: color\+depth {figures}",
        rf"iteration 22/22: {loss}, {pace}",
        rf"iteration 22, validation mIoU: color\+depth {figures}",
    ]
    assert len(lines) == len(expected)
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), line


def test_a_terminal_gets_a_bar_with_all_figures_and_a_table_at_each_evaluation(tmp_path: Path) -> None:
    console = terminal()
    with console_monitor(console) as monitor:
        assert isinstance(monitor, ProgressBar)
        trainer = run(tmp_path, monitor)
    screen = written(console)
    assert re.search(r"22/22 ━+ \d+\.\d\d it/s, 0 s left, \d+% waiting for data", screen)
    assert re.search(r"loss \d\.\d{3} \(supervised \d\.\d{3}, pseudo \d\.\d{3}\)", screen)
    for entry in trainer.history:
        assert f"iteration {entry['iteration']}, validation mIoU" in screen
    assert screen.count("MM-Robust (mean)") == 2


def test_the_terminal_is_left_as_it_was_found_when_a_training_breaks_off(tmp_path: Path) -> None:
    console = terminal()

    class Breaks(ProgressBar):
        def step(self, trainer: Trainer) -> None:
            super().step(trainer)
            if trainer.iteration == 3:
                raise KeyboardInterrupt

    bar = Breaks(console)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, bar)
    bar.stop()
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor is visible again


def test_a_bar_that_was_told_nothing_shows_nothing() -> None:
    console = terminal()
    with console_monitor(console):
        pass
    assert written(console).strip() == ""


def test_the_table_has_each_of_several_sets() -> None:
    entry = {
        "iteration": 4,
        "miou": {"color": 0.3},
        "sets": {"a": {"miou": {"color": 0.2}}, "b": {"miou": {"color": 0.4}}},
    }
    console = terminal()
    console.print(evaluation_table([entry]))
    rows = {line.split("│")[1].strip(): line for line in written(console).splitlines() if line.startswith("│")}
    for name, value in {"color": "0.300", "a: color": "0.200", "b: color": "0.400"}.items():
        assert value in rows[name]


def test_the_table_marks_what_is_the_best_so_far() -> None:
    history = [
        {"iteration": 4, "miou": {"color+depth": 0.3, "color": 0.25}},
        {"iteration": 8, "miou": {"color+depth": 0.5, "color": 0.1}},
    ]
    console = terminal()
    console.print(evaluation_table(history))
    rows = {line.split("│")[1].strip(): line for line in written(console).splitlines() if line.startswith("│")}
    assert re.search(r"0\.500 │\s+this", rows["color+depth"])
    assert re.search(r"0\.100 │\s+0\.250 \(iteration 4\)", rows["color"])
    assert re.search(r"0\.300 │\s+this", rows["MM-Robust (mean)"])
