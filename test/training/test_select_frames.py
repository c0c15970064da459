"""The choice of frames as users run it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support.bundles import CLASSES
from support.python_path import python_path
from support.rooms import RECIPE, write_rooms

from m3l_core.annotation.manifest import read_selection

ROOT = Path(__file__).parents[2]
Select = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def select(tmp_path: Path) -> Select:
    """Run training/select_frames.py from another folder than the repository's."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "training" / "select_frames.py"), *map(str, arguments)]
        environment = {"PATH": "", "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Six frames of three recordings, of which the first recording is labelled."""
    path = write_rooms(tmp_path / "rooms", train=6, validation=1) / "train.json"
    entries = json.loads(path.read_text())
    for entry in entries[2:]:
        entry.pop("label")
    path.write_text(json.dumps(entries))
    return path


def rows(output: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if "│" in line]


def test_frames_far_from_the_labelled_ones_come_with_the_bundle_s_labels(
    select: Select, tiny_bundle: Path, index: Path, tmp_path: Path
) -> None:
    options = ("--bundle", tiny_bundle, "--budget", 3, "--strategy", "k_center", "--engine", "torch")
    done = select(index, *options, "--output", "out")
    assert done.returncode == 0, done.stderr
    assert "3 frames written to out" in done.stdout
    selection = read_selection(tmp_path / "out")
    assert selection.labels.names == CLASSES
    assert (selection.strategy, selection.index) == ("k_center", "train.json")
    assert selection.bundle is not None and selection.bundle.startswith("tiny ")
    scores = [frame.score or 0.0 for frame in selection.frames]
    assert scores == sorted(scores, reverse=True) and scores[-1] > 0
    assert {frame.recording for frame in selection.frames} <= {"train_1", "train_2"}
    table = {name: counts for name, *counts in rows(done.stdout)}
    assert table["train_0"] == ["2", "2", "0"]
    assert sum(int(counts[2]) for counts in table.values()) == 3
    for file in ("masks", "images"):
        assert {path.stem for path in (tmp_path / "out" / file).iterdir()} == {f.name for f in selection.frames}

    doubtful = select(index, *options, "--strategy", "k_center_uncertain", "--output", "doubtful")
    assert doubtful.returncode == 0, doubtful.stderr
    assert [frame.score for frame in read_selection(tmp_path / "doubtful").frames] != scores


def test_without_a_bundle_the_classes_are_those_of_a_file(select: Select, index: Path, tmp_path: Path) -> None:
    done = select(index, "--budget", 9, "--output", "out")
    reason = f"there are no classes to label with: give --labels, or put them in {index.parent}/labels.yaml"
    assert (done.returncode, done.stderr) == (1, f"select_frames: {reason}\n")
    (index.parent / "labels.yaml").write_text(yaml.safe_dump({"labels": RECIPE["labels"]}))
    done = select(index, "--budget", 9, "--output", "out")
    assert done.returncode == 0, done.stderr
    selection = read_selection(tmp_path / "out")
    assert selection.strategy == "random"
    assert selection.labels.names == ("floor", "wall", "chair")
    assert {frame.picture for frame in selection.frames} == {f"color/train_{number}.jpg" for number in range(2, 6)}
    assert not (tmp_path / "out/masks").exists()
    names = {}
    for strategy, seed in (("uniform", 0), ("random", 1), ("random", 2), ("random", 3)):
        output = f"{strategy}_{seed}"
        done = select(index, "--budget", 2, "--strategy", strategy, "--seed", seed, "--output", output)
        assert done.returncode == 0, done.stderr
        names[output] = [frame.name for frame in read_selection(tmp_path / output).frames]
    assert names["uniform_0"] == ["train_1__train_2", "train_2__train_5"]
    assert len({tuple(chosen) for chosen in names.values()}) > 1


def test_classes_that_the_bundle_lacks_are_left_to_the_annotators(
    select: Select, tiny_bundle: Path, index: Path, tmp_path: Path
) -> None:
    classes = [{"name": "robot", "color": [1, 2, 3]}, {"name": CLASSES[0], "color": [4, 5, 6]}]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"labels": {"classes": classes}}))
    done = select(index, "--bundle", tiny_bundle, "--labels", "mine.yaml", "--budget", 4, "--output", "out")
    assert done.returncode == 0, done.stderr
    drawn = json.loads((tmp_path / "out/coco.json").read_text())
    assert [category["name"] for category in drawn["categories"]] == ["robot", CLASSES[0]]
    assert {annotation["category_id"] for annotation in drawn["annotations"]} <= {2}


def test_mistakes_are_told_in_a_line_and_leave_nothing(select: Select, index: Path, tmp_path: Path) -> None:
    (index.parent / "labels.yaml").write_text(yaml.safe_dump({"labels": RECIPE["labels"]}))
    done = select(index, "--budget", 3, "--strategy", "k_center", "--output", "out")
    assert done.returncode == 2
    assert "--strategy k_center needs --bundle" in done.stderr
    for budget, seed in ((0, 0), (3, -1)):
        done = select(index, "--budget", budget, "--seed", seed, "--output", "out")
        assert done.returncode == 2
        assert "expected a whole number" in done.stderr.splitlines()[-1]
    done = select(index.parent / "val.json", "--budget", 3, "--output", "out")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "all 1 frames of" in done.stderr
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/work.png").touch()
    done = select(index, "--budget", 3, "--output", "taken")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "select_frames: taken holds something already: choose a folder that is new or empty\n"
    assert not (tmp_path / "out").exists()
