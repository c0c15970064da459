"""The check as users run it, before they train."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from support.published import write
from support.python_path import python_path
from support.rooms import RECIPE, SEVERAL_SETS, SIZE, write_recipe, write_rooms, write_several_sets

ROOT = Path(__file__).parents[2]
Check = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Run training/check_dataset.py from another folder than the repository's."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "training" / "check_dataset.py"), *map(str, arguments), "--workers", "1"]
        environment = {"PATH": "", "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    return write_rooms(tmp_path / "rooms", train=3, validation=1)


def test_a_good_index_ends_well_and_leaves_a_report_and_a_picture(check: Check, rooms: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "tiny.yaml")
    done = check("rooms/train.json", "--recipe", recipe, "--output", "out")
    assert done.returncode == 0, done.stderr
    for shown in ("floor", "chair", "frames with depth", f"{SIZE[0]}x{SIZE[1]} (3)", "written to out"):
        assert shown in done.stdout
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert (report["frames"], report["problems"]) == (3, {})
    assert cv2.imread(str(tmp_path / "out/samples.png")).any()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.json", "samples.png"}


def test_what_would_stop_a_training_ends_with_a_status(check: Check, rooms: Path, tmp_path: Path) -> None:
    (rooms / "depth/train_1.png").unlink()
    write(rooms / "label/train_0.png", np.full(SIZE, 9, np.uint8))
    (rooms / "labels.yaml").write_text(yaml.safe_dump({"labels": RECIPE["labels"]}))
    done = check("rooms/train.json", "--output", "out")
    assert done.returncode == 1
    assert done.stderr == "check_dataset: rooms/train.json has 2 problems that would stop a training\n"
    assert "missing files" in done.stdout
    assert "there are 3 classes" in done.stdout
    assert len(json.loads((tmp_path / "out/report.json").read_text())["problems"]) == 2
    assert (tmp_path / "out/samples.png").is_file()


def test_classes_beside_the_index_count_unless_others_are_named(check: Check, rooms: Path, tmp_path: Path) -> None:
    (rooms / "labels.yaml").write_text(yaml.safe_dump({"labels": {"classes": RECIPE["labels"]["classes"][:2]}}))
    assert check("rooms/train.json").returncode == 1
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({"labels": RECIPE["labels"]}))
    done = check("rooms/train.json", "--labels", "other.yaml")
    assert done.returncode == 0, done.stderr


def test_labels_are_counted_in_the_classes_that_a_recipe_maps_them_to(check: Check, tmp_path: Path) -> None:
    write_several_sets(tmp_path / "sets")
    recipe = write_recipe(tmp_path / "tiny.yaml", data=SEVERAL_SETS)
    index = "sets/elsewhere/flats/train.json"
    done = check(index, "--recipe", recipe, "--class-map", "tiny.yaml#data.1.class_map", "--output", "out")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert [entry["name"] for entry in report["classes"] if entry["frames"]] == ["floor", "chair"]
    assert "classes that are never seen: wall" in report["remarks"]
    write(tmp_path / "sets/elsewhere/flats/label/train_0.png", np.full(SIZE, 3, np.uint8))
    done = check(index, "--recipe", recipe, "--class-map", "tiny.yaml#data.1.class_map")
    assert done.returncode == 1
    assert "has 3; there are 3 classes" in done.stdout
    done = check(index, "--class-map", "tiny.yaml#data.1.class_map")
    assert done.stderr == "check_dataset: --class-map needs the classes that it maps to: --recipe or --labels\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("none.json",), "none.json cannot be read as an index of frames"),
        (("rooms/train.json", "--labels", "none.yaml"), "none.yaml cannot be read for modalities and labels"),
        (("rooms/train.json", "--recipe", "none.yaml"), "recipe none.yaml cannot be read"),
        (("rooms/train.json", "--output", "rooms/val.json"), "rooms/val.json cannot be written"),
        (("rooms/train.json", "--output", "full"), "full cannot be written"),
    ],
)
def test_a_mistake_is_told_in_a_line(check: Check, rooms: Path, arguments: tuple[str, ...], reason: str) -> None:
    (rooms.parent / "full/report.json").mkdir(parents=True)
    done = check(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("check_dataset: ")
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
