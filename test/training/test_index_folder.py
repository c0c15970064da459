"""Index files as users make them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.python_path import python_path
from support.rooms import draw_room, write_images

from m3l_core.datasets.folder import read_index, read_sample
from m3l_core.datasets.indexing import draw_validation, read_recordings

ROOT = Path(__file__).parents[2]


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run training/index_folder.py from another folder than the repository's."""
    command = [sys.executable, str(ROOT / "training" / "index_folder.py"), *map(str, arguments)]
    environment = {"PATH": "", "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name, count in (("hall", 2), ("kitchen", 3)):
        for number in range(count):
            write_images(tmp_path / "data" / name, str(number), *draw_room(random))
        (tmp_path / "data" / name / "depth/0.png").unlink()
        (tmp_path / "data" / name / "label/1.png").unlink()
    return tmp_path / "data"


def test_recordings_become_indexes_and_a_table(data: Path) -> None:
    done = run(data.parent, "data", "--seed", 1)
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "│" in line]
    (held_out,) = {sample.recording for sample in read_index(data / "val.json")}
    index = {name: "val.json" if name == held_out else "train.json" for name in ("hall", "kitchen")}
    assert rows == [["hall", index["hall"], "2", "1", "0", "1"], ["kitchen", index["kitchen"], "3", "2", "0", "1"]]
    assert "1 unlabelled frames of the recordings in val.json are in neither index" in done.stdout
    assert "written to data: train.json, val.json" in done.stdout
    for sample in (*read_index(data / "train.json"), *read_index(data / "val.json")):
        read_sample(sample)


def test_the_options_count(data: Path) -> None:
    recordings = read_recordings(data)
    default = draw_validation(recordings)
    seed = next(seed for seed in range(1, 50) if draw_validation(recordings, seed=seed) != default)
    assert run(data.parent, "data", "--seed", seed, "--modalities", "color").returncode == 0
    entries = {name: json.loads((data / name).read_text()) for name in ("train.json", "val.json")}
    assert {entry["recording"] for entry in entries["train.json"]} == default
    assert not any("depth" in entry for index in entries.values() for entry in index)
    done = run(data.parent, "data", "--validation", 1.5)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "index_folder: the share for validation must be between 0 and 1, got 1.5\n"


def test_a_mistake_is_told_in_a_line(tmp_path: Path) -> None:
    done = run(tmp_path, "nowhere")
    assert (done.returncode, done.stderr) == (1, "index_folder: nowhere is no folder\n")
