"""The command that the recipes' users run, as they run it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.rooms import write_recipe, write_rooms

from m3l_core.bundle import ModelBundle

ROOT = Path(__file__).parents[2]
Train = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Run training/train.py from another folder than the repository's."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "training" / "train.py"), *map(str, arguments)]
        # A script finds m3l_core where it is installed; here it is the working tree's.
        environment = {"PATH": "", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    return write_recipe(tmp_path / "tiny.yaml")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rooms(tmp_path / "rooms")


def test_from_images_to_a_bundle_and_then_nothing_more_to_do(
    train: Train, tmp_path: Path, recipe_file: Path, data: Path
) -> None:
    pytest.importorskip("torch", reason="needs torch: pip install 'm3l_ros[train]'")
    arguments = (
        recipe_file,
        "seed=5",
        "phases.1.iterations=2",
        "--data",
        data,
        "--output",
        "runs/tiny",
        "--workers",
        1,
    )
    first = train(*arguments)
    assert first.returncode == 0, first.stderr
    assert first.stdout == "bundle: runs/tiny/bundle\n"
    output = tmp_path / "runs" / "tiny"
    assert {path.name for path in output.iterdir()} == {"bundle", "checkpoint.pt", "history.json"}
    bundle = ModelBundle.load(output / "bundle")
    described = bundle.description
    assert described.training["seed"] == 5
    assert described.training["iterations"] == 7
    assert "seed=5 phases.1.iterations=2 --data" in described.training["command"]
    assert described.miou == json.loads((output / "history.json").read_text())[-1]["miou"]

    checkpoint, weights = (output / "checkpoint.pt").stat().st_mtime_ns, bundle.read_weights()
    second = train(*arguments)
    assert second.returncode == 0, second.stderr
    assert "going on from iteration 7" in second.stderr
    assert (output / "checkpoint.pt").stat().st_mtime_ns == checkpoint
    again = ModelBundle.load(output / "bundle").read_weights()
    assert all((again[name] == weights[name]).all() for name in weights)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("tiny.yaml", "--data", "nowhere", "--output", "out"), "nowhere/train.json cannot be read"),
        (("tiny.yaml", "sead=1", "--data", "rooms", "--output", "out"), "sead"),
        (("tiny.yaml", "phases.9=1", "--data", "rooms", "--output", "out"), "'phases.9=1' does not fit the recipe"),
        (("none.yaml", "--data", "rooms", "--output", "out"), "recipe none.yaml cannot be read"),
    ],
)
def test_a_mistake_is_told_in_a_line_and_ends_with_a_status(
    train: Train, tmp_path: Path, recipe_file: Path, data: Path, arguments: tuple[str, ...], reason: str
) -> None:
    done = train(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("train: ")
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_list_that_names_missing_files_is_told_before_training(
    train: Train, tmp_path: Path, recipe_file: Path, data: Path
) -> None:
    (data / "color" / "train_2.jpg").unlink()
    done = train(recipe_file, "--data", data, "--output", "out")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "names 1 files that do not exist" in done.stderr


def test_help_shows_the_command(train: Train) -> None:
    done = train("--help")
    assert done.returncode == 0
    assert "--data" in done.stdout
    assert "Interrupted, the same command goes on" in done.stdout


def test_a_missing_argument_is_told(train: Train, recipe_file: Path) -> None:
    done = train(recipe_file)
    assert done.returncode == 2
    assert "--data, --output" in done.stderr
