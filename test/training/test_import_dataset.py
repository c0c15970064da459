"""The import as users run it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support.published import write_stanford
from support.python_path import python_path

ROOT = Path(__file__).parents[2]
Import = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def import_dataset(tmp_path: Path) -> Import:
    """Run training/import_dataset.py from another folder than the repository's."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "training" / "import_dataset.py"), *map(str, arguments)]
        environment = {"PATH": "", "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_stanford(tmp_path / "2d3ds")


def test_from_a_published_set_to_indexes(import_dataset: Import, root: Path, tmp_path: Path) -> None:
    arguments = ("stanford_indoor", root, "--output", "out", "--max-side", 4, "--workers", 2)
    done = import_dataset(*arguments)
    assert done.returncode == 0, done.stderr
    assert "100%" in done.stdout
    assert "written to out; modalities and classes are in out/labels.yaml" in done.stdout
    row = next(line for line in done.stdout.splitlines() if "fold1_test.json" in line)
    assert [cell.strip() for cell in row.strip("│┃ ").split("│")] == ["fold1_test.json", "4", "4", "4", "4"]
    assert len(json.loads((tmp_path / "out/fold1_train.json").read_text())) == 4
    assert yaml.safe_load((tmp_path / "out/labels.yaml").read_text())["source"]["max_side"] == 4
    assert import_dataset(*arguments).returncode == 0


def test_a_broken_frame_ends_the_command_or_is_left_out(import_dataset: Import, root: Path, tmp_path: Path) -> None:
    next(iter(sorted(root.rglob("*_semantic.png")))).write_bytes(b"broken")
    arguments = ("stanford_indoor", root, "--output", "out", "--workers", 1)
    done = import_dataset(*arguments)
    assert done.returncode == 1
    assert "import_dataset: 1 of 8 frames cannot be imported, the first: area_1/" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").glob("*.json"))
    done = import_dataset(*arguments, "--skip-broken")
    assert done.returncode == 0, done.stderr
    assert "left out: area_1/" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("stanford_indoor", "nowhere"), "nowhere is no folder; expected one with assets/semantic_labels.json"),
        (("deliver", "2d3ds"), "2d3ds: expected {img,hha,event,lidar,semantic}/"),
        (("potsdam", "2d3ds"), "2d3ds: expected orthophotos top_potsdam_N_N_RGB.tif"),
        (("stanford_indoor", "2d3ds", "--tile", 8, "--overlap", 8), "overlap must be at least 0 and below"),
        (("stanford_indoor", "2d3ds", "--max-side", 0), "must be positive"),
    ],
)
def test_a_mistake_is_told_in_a_line_before_anything_is_written(
    import_dataset: Import, root: Path, tmp_path: Path, arguments: tuple[object, ...], reason: str
) -> None:
    done = import_dataset(*arguments, "--output", "out")
    assert done.returncode == 1
    assert done.stderr.startswith("import_dataset: ")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_names_are_told(import_dataset: Import) -> None:
    done = import_dataset("nyu", "somewhere", "--output", "out")
    assert done.returncode == 2
    for name in ("deliver", "dfc2023", "potsdam", "stanford_indoor", "sun_rgbd", "vaihingen"):
        assert name in done.stderr
