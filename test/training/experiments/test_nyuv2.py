"""The experiment on real rooms: what it plans, and one run of it on a miniature."""

from __future__ import annotations

import json
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.experiments import EXPERIMENTS, SETTINGS, run_experiment, write_miniature
from support.rooms import write_rooms

pytestmark = pytest.mark.needs("torch")
SCRIPT = EXPERIMENTS / "nyuv2.py"


def nyuv2() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def test_the_tables_know_every_run() -> None:
    planned = [run.name for run in nyuv2()["planned"]()]
    assert len(planned) == len(set(planned)) == 6 * (3 + 3 + 1) + 3 + 2
    assert sorted(planned) == sorted(runpy.run_path(str(EXPERIMENTS / "nyuv2_tables.py"))["expected"]())


def is_large(run: Any) -> bool:
    return run.variant.startswith("240x320")


def iterations(recipe: Any) -> int:
    alone = () if recipe.subset_networks is None else recipe.subset_networks.subsets
    return sum(each.iterations for each in (recipe, *(recipe.of_subset(subset) for subset in alone)))


def test_all_methods_work_under_the_same_conditions() -> None:
    namespace = nyuv2()
    recipes = {run: run.recipe() for run in namespace["planned"]() if run.seed == 0 or run.method == "m3l_plus"}
    small = [recipe for run, recipe in recipes.items() if run.variant in ("", "each")]
    assert {iterations(recipe) for run, recipe in recipes.items() if not run.variant} == {800}
    assert {iterations(recipe) for run, recipe in recipes.items() if run.variant == "each"} == {3 * 800}
    same = {"encoder", "start_weights", "modalities", "labels", "input_height", "augmentation", "optimizer"}
    same |= {"ohem_threshold", "drop_path", "head_dropout", "ema_decay", "mixed_precision"}
    for name in same:
        assert all(getattr(recipe, name) == getattr(small[0], name) for recipe in small), name
    views = {(phase.batch, phase.crop, phase.scale) for recipe in small for phase in recipe.phases}
    assert len(views) == 1
    for run, recipe in recipes.items():
        (data,) = recipe.data_sets
        assert (data.label_fraction, data.label_seed, recipe.seed) == (run.fraction, run.seed, run.seed)
        assert (recipe.subset_networks is not None) == (run.method == "m3l_subsets")
        assert len(recipe.labels) == (40 if run.variant.endswith("40_classes") else 13)
        assert (data.class_map is None) == (run.variant.endswith("40_classes"))
        # With all labels, methods that need frames without labels would have none.
        assert (data.unlabelled is not None) == (run.fraction == 1 and not is_large(run))
    large = [recipe for run, recipe in recipes.items() if is_large(run)]
    assert [(recipe.input_height, recipe.input_width, recipe.method.pseudo_labels) for recipe in large] == [
        (240, 320, "none")
    ] * 2


@pytest.mark.needs("torch")
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["m3l_subsets-0.20-0", "paper_m3l-1.00-0"])
def test_a_run_is_measured_once(tmp_path: Path, name: str) -> None:
    write_miniature(tmp_path / "data")
    options = ("--results", "out", "--only", name, *SETTINGS)
    done = run_experiment(SCRIPT, tmp_path, *options)
    log = (tmp_path / f"runs/nyuv2/{name}.log").read_text()
    assert done.stdout.splitlines() == ["0 of 1 runs are done", f"{name}: done"], log
    result = json.loads((tmp_path / f"out/{name}.json").read_text())
    assert result["iterations"] == 4
    assert list(result["test"]) == ["color+depth", "color", "depth"]
    assert all(0 <= miou <= 1 for miou in result["test"].values())
    # The test frames are those of the validation here: each network's last figures are what is measured.
    networks = {"color+depth": result["validation"], **result.get("subset_networks", {})}
    assert len(networks) == (3 if name.startswith("m3l_subsets") else 1)
    for subset, history in networks.items():
        assert result["test"][subset] == history[-1]["miou"][subset]
    frames = (2, 8) if name.startswith("m3l_subsets") else (10, 10)
    assert (result["labelled"], result["unlabelled"]) == frames
    again = run_experiment(SCRIPT, tmp_path, *options)
    assert (again.returncode, again.stdout) == (0, "1 of 1 runs are done\n")


def test_without_its_lists_a_run_ends_before_it_trains(tmp_path: Path) -> None:
    write_rooms(tmp_path / "data")
    done = run_experiment(SCRIPT, tmp_path, "--results", "out", "--run", "paper_supervised-0.05-0", *SETTINGS)
    assert done.returncode != 0
    assert "test_open.json" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--run", "nonsense"), "there is no run 'nonsense'; there are paper_supervised-0.20-0"),
        (("head_width=16",), "a trial with other settings is no part of the comparison: give it --results of its own"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path: Path, options: Sequence[str], reason: str) -> None:
    done = run_experiment(SCRIPT, tmp_path, *options)
    assert done.returncode == 2
    assert reason in done.stderr
