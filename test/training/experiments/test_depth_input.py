"""The experiment on how depth is seen and exchanged: what it plans, and one run of it on a miniature."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.experiments import EXPERIMENTS, SETTINGS, run_experiment, write_miniature

pytestmark = pytest.mark.needs("torch")
SCRIPT = EXPERIMENTS / "depth_input.py"
INDOOR = EXPERIMENTS.parent / "recipes" / "indoor.yaml"


@pytest.fixture(scope="module")
def experiment() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def test_runs_differ_in_what_they_compare_alone_and_all_from_each_other(experiment: dict[str, Any]) -> None:
    recipes = [run.recipe() for run in experiment["planned"]() if run.seed == 0]
    compared = {"modalities", "head", "fusion_ratio", "student"}
    assert len({recipe.model_dump_json(exclude=compared) for recipe in recipes}) == 1
    assert len({recipe.model_dump_json() for recipe in recipes}) == len(recipes) == len(experiment["CHANGES"])
    assert {run.name for run in experiment["planned"]()} == {
        f"{run.name[:-2]}-{seed}" for run in experiment["planned"]() for seed in (0, 1)
    }


def test_the_shipped_choice_is_the_one_that_others_are_held_against(experiment: dict[str, Any]) -> None:
    shipped = yaml.safe_load((INDOOR.parents[2] / "m3l_core/data/bundles/indoor/model.yaml").read_text())
    recipe = experiment["Run"](experiment["SHIPPED"], 0).recipe()
    assert recipe.head == shipped["network"]["head"]
    assert recipe.fusion_ratio == shipped["network"].get("fusion_ratio", 0.8)
    assert recipe.modalities[1].normalization == shipped["modalities"][1]["normalization"]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "subset"), [("metric_depth-0", "color+depth"), ("color_alone-1", "color")])
def test_a_run_leaves_its_result_and_the_table(tmp_path: Path, name: str, subset: str) -> None:
    write_miniature(tmp_path / "data")
    done = run_experiment(SCRIPT, tmp_path, "--results", "out", "--only", name, *SETTINGS)
    log = (tmp_path / f"runs/depth_input/{name}.log").read_text()
    assert done.stdout.splitlines()[:2] == ["0 of 1 runs are done", f"{name}: done"], log
    miou = json.loads((tmp_path / f"out/{name}.json").read_text())["validation"][-1]["miou"][subset]
    change = name[:-2].replace("_", " ")
    assert done.stdout.splitlines()[-1] == f"| {change} | 1 | {100 * miou:.1f} |"


def test_the_table_has_mean_and_spread_in_the_order_of_the_plan(experiment: dict[str, Any]) -> None:
    both = {"miou": {"color": 0.1, "depth": 0.2, "color+depth": 0.5}}
    results = [
        {"run": {"change": experiment["COLOR_ALONE"], "seed": 0}, "validation": [{"miou": {"color": 0.4}}]},
        {"run": {"change": experiment["SHIPPED"], "seed": 0}, "validation": [both]},
        {"run": {"change": experiment["SHIPPED"], "seed": 1}, "validation": [both]},
    ]
    assert experiment["table"](results).splitlines()[2:] == [
        "| as shipped | 2 | 50.0 ± 0.0 |",
        "| color alone | 1 | 40.0 |",
    ]
