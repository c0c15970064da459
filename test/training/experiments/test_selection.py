"""The experiment on choosing frames runs to its table, and goes on where it was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.python_path import python_path
from support.rooms import write_rooms

from m3l_core.bundle import BundleDescription, save_bundle
from m3l_core.model.network import LinearFusionSegFormer
from m3l_core.network_config import NetworkConfig
from m3l_core.trainer.export import weights_of
from m3l_core.trainer.recipe import load_recipe

pytestmark = pytest.mark.needs("torch")
ROOT = Path(__file__).parents[3]


def write_start(folder: Path) -> None:
    """A random network in the place of the one that training/experiments/rooms.py trains."""
    recipes = ROOT / "training/recipes"
    recipe = load_recipe([recipes / "rooms_b0_supervised.yaml"])
    network = NetworkConfig(encoder="mit_b0", num_classes=len(recipe.labels))
    description = BundleDescription(
        name="start",
        network=network,
        labels=recipe.labels,
        modalities=recipe.modalities,
        input_height=96,
        input_width=128,
    )
    torch.manual_seed(0)
    save_bundle(folder, description, weights_of(LinearFusionSegFormer(network)), "# start\n")


def test_a_run_is_measured_once(tmp_path: Path) -> None:
    write_rooms(tmp_path / "rooms", train=8, validation=1)
    write_start(tmp_path / "work/start-0.04-0/bundle")
    name = "k_center_uncertain-3-2-0"
    script = ROOT / "training/experiments/selection.py"
    options = ("--data", "rooms", "--work", "work", "--results", "out", "--budget", "3", "--iterations", "2")

    def run() -> list[str]:
        command = [sys.executable, str(script), *options, "--jobs", "1", "--only", name]
        environment = {"PATH": "", "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    first, done, *table = run()
    assert (first, done) == ("0 of 1 runs are done", f"{name}: done")
    assert table[2].startswith("| k_center_uncertain | 1 | ")
    result = json.loads((tmp_path / f"out/{name}.json").read_text())
    assert result["labelled"] == 2 + 3  # the frames of the start's one room, and the chosen ones
    assert len(set(result["chosen"])) == 3
    assert set(result["miou"]) == {"color+depth", "color", "depth"}
    assert run() == ["1 of 1 runs are done", *table]
