"""The experiment on sensors in training: what it plans, what it measures on, and one run of it on a miniature."""

from __future__ import annotations

import json
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support.experiments import EXPERIMENTS, SETTINGS, run_experiment, write_miniature
from support.rooms import fill_holes, write_rooms

from m3l_core.datasets.folder import read_index, read_sample

pytestmark = pytest.mark.needs("torch")
SCRIPT = EXPERIMENTS / "sensor_strength.py"
INDOOR = EXPERIMENTS.parent / "recipes" / "indoor.yaml"


@pytest.fixture(scope="module")
def experiment() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def test_the_shipped_strengths_are_among_those_that_are_compared(experiment: dict[str, Any]) -> None:
    planned = list(experiment["planned"]())
    shipped = yaml.safe_load(INDOOR.read_text())["augmentation"]
    for seed in experiment["SEEDS"]:
        assert experiment["Run"](**shipped, seed=seed) in planned
    assert len({run.name for run in planned}) == len(planned) == 2 * (3 + 2)


def test_runs_differ_in_what_they_compare_alone(experiment: dict[str, Any]) -> None:
    recipes = {run: run.recipe() for run in experiment["planned"]() if run.seed == 0}
    compared = {"augmentation", "subset_networks"}
    assert len({recipe.model_dump_json(exclude=compared) for recipe in recipes.values()}) == 1
    for run, recipe in recipes.items():
        change = recipe.augmentation
        assert (change.depth_sensor, change.failing_sensor) == (run.depth_sensor, run.failing_sensor)
        if recipe.subset_networks is not None:
            alone = recipe.of_subset(("depth",)).augmentation
            assert (alone.depth_sensor, alone.failing_sensor) == (run.depth_sensor, 0)


@pytest.mark.parametrize("frames", ["of a depth camera", "of failing sensors"])
def test_frames_of_other_sensors_are_the_same_each_time(
    tmp_path: Path, experiment: dict[str, Any], frames: str
) -> None:
    write_rooms(tmp_path / "data", train=1, validation=2)
    fill_holes(tmp_path / "data")
    samples = read_index(tmp_path / "data" / "val.json")
    changed = experiment["damaged"](samples, frames, tmp_path / "first")
    again = experiment["damaged"](samples, frames, tmp_path / "second")
    for before, after, repeated in zip(samples, changed, again, strict=True):
        (was, truth), (now, label), (other, _) = map(read_sample, (before, after, repeated))
        assert np.array_equal(truth, label)
        for name in was:
            assert was[name].shape == now[name].shape
            assert np.array_equal(now[name], other[name])
            is_another = not np.array_equal(was[name], now[name])
            assert is_another == (name == "depth" or frames == "of failing sensors")
        if frames == "of a depth camera":
            assert np.mean(now["depth"] == 0) > np.mean(was["depth"] == 0)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "subsets"), [("1-0.15-0", ["color+depth", "depth"]), ("0.5-0-0", ["color+depth"])])
def test_a_run_is_measured_on_all_frames(tmp_path: Path, name: str, subsets: Sequence[str]) -> None:
    write_miniature(tmp_path / "data")
    options = ("--results", "out", "--only", name, *SETTINGS)
    done = run_experiment(SCRIPT, tmp_path, *options)
    log = (tmp_path / f"runs/sensor_strength/{name}.log").read_text()
    assert done.stdout.splitlines()[:2] == ["0 of 1 runs are done", f"{name}: done"], log
    result = json.loads((tmp_path / f"out/{name}.json").read_text())
    measured = result["sensors"]
    assert list(measured) == ["as they are", "of a depth camera", "of failing sensors"]
    for miou in measured.values():
        assert list(miou) == subsets
        assert all(0 <= value <= 1 for value in miou.values())
    assert measured["as they are"]["color+depth"] == result["validation"][-1]["miou"]["color+depth"]
    assert not (tmp_path / "data" / "0-depth.png").exists()
    strengths = name.split("-")[:2]
    assert done.stdout.splitlines()[-1].startswith(f"| {strengths[0]} | {strengths[1]} | 1 | ")
    again = run_experiment(SCRIPT, tmp_path, *options)
    assert again.stdout.splitlines() == ["1 of 1 runs are done", *done.stdout.splitlines()[2:]]


def test_the_table_has_mean_and_spread_of_the_seeds(experiment: dict[str, Any]) -> None:
    def result(depth_sensor: float, seed: int, miou: float) -> dict[str, Any]:
        measured = {frames: {"color+depth": miou, "depth": miou / 2} for frames in experiment["FRAMES"]}
        run = {"depth_sensor": depth_sensor, "failing_sensor": 0.15, "seed": seed}
        return {"run": run, "sensors": measured}

    lines = experiment["table"]([result(1, 0, 0.5), result(0, 0, 0.3), result(1, 1, 0.6)]).splitlines()
    both = " | ".join(["55.0 ± 7.1"] * 3 + ["27.5 ± 3.5"] * 2)
    assert lines[2] == "| 0 | 0.15 | 1 | 30.0 | 30.0 | 30.0 | 15.0 | 15.0 |"
    assert lines[3] == f"| 1 | 0.15 | 2 | {both} |"
