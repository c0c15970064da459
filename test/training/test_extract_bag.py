"""The extraction of bags as users run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.bags import COLOR, DEPTH, LABEL, MS, Recorded, frames, ids, image, millimetres, stamps, write_bag

ROOT = Path(__file__).parents[2]


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run training/extract_bag.py from another folder than the repository's."""
    command = [sys.executable, str(ROOT / "training" / "extract_bag.py"), *map(str, arguments)]
    environment = {"PATH": "", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def rows(output: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if "│" in line]


@pytest.fixture
def bags(tmp_path: Path) -> Path:
    folder = tmp_path / "bags"
    labels = [Recorded(LABEL, stamp + 50 * MS, image(ids(0), "mono8", stamp)) for stamp in stamps(4)]
    write_bag(
        folder / "hall", [each for each in frames(4) if (each.topic, each.time_ns) != (DEPTH, stamps(4)[1] + 5 * MS)]
    )
    write_bag(folder / "kitchen", frames(4) + labels)
    return folder


def test_from_bags_to_folders(bags: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "bags/hall", "bags/kitchen", "--output", "data")
    assert done.returncode == 0, done.stderr
    assert f"hall: color {COLOR} (guessed), depth {DEPTH} (guessed)\n" in done.stdout
    assert "100%" in done.stdout
    assert rows(done.stdout) == [["hall", "4", "0", "1", "0", "7"], ["kitchen", "4", "0", "0", "0", "8"]]
    done = run(tmp_path, "bags/kitchen/", "--output", "data", "--depth", DEPTH, "--rate", 5, "--label", LABEL)
    assert done.returncode == 0, done.stderr
    assert f"kitchen: color {COLOR} (guessed), depth {DEPTH}\n" in done.stdout
    assert rows(done.stdout) == [["kitchen", "2", "0", "0", "4", "4"]]
    assert len(list((tmp_path / "data/kitchen/label").iterdir())) == 4


def test_a_broken_bag_does_not_keep_the_others_back(bags: Path, tmp_path: Path) -> None:
    (bags / "hall/metadata.yaml").unlink()
    done = run(tmp_path, "bags/hall", "bags/none", "bags/kitchen", "--output", "data", "--depth", "none")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 2
    assert "extract_bag: bags/hall has no metadata.yaml" in done.stderr
    assert "extract_bag: bag bags/none cannot be read" in done.stderr
    assert rows(done.stdout) == [["kitchen", "4", "0", "4", "0", "4"]]
    assert not (tmp_path / "data/hall").exists()


def test_a_topic_that_is_not_there_lists_those_that_are(bags: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "bags/kitchen", "--output", "data", "--color", "/left")
    assert done.returncode == 1
    assert done.stderr == (
        "extract_bag: bags/kitchen: the color topic /left was not recorded; image topics in the bag: "
        f"{COLOR} (4 messages), {DEPTH} (4 messages), {LABEL} (4 messages)\n"
    )
    assert not (tmp_path / "data").exists()


def test_dropped_messages_are_told_with_their_reason(tmp_path: Path) -> None:
    recorded = frames(6)
    recorded[2] = Recorded(COLOR, recorded[2].time_ns, b"\0\1\0\0", "sensor_msgs/msg/Image")
    done = run(tmp_path, write_bag(tmp_path / "bag", recorded), "--output", "data")
    assert done.returncode == 0, done.stderr
    assert "bag: 1 color messages dropped: no sensor_msgs/msg/Image: " in done.stdout
    assert "bag: 1 depth messages dropped: superseded" in done.stdout


def test_waits_and_windows_are_those_of_the_node(tmp_path: Path) -> None:
    depth = [Recorded(DEPTH, stamp + 80 * MS, image(millimetres(0), "16UC1", stamp + 30 * MS)) for stamp in stamps(6)]
    bag = write_bag(tmp_path / "bag", [each for each in frames(6) if each.topic == COLOR] + depth)
    done = run(tmp_path, bag, "--output", "default")
    # The last depth frame gives a set of its own, once color is given up.
    assert rows(done.stdout) == [["bag", "7", "1", "6", "0", "7"]]
    done = run(tmp_path, bag, "--output", "wide", "--max-interval", 0.04, "--sync-timeout", 0.09)
    assert rows(done.stdout) == [["bag", "6", "0", "0", "0", "12"]]


@pytest.mark.parametrize("rate", ["0", "often"])
def test_a_rate_is_a_positive_number(tmp_path: Path, rate: str) -> None:
    done = run(tmp_path, "bag", "--output", "data", "--rate", rate)
    assert done.returncode == 2
    assert "--rate" in done.stderr.splitlines()[-1]
