"""The experiment's command line, and the views that its results were made with."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.python_path import python_path
from support.rooms import recipe, write_rooms

from m3l_core.bundle import ModelBundle
from m3l_core.trainer.recipe import Recipe, load_recipe

ROOT = Path(__file__).parents[3]
EXPERIMENTS = ROOT / "training" / "experiments"
RECORDED_HEIGHT = 240


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [("--run", "nonsense", "there is no run 'nonsense'; some are start-0.04-0"), ("--jobs", "0", "above 0, got 0")],
)
def test_options_that_cannot_be_are_refused(tmp_path: Path, option: str, value: str, reason: str) -> None:
    command = [sys.executable, str(EXPERIMENTS / "rooms.py"), "--data", "rooms", option, value]
    environment = {"PATH": "", "PYTHONPATH": python_path()}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert reason in done.stderr


@pytest.mark.parametrize("name", ["conditions", "ablation", "start", "imagenet"])
def test_every_training_sees_its_rooms_at_the_same_zoom(name: str) -> None:
    recipes = ROOT / "training" / "recipes"
    files = [recipes / "methods/m3l_plus.yaml", recipes / "data/rooms.yaml", EXPERIMENTS / f"rooms/{name}.yaml"]
    made = load_recipe(files)
    (phase,) = made.phases
    zoom = made.input_height / RECORDED_HEIGHT
    assert [limit * zoom for limit in phase.scale] == pytest.approx([0.38, 0.6])


@pytest.mark.needs("torch")
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_start_becomes_a_bundle_and_a_run_leaves_its_result(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    request.addfinalizer(lambda: torch.set_num_threads(threads))
    experiment = runpy.run_path(str(EXPERIMENTS / "rooms.py"))

    class Short(experiment["Run"]):  # type: ignore[misc]
        """Of tiny networks."""

        @property
        def result(self) -> Path:
            return tmp_path / f"{self.name}.json"

        def recipe(self, work: Path) -> Recipe:
            phases = [{"iterations": 2, "batch": 1, "crop": [32, 48], "scale": [0.5, 1.0]}]
            start = {} if self.method == "start" else {"start_weights": str(work / self.start.name / "bundle")}
            return recipe(phases=phases, optimizer={"warmup_iterations": 1}, evaluate_every=1, **start)

    data, work = write_rooms(tmp_path / "data", validation=1), tmp_path / "work"
    shutil.copy(data / "val.json", data / "test.json")
    experiment["train"](Short("start", 0.04, 1), data, work)
    assert ModelBundle.load(work / "start-0.04-1" / "bundle").description.name == "tiny"
    assert not list(tmp_path.glob("*.json"))
    experiment["train"](Short("paper_supervised", 0.04, 1), data, work)
    result = json.loads((tmp_path / "paper_supervised-0.04-1.json").read_text())
    committed = json.loads((EXPERIMENTS / "rooms/results/paper_supervised-0.04-1.json").read_text())
    assert list(result) == list(committed)
    assert list(result["run"].items()) == list(committed["run"].items())
    assert [entry["iteration"] for entry in result["validation"]] == [1, 2]
    assert result["test"] == result["validation"][-1]["miou"]  # of the same frames here
