"""The command that the recipes' users run, as they run it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.python_path import python_path
from support.rooms import METHODS, RECIPE, write_recipe, write_rooms

from m3l_core.bundle import ModelBundle
from m3l_core.trainer.data import read_data
from m3l_core.trainer.recipe import load_recipe

ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "training" / "train.py")
# A script finds m3l_core where it is installed; here it is the working tree's.
ENVIRONMENT = {"PATH": "", "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
ENVIRONMENT["CUDA_VISIBLE_DEVICES"] = ""
Train = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]
LONG: dict[str, Any] = {
    "phases": [{"iterations": 60, "batch": 2, "crop": [32, 48], "scale": [0.5, 1.0]}],
    "data": RECIPE["data"] | {"label_fraction": 0.7},
    "evaluate_every": 25,
    "checkpoint_every": 3,
}
"""Long enough to be stopped on the way."""


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Run training/train.py from another folder than the repository's."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, SCRIPT, *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a command in a process group of its own, which is gone after the test."""
    started: list[subprocess.Popen[str]] = []

    def launch(*command: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield launch
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    return write_recipe(tmp_path / "tiny.yaml")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rooms(tmp_path / "rooms")


def wait_for_a_checkpoint(process: subprocess.Popen[str], path: Path) -> None:
    """Of this process, and a moment longer."""
    before, end = written(path), time.monotonic() + 200
    while written(path) == before:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(0.05)


def written(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_networks_for_the_sensors_that_are_left_come_one_after_the_other_into_one_bundle(
    train: Train, tmp_path: Path, data: Path
) -> None:
    pytest.importorskip("torch", reason="needs torch: pip install 'm3l_ros[train]'")
    phases = [{"iterations": 3, "batch": 2, "crop": [32, 48], "scale": [0.5, 1.0]}]
    optimizer = {"learning_rate": 1e-3, "warmup_iterations": 1}
    networks = {"subsets": [["depth"]], "phases": phases, "optimizer": optimizer}
    recipe = write_recipe(tmp_path / "subsets.yaml", phases=phases, optimizer=optimizer, subset_networks=networks)
    command = f"{recipe} --data {data} --output runs/subsets --workers 0 --no-tensorboard".split()
    done = train(*command)
    assert done.returncode == 0, done.stderr
    output = tmp_path / "runs" / "subsets"
    parts = ("full", "depth")
    told = [
        line
        for part in parts
        for line in (f"bundle: runs/subsets/{part}/bundle", f"report: runs/subsets/{part}/report.html")
    ]
    assert done.stdout.splitlines() == [*told, "bundle: runs/subsets/bundle"]
    lines = done.stderr.splitlines()
    assert lines[-1].endswith("depth: 100.000 % of the pixels as in torch"), "the console ends in our own lines"
    assert len(lines) < 40
    said = (output / "export.log").read_text()
    assert len(said.splitlines()) > 40 and "onnxscript" in said
    bundle = ModelBundle.load(output / "bundle")
    assert set(bundle.description.miou) == {"color+depth", "color", "depth"}
    for key, each in bundle.subset_bundles().items():
        assert "model.onnx" in each.description.graphs
        assert each.description.miou[key] == bundle.description.miou[key]
        history = json.loads((output / key / "history.json").read_text())
        assert history[-1]["miou"] == {key: pytest.approx(bundle.description.miou[key])}
    assert "depth alone has a network of its own" in (output / "bundle" / "README.md").read_text()
    again = train(*command)
    assert again.returncode == 0 and "going on from iteration 3" in again.stderr


def test_from_images_to_a_bundle_and_then_nothing_more_to_do(
    train: Train, tmp_path: Path, recipe_file: Path, data: Path
) -> None:
    pytest.importorskip("torch", reason="needs torch: pip install 'm3l_ros[train]'")
    (tmp_path / "drop=1.yaml").write_text("method: {modality_dropout: {}}")
    command = f"{recipe_file} drop=1.yaml seed=5 phases.1.iterations=2 --data {data} --output runs/tiny --workers 1"
    arguments = command.split()
    first = train(*arguments)
    assert first.returncode == 0, first.stderr
    assert first.stdout == "bundle: runs/tiny/bundle\nreport: runs/tiny/report.html\n"
    assert "Traceback" not in first.stderr
    output = tmp_path / "runs" / "tiny"
    assert {"bundle", "checkpoint.pt", "history.json", "report.html"} <= {path.name for path in output.iterdir()}
    bundle = ModelBundle.load(output / "bundle")
    told = bundle.description.training
    assert (told["seed"], told["iterations"]) == (5, 7)
    assert told["method"] == ["supervised", "modality dropout"]
    assert "seed=5 phases.1.iterations=2 --data" in told["command"]
    assert bundle.description.miou == json.loads((output / "history.json").read_text())[-1]["miou"]

    checkpoint, weights = written(output / "checkpoint.pt"), bundle.read_weights()
    second = train(*arguments)
    assert second.returncode == 0, second.stderr
    assert "going on from iteration 7" in second.stderr
    assert written(output / "checkpoint.pt") == checkpoint
    again = ModelBundle.load(output / "bundle").read_weights()
    assert all((again[name] == weights[name]).all() for name in weights)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_stopped_told_to_stop_and_killed_it_ends_as_if_nothing_had_been(
    start: Start, tmp_path: Path, data: Path
) -> None:
    torch = pytest.importorskip("torch", reason="needs torch: pip install 'm3l_ros[train]'")
    from m3l_core.trainer.trainer import Trainer

    recipe_file = write_recipe(tmp_path / "long.yaml", **LONG, method=METHODS["everything"])
    command = [SCRIPT, recipe_file, "--data", data, "--output", "run", "--workers", 1, "--no-tensorboard"]
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    reached = [0]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        process = start(*command)
        wait_for_a_checkpoint(process, checkpoint)
        if number == signal.SIGKILL:
            process.kill()
        else:  # a terminal and a scheduler tell every process, those that load images too
            os.killpg(process.pid, number)
        output, errors = process.communicate(timeout=200)
        reached.append(torch.load(checkpoint, weights_only=True)["iteration"])
        assert reached[-2] < reached[-1] < 60
        assert output == ""
        if number == signal.SIGKILL:
            assert process.returncode == -number
            assert reached[-1] % 3 == 0
        else:
            assert process.returncode == 128 + number
            assert "Traceback" not in errors
            told = f"train: stopped by {number.name} after iteration {reached[-1]}; the same command goes on from there"
            assert errors.splitlines()[-1] == told
    process = start(*command)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert f"going on from iteration {reached[-1]} of run/checkpoint.pt" in errors
    assert output.startswith("bundle: run/bundle\n")

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    whole = Trainer(load_recipe(recipe_file), read_data(load_recipe(recipe_file), data), tmp_path / "whole", workers=0)
    whole.run()
    torch.set_num_threads(threads)
    expected, found = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "run"))
    assert found["losses"] == expected["losses"]
    assert found["history"] == expected["history"]
    assert json.loads((tmp_path / "run" / "history.json").read_text()) == expected["history"]
    for part in ("students", "averages"):
        assert all(torch.equal(found[part][name], tensor) for name, tensor in expected[part].items())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_stop_together_and_write_one_bundle(start: Start, tmp_path: Path, data: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch: pip install 'm3l_ros[train]'")
    recipe_file = write_recipe(tmp_path / "long.yaml", **LONG, method=METHODS["M3L"])
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    torchrun = [
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        2,
        "--master-addr",
        "127.0.0.1",
        "--master-port",
        port,
    ]
    command = [*torchrun, SCRIPT, recipe_file, "--data", data, "--output", "run", "--workers", 1]
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    process = start(*command)
    wait_for_a_checkpoint(process, checkpoint)
    process.terminate()
    _, errors = process.communicate(timeout=200)
    stopped = torch.load(checkpoint, weights_only=True)["iteration"]
    assert 0 < stopped < 60
    assert errors.count(f"train: stopped by SIGTERM after iteration {stopped};") == 2
    process = start(*command)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert output.count("bundle: run/bundle") == 1
    assert ModelBundle.load(tmp_path / "run" / "bundle").description.training["iterations"] == 60
    assert len(torch.load(checkpoint, weights_only=True)["losses"]) == 60


@pytest.mark.needs("torch")
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("tiny.yaml", "--data", "nowhere", "--output", "out"), "nowhere/train.json cannot be read"),
        (("tiny.yaml", "sead=1", "--data", "rooms", "--output", "out"), "sead"),
        (
            ("tiny.yaml", "phases.0.batch.first=1", "--data", "rooms", "--output", "out"),
            "does not fit the recipe: phases.0.batch is '",
        ),
        (("tiny.yaml", "phases.9=1", "--data", "rooms", "--output", "out"), "'phases.9=1' does not fit the recipe"),
        (("none.yaml", "--data", "rooms", "--output", "out"), "recipe none.yaml cannot be read"),
        (("tiny.yaml", "data.validation=train.json", "--data", "rooms", "--output", "out"), "split by recording"),
        (("tiny.yaml", "--data", "rooms", "--output", "tiny.yaml"), "tiny.yaml cannot be written"),
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


