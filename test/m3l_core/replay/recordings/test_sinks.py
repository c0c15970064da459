"""What is written of each run: chosen on the command line, the same from one process and from several."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from support.bags import frames, write_bag
from support.replays import BrightnessEngine, InstantSegmenter, describe

from m3l_core.installation import install_command
from m3l_core.replay import command
from m3l_core.replay.bags import BagTask, replay_bags
from m3l_core.replay.faults.scenario import load_scenarios
from m3l_core.replay.preparation import prepare_bag
from m3l_core.replay.recordings.annotated_bag import annotated_bag
from m3l_core.replay.replay import ReplaySettings

SCENARIOS = ("none", "no_color")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs the command with an instant engine."""
    monkeypatch.setattr(command, "load_engine", lambda *arguments: BrightnessEngine())

    def call(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["m3l_replay", *map(str, arguments), "--scenario", *SCENARIOS])
        command.main()

    return call


def written(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_each_bag_under_each_scenario_is_written(run: Callable[..., None], tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="needs rerun-sdk: pip install 'm3l_ros[rerun]'")
    bags = [write_bag(tmp_path / name, frames(4)) for name in ("kitchen", "hall")]
    output = tmp_path / "out"
    run(*bags, "--output", output, "--annotate", "--rerun")
    names = {f"{bag}_{scenario}" for bag in ("kitchen", "hall") for scenario in SCENARIOS}
    assert {path.name for path in (output / "annotated").iterdir()} == names
    assert {path.name for path in (output / "rerun").iterdir()} == {f"{name}.rrd" for name in names}
    assert (output / "report.json").is_file()


def test_nothing_but_the_report_is_written_unasked(run: Callable[..., None], tmp_path: Path) -> None:
    run(write_bag(tmp_path / "kitchen", frames(4)), "--output", tmp_path / "out")
    assert not [path for path in (tmp_path / "out").iterdir() if path.is_dir()]


def test_one_process_and_two_write_the_same(tmp_path: Path) -> None:
    scenarios = tuple(load_scenarios(list(SCENARIOS)))
    bags = [write_bag(tmp_path / name, frames(4)) for name in ("kitchen", "hall")]
    prepared = [prepare_bag(bag, {"color": None, "depth": None}, describe()) for bag in bags]
    for jobs in (1, 2):
        sinks = (partial(annotated_bag, tmp_path / str(jobs)),)
        tasks = [BagTask(bag, scenarios, ReplaySettings(), InstantSegmenter(), sinks) for bag in prepared]
        assert all(isinstance(outcome, list) for outcome in replay_bags(tasks, jobs))
    assert len(written(tmp_path / "1")) == 2 * 2 * 3
    assert written(tmp_path / "1") == written(tmp_path / "2")


@pytest.mark.parametrize("option", ["--annotate", "--rerun"])
def test_there_must_be_a_place_to_write_to(
    run: Callable[..., None], tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(write_bag(tmp_path / "kitchen", frames(1)), option)
    assert "--annotate and --rerun: expected --output, too" in capsys.readouterr().err


def test_two_runs_of_one_name_are_told_before_one_replaces_the_other(
    run: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bags = [write_bag(tmp_path / day / "kitchen", frames(1)) for day in ("monday", "tuesday")]
    with pytest.raises(SystemExit):
        run(*bags, "--output", tmp_path / "out", "--annotate")
    error = capsys.readouterr().err
    assert "2 runs would be written to 'kitchen_none': give the bags' folders names that differ" in error
    run(*bags, "--output", tmp_path / "out")


def test_a_missing_package_is_told_before_the_work_starts(
    run: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(SystemExit):
        run(write_bag(tmp_path / "kitchen", frames(1)), "--output", tmp_path / "out", "--rerun")
    shown = capsys.readouterr()
    assert install_command("rerun") in shown.err
    assert "none" not in shown.out
    assert not list((tmp_path / "out").iterdir())
