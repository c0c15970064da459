"""The experiment's command line, and the views that its results were made with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.python_path import python_path

from m3l_core.trainer.recipe import load_recipe

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


@pytest.mark.parametrize("name", ["conditions", "ablation", "start"])
def test_every_training_sees_its_rooms_at_the_same_zoom(name: str) -> None:
    recipes = ROOT / "training" / "recipes"
    files = [recipes / "methods/m3l_plus.yaml", recipes / "data/rooms.yaml", EXPERIMENTS / f"rooms/{name}.yaml"]
    made = load_recipe(files)
    (phase,) = made.phases
    zoom = made.input_height / RECORDED_HEIGHT
    assert [limit * zoom for limit in phase.scale] == pytest.approx([0.38, 0.6])
