"""Labels come back as users bring them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from support.python_path import python_path
from support.rooms import RECIPE, SIZE, draw_room, write_images, write_rooms

from m3l_core.annotation.label_studio import task
from m3l_core.datasets.folder import read_index, read_sample
from m3l_core.labels import LabelSet

ROOT = Path(__file__).parents[2]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
CHAIR = 2


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a script of training/ from another folder than the repository's."""

    def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "training" / f"{script}.py"), *map(str, arguments)]
        environment = {"PATH": "", "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1", "COLUMNS": "140"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Four frames of two recordings without labels, and the classes beside them."""
    path = write_rooms(tmp_path / "rooms", train=4, validation=1) / "train.json"
    entries = json.loads(path.read_text())
    for entry in entries:
        (path.parent / entry.pop("label")).unlink()
    path.write_text(json.dumps(entries))
    (path.parent / "labels.yaml").write_text(yaml.safe_dump({"labels": RECIPE["labels"]}))
    return path


def rows(output: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if "│" in line]


def half_a_chair() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    ids = np.full(SIZE, 255, np.uint8)
    ids[: SIZE[0] // 2] = CHAIR
    return ids


def test_from_the_choice_to_the_index_and_back(run: Run, tiny_bundle: Path, index: Path, tmp_path: Path) -> None:
    done = run("select_frames", index, "--bundle", tiny_bundle, "--budget", 3, "--output", "out", "--engine", "torch")
    assert done.returncode == 0, done.stderr
    done = run("import_labels", index, "out", "--selection", "out")
    assert done.returncode == 1
    assert "out is what training/select_frames.py wrote" in done.stderr
    first, *others = sorted((tmp_path / "out/masks").iterdir())
    cv2.imwrite(str(first), half_a_chair())
    done = run("import_labels", index, "out/masks", "--selection", "out/selection.json")
    assert done.returncode == 0, done.stderr
    assert "out/masks: mask images, 3 frames" in done.stdout
    assert f"written to {index}" in done.stdout
    labelled = {sample.images["color"].stem: sample for sample in read_index(index) if sample.label is not None}
    assert len(labelled) == 3
    _, label = read_sample(labelled[first.stem.rpartition("__")[2]], num_classes=3)
    np.testing.assert_array_equal(label, half_a_chair())

    (tmp_path / "rooms/color" / f"{others[0].stem.rpartition('__')[2]}.jpg").write_bytes(b"another")
    done = run("import_labels", index, "out/masks", "--selection", "out")
    assert done.returncode == 1
    assert f"is another image than was selected as {others[0].stem}" in done.stderr


def test_a_folder_without_an_index_gets_its_first_labels(run: Run, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for recording in ("hall", "yard"):
        for stamp_ns in ("1000", "2000"):
            write_images(tmp_path / "data" / recording, stamp_ns, *draw_room(random))
        shutil.rmtree(tmp_path / "data" / recording / "label")
    (tmp_path / "data/labels.yaml").write_text(yaml.safe_dump({"labels": RECIPE["labels"]}))
    done = run("select_frames", "data", "--budget", 2, "--strategy", "uniform", "--output", "out")
    assert done.returncode == 0, done.stderr
    (tmp_path / "drawn").mkdir()
    for image in (tmp_path / "out/images").iterdir():
        cv2.imwrite(str(tmp_path / "drawn" / f"{image.stem}.png"), half_a_chair())
    done = run("import_labels", "data", "drawn", "--selection", "out")
    assert done.returncode == 0, done.stderr
    labels = sorted(path.relative_to(tmp_path / "data").as_posix() for path in (tmp_path / "data").glob("*/label/*"))
    assert labels == ["hall/label/1000.png", "yard/label/2000.png"]
    done = run("index_folder", "data")
    assert done.returncode == 0, done.stderr
    entries = [*read_index(tmp_path / "data/train.json"), *read_index(tmp_path / "data/val.json")]
    assert sum(sample.label is not None for sample in entries) == 2


def test_without_a_selection_the_names_tell_the_frame(run: Run, index: Path, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    for name in ("train_0__train_1.png", "train_1__train_2.png"):
        cv2.imwrite(str(tmp_path / "masks" / name), half_a_chair())
    done = run("import_labels", index, "masks")
    assert done.returncode == 0, done.stderr
    table = {name: counts for name, *counts in rows(done.stdout)}
    assert table["train_0"] == table["train_1"] == ["2", "0", "1", "0", "0", "50.0%"]
    assert table["chair"] == ["2", "100.00%"]
    assert table["wall"] == ["0", "0.00%"]
    before = index.read_text()
    cv2.imwrite(str(tmp_path / "masks/train_0__train_1.png"), half_a_chair()[::-1])
    done = run("import_labels", index, "masks")
    assert (done.returncode, index.read_text()) == (1, before)
    assert "has another label already" in done.stderr
    done = run("import_labels", index, "masks", "--overwrite")
    assert done.returncode == 0, done.stderr
    assert {name: counts for name, *counts in rows(done.stdout)}["train_0"][2:5] == ["0", "1", "0"]


def test_mistakes_leave_everything_as_it_was(run: Run, index: Path, tmp_path: Path) -> None:
    before = index.read_text()
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks/train_0__train_1.png"), half_a_chair())
    cv2.imwrite(str(tmp_path / "masks/train_9__train_9.png"), half_a_chair())
    categories = [{"id": 1, "name": "chair"}]
    images = [{"id": 1, "file_name": "train_0__train_0.jpg", "width": SIZE[1], "height": SIZE[0]}]
    (tmp_path / "coco.json").write_text(json.dumps({"images": images, "categories": categories, "annotations": []}))
    for arguments, reason in {
        ("masks",): "train_9__train_9.png is of no frame",
        ("coco.json",): "coco.json knows chair, but not floor, wall",
        ("coco.json", "--some-classes"): "no frame is labelled; 1 are there without a labelled pixel",
        ("masks", "--selection", "none"): "none cannot be read as what",
    }.items():
        done = run("import_labels", index, *arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("import_labels: ") and "Traceback" not in done.stderr
        assert reason in done.stderr
        assert index.read_text() == before
        assert not list((index.parent / "label").glob("train_*"))


def test_the_status_of_the_selected_frames_and_those_without_a_label(run: Run, index: Path, tmp_path: Path) -> None:
    done = run("select_frames", index, "--budget", 4, "--output", "out")
    assert done.returncode == 0, done.stderr
    names = [frame["name"] for frame in json.loads((tmp_path / "out/selection.json").read_text())["frames"]]
    labels = LabelSet.model_validate(RECIPE["labels"])
    tasks = [task(name, "x.jpg", half_a_chair(), labels) for name in names]
    results = [each.pop("predictions")[0]["result"] for each in tasks]
    drawn = {"id": 1, "completed_by": 4, "created_at": "2026-11-02T10:00:00Z", "result": results[0]}
    other = drawn | {"id": 2, "completed_by": 7, "created_at": "2026-11-03T11:00:00Z"}
    for each, found in zip(tasks, ([drawn, other], [drawn | {"was_cancelled": True}], [], []), strict=True):
        each["annotations"] = found
    (tmp_path / "labels.json").write_text(json.dumps(tasks))
    arguments = (index, "labels.json", "--selection", "out")
    done = run("import_labels", *arguments, "--status")
    assert done.returncode == 0, done.stderr
    assert "4 selected: 1 labelled, 1 skipped, 2 untouched\n" in done.stdout
    assert [row for row in rows(done.stdout) if row[0] == names[0]] == [
        [names[0], "labelled", "4", "2026-11-02 10:00:00"],
        [names[0], "labelled", "7", "2026-11-03 11:00:00"],
    ]
    assert ["4", "1", "0", "0", "1"] in rows(done.stdout)
    done = run("import_labels", *arguments, "--annotator", "7")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"3 of the 4 selected have no label: {', '.join(names[1:])}\n")