def test_a_full_disk_at_the_end_is_told_in_a_line(train: Train, tmp_path: Path, recipe_file: Path, data: Path) -> None:
    pytest.importorskip("torch", reason="needs torch: pip install 'm3l_ros[train]'")
    (tmp_path / "out" / "report.json").mkdir(parents=True)
    settings = ("phases.0.iterations=1", "phases.1.iterations=1", "optimizer.warmup_iterations=0")
    done = train(recipe_file, *settings, "--data", data, "--output", "out", "--workers", 0, "--no-tensorboard")
    assert done.returncode == 1
    told = done.stderr.splitlines()[-1]
    assert told.startswith("train: out cannot be written (")
    assert told.endswith("; the training is saved, the same command goes on from there")
    assert (tmp_path / "out" / "checkpoint.pt").is_file()


@pytest.mark.needs("torch")
def test_an_image_that_cannot_be_read_is_told_in_a_line(
    train: Train, tmp_path: Path, recipe_file: Path, data: Path
) -> None:
    (data / "color" / "train_2.jpg").write_bytes(b"no image")
    done = train(recipe_file, "--data", data, "--output", "out", "--workers", 1, "--no-tensorboard")
    assert done.returncode == 1
    assert done.stderr.startswith(f"train: {data}/color/train_2.jpg: expected a color image, found no image: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.needs("torch")
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


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "--data, --output"),
        (("--workers", "-1"), "expected a whole number from 0 on, got -1"),
        (("--cache-gb", "nan"), "expected a number from 0 to 1e+06, got nan"),
    ],
)
def test_a_missing_or_wrong_argument_is_told(
    train: Train, recipe_file: Path, arguments: tuple[str, ...], reason: str
) -> None:
    done = train(recipe_file, *arguments)
    assert done.returncode == 2
    assert reason in done.stderr
