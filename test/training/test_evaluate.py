"""The command that measures a bundle, as users run it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.python_path import python_path
from support.rooms import write_rooms

from m3l_core.bundle import ModelBundle

ROOT = Path(__file__).parents[2]
Evaluate = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def evaluate(tmp_path: Path) -> Evaluate:
    """Run training/evaluate.py from another folder than the repository's."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "training" / "evaluate.py"), *map(str, arguments)]
        environment = {"PATH": "", "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Four labelled frames and one that has no label."""
    path = write_rooms(tmp_path / "rooms", validation=5) / "val.json"
    entries = json.loads(path.read_text())
    entries[2].pop("label")
    path.write_text(json.dumps(entries))
    return path


def test_from_a_bundle_to_tables_figures_and_a_picture(
    evaluate: Evaluate, tiny_bundle: Path, index: Path, tmp_path: Path
) -> None:
    options = ("--output", "out", "--engine", "torch", "--threads", 1)
    done = evaluate(tiny_bundle, index, *options)
    assert done.returncode == 0, done.stderr
    assert "tiny, torch fp32, 4 of 4 frames of val.json (1 more have no label)" in done.stdout
    assert "learnt mask token" in done.stdout
    for name in ("MM-Robust", "worst", "EMM", "RMM", "NM", "ECE", "clutter"):
        assert name in done.stdout
    output = tmp_path / "out"
    assert {path.name for path in output.iterdir()} == {"evaluation.json", "evaluation.png"}
    found = json.loads((output / "evaluation.json").read_text())
    assert found["subject"]["unlabelled"] == 1
    assert found["missing"]["fed_as"] == "token"
    assert found["subsets"]["color+depth"]["frames"] == 4
    assert cv2.imread(str(output / "evaluation.png")).shape[1] > 1000

    again = evaluate(tiny_bundle, index, *options)
    assert again.returncode == 0, again.stderr
    assert json.loads((output / "evaluation.json").read_text()) == found


def test_options_choose_frames_conditions_and_how_missing_is_fed(
    evaluate: Evaluate, tiny_bundle: Path, index: Path, tmp_path: Path
) -> None:
    done = evaluate(
        *(tiny_bundle, index, "--output", "out", "--limit", 2, "--conditions", "subsets,nm"),
        *("--missing", "black", "--precision", "bf16"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert (found["subject"]["frames"], found["subject"]["labelled"]) == (2, 4)
    assert found["subject"]["precision"] == "bf16"
    assert found["missing"]["fed_as"] == "black"
    assert found["rmm"] == {}
    assert list(found["nm"]) == ["low", "mid", "high"]


def test_labels_and_bundle_with_other_classes_are_measured_in_common_ones(
    evaluate: Evaluate, tiny_bundle: Path, index: Path, tmp_path: Path
) -> None:
    own = ModelBundle.load(tiny_bundle).description.labels.names
    maps = {
        "labels": {"ground": own[0], "side": None, "seat": own[2]},
        "rooms": {"ground": "floor", "side": None, "seat": "thing"},
        "bundle": {own[0]: "floor"} | dict.fromkeys(own[1:], "thing"),
    }
    (tmp_path / "maps.json").write_text(json.dumps(maps))
    options = (tiny_bundle, index, "--conditions", "subsets", "--output")
    done = evaluate(*options, "one", "--class-map", "maps.json#labels")
    assert done.returncode == 0, done.stderr
    assert "classes by maps.json#labels" in done.stdout
    found = json.loads((tmp_path / "one/evaluation.json").read_text())
    iou = found["subsets"]["color+depth"]["iou"]
    assert list(iou) == [*own]
    assert [name for name, value in iou.items() if value is not None] == [own[0], own[2]]
    done = evaluate(*options, "both", "--class-map", "maps.json#rooms", "--bundle-map", "maps.json#bundle")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "both/evaluation.json").read_text())
    assert list(found["subsets"]["color"]["iou"]) == ["floor", "thing"]
    assert found["subject"]["bundle_map"] == "maps.json#bundle"
    done = evaluate(*options, "none", "--class-map", "maps.json#rooms")
    assert done.returncode == 1
    assert done.stderr.startswith("evaluate: the class map names")


def test_mistakes_are_told_in_a_line_and_leave_nothing(
    evaluate: Evaluate, tiny_bundle: Path, index: Path, tmp_path: Path
) -> None:
    for arguments, reason in {
        ("nowhere", index): "nowhere is not a model bundle",
        (tiny_bundle, "nowhere.json"): "nowhere.json cannot be read",
        (tiny_bundle, index, "--output", index): "val.json cannot be written",
    }.items():
        done = evaluate("--output", "out", *arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("evaluate: ")
        assert reason in done.stderr
        assert "Traceback" not in done.stderr
    cv2.imwrite(str(tmp_path / "rooms" / "label" / "val_4.png"), np.full((64, 96), 9, np.uint8))
    done = evaluate(tiny_bundle, index, "--output", "out")
    assert done.returncode == 1
    assert "evaluate: " in done.stderr
    assert "has the class id 9, but there are 4 classes" in done.stderr.replace("\n", " ")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_cannot_be_written_is_told_in_a_line(
    evaluate: Evaluate, tiny_bundle: Path, index: Path, tmp_path: Path
) -> None:
    (tmp_path / "out" / "evaluation.json").mkdir(parents=True)
    done = evaluate(tiny_bundle, index, "--output", "out", "--limit", 1, "--conditions", "subsets")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("evaluate: out cannot be written (")


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--conditions", "subsets,fog", "expected some of subsets,rmm,nm, got fog"),
        ("--limit", "0", "expected a whole number above 0, got 0"),
        ("--missing", "nothing", "invalid choice: 'nothing'"),
    ],
)
def test_options_that_cannot_be_are_refused(
    evaluate: Evaluate, tmp_path: Path, option: str, value: str, reason: str
) -> None:
    (tmp_path / "index.json").touch()
    done = evaluate("bundle", "index.json", "--output", "out", option, value)
    assert done.returncode == 2
    assert reason in done.stderr


def test_help_shows_the_command(evaluate: Evaluate) -> None:
    done = evaluate("--help")
    assert done.returncode == 0
    assert "python training/evaluate.py m3l_core/data/bundles/indoor" in done.stdout
