"""The extraction of bags as users run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import CompressionMode
from support.bags import (
    COLOR,
    DEPTH,
    LABEL,
    MS,
    SIZE,
    START_NS,
    Recorded,
    break_chunk,
    frames,
    ids,
    image,
    label_info,
    millimetres,
    rgb,
    stamps,
    write_bag,
)
from support.python_path import python_path
from support.two_cameras import rig_recording

from m3l_core.datasets.folder import Teacher, read_index, read_sample

ROOT = Path(__file__).parents[2]


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run training/extract_bag.py from another folder than the repository's."""
    command = [sys.executable, str(ROOT / "training" / "extract_bag.py"), *map(str, arguments)]
    environment = {"PATH": "", "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
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
    for file in (bags / "hall").iterdir():
        file.unlink()
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


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--stillness", "1.5"),
        ("--start", "soon"),
        ("--jobs", "0"),
        ("--rate", "1e-300"),
        ("--max-interval", "nan"),
        ("--sync-timeout", "1e-10"),
        ("--sync-timeout", "1e300"),
    ],
)
def test_what_an_argument_cannot_be_is_told(tmp_path: Path, option: str, value: str) -> None:
    done = run(tmp_path, "bag", "--output", "data", option, value)
    assert done.returncode == 2
    assert option in done.stderr.splitlines()[-1]


def test_processes_write_what_one_process_writes(bags: Path, tmp_path: Path) -> None:
    done = [run(tmp_path, "bags/hall", "bags/kitchen", "--output", f"data{jobs}", "--jobs", jobs) for jobs in (1, 2)]
    assert [each.returncode for each in done] == [0, 0]
    assert rows(done[0].stdout) == rows(done[1].stdout)
    one, two = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "data1", tmp_path / "data2")
    )
    assert one == two
    assert len(one) == 7 + 8 + 2 * 2


def test_what_is_in_storage_is_extracted_to_storage(bags: Path, tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="needs fsspec: pip install 'm3l_ros[fleet]'")
    stored = [f"{bags.as_uri()}/{name}" for name in ("none", "hall", "kitchen/", "kitchen/kitchen.mcap")]
    done = run(tmp_path, *stored, "--output", f"{tmp_path.as_uri()}/stored", "--jobs", 2)
    assert done.returncode == 1
    folder = f"{tmp_path.as_uri()}/stored/kitchen"
    assert done.stderr.splitlines() == [
        f"extract_bag: {stored[3]} and {stored[2][:-1]} would both become {folder}: rename one",
        f"extract_bag: {stored[0]} cannot be copied to this machine: there is nothing",
    ]
    assert f"hall: color {COLOR} (guessed), depth {DEPTH} (guessed)\n" in done.stdout
    here = run(tmp_path, "bags/hall", "bags/kitchen", "--output", "here")
    assert rows(done.stdout) == rows(here.stdout)
    of_storage, of_disk = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "stored", tmp_path / "here")
    )
    assert of_storage == of_disk


def test_two_bags_of_one_name_are_not_mixed(bags: Path, tmp_path: Path) -> None:
    write_bag(tmp_path / "more/hall", frames(2, first=50))
    done = run(tmp_path, "bags/hall", "more/hall", "--output", "data")
    assert done.returncode == 1
    assert done.stderr == "extract_bag: more/hall and bags/hall would both become data/hall: rename one\n"
    assert rows(done.stdout) == [["hall", "4", "0", "1", "0", "7"]]


def test_what_came_before_a_damage_is_told_as_well(bags: Path, tmp_path: Path) -> None:
    damaged = write_bag(tmp_path / "attic", frames(600), compression=CompressionMode.STORAGE)
    break_chunk(damaged, 1)
    done = run(tmp_path, damaged, "bags/kitchen", "--output", "data", "--rate", 1, "--jobs", 1)
    assert done.returncode == 1
    assert "attic cannot be read" in done.stderr
    assert done.stderr.endswith("; what came before is extracted\n")
    attic, kitchen = rows(done.stdout)
    assert (attic[0], int(attic[1]) > 5) == ("attic", True)
    assert kitchen[:2] == ["kitchen", "1"]


def test_a_full_disk_loses_nothing(bags: Path, tmp_path: Path) -> None:
    """No file may be larger than 2 kB: the pictures, noise of 32x24 pixels, are not, their index is."""
    command = f"ulimit -f 2; exec {sys.executable} {ROOT / 'training/extract_bag.py'} bags/kitchen --output data"
    environment = {"PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "data/kitchen cannot be written: " in done.stderr
    assert done.stderr.endswith("; the same command goes on from here\n")
    assert not [path for path in (tmp_path / "data").rglob("*") if path.name.endswith(".part")]
    done = run(tmp_path, "bags/kitchen", "--output", "data")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "data/kitchen").glob("*/*.png"))) == 8


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", frames(300))
    done = run(tmp_path, bag, "--output", "data", "--start", 14, "--end", 14.5, "--stillness", 1)
    assert done.returncode == 0, done.stderr
    assert "bag: 95 color messages skipped: outside of the time range\n" in done.stdout
    assert "bag: 200 frame sets skipped: outside of the time range\n" in done.stdout
    assert "bag: 4 frame sets skipped: hardly differ from the last one kept\n" in done.stdout
    assert rows(done.stdout) == [["bag", "1", "0", "0", "0", "2"]]


def test_two_cameras_are_registered_or_the_driver_is_to_change(tmp_path: Path) -> None:
    recorded = rig_recording(3)
    write_bag(tmp_path / "rig", recorded)
    write_bag(tmp_path / "lone", [each for each in recorded if each.topic != "/tf_static"])
    done = run(tmp_path, "lone", "rig", "--output", "data", "--jobs", 1)
    assert done.returncode == 1
    assert done.stderr.startswith("extract_bag: lone: depth on /rig/depth/image_raw (frame 'rig_depth_optical_frame'")
    assert "rig: depth was registered to color\n" in done.stdout
    assert rows(done.stdout) == [["rig", "3", "0", "0", "0", "6"]]
    done = run(tmp_path, "lone", "--output", "data", "--depth-as-is")
    assert done.returncode == 0, done.stderr
    assert rows(done.stdout) == [["lone", "3", "0", "0", "0", "6"]]


def recorded_at(period_ms: int, count: int, depth_late_ms: int = 5, depth_ahead_ms: int = 0) -> list[Recorded]:
    """Color and depth of one rhythm."""
    begin = stamps(1)[0]
    messages = []
    for number in range(count):
        stamp = begin + number * period_ms * MS
        messages.append(Recorded(COLOR, stamp, image(rgb(number), "rgb8", stamp)))
        depth = image(millimetres(number), "16UC1", stamp + depth_ahead_ms * MS)
        messages.append(Recorded(DEPTH, stamp + depth_late_ms * MS, depth))
    return sorted(messages, key=lambda each: each.time_ns)


@pytest.mark.parametrize("period_ms", [500, 1000, 10_000])
def test_a_slow_recording_loses_one_image_of_a_sensor_at_most(tmp_path: Path, period_ms: int) -> None:
    write_bag(tmp_path / "slow", recorded_at(period_ms, 20))
    done = run(tmp_path, "slow", "--output", "data")
    assert done.returncode == 0, done.stderr
    assert [len(list((tmp_path / "data/slow" / name).iterdir())) >= 19 for name in ("color", "depth")] == [True, True]
    done = run(tmp_path, "slow", "--output", "patient", "--sensor-timeout", 60)
    assert [len(list((tmp_path / "patient/slow" / name).iterdir())) for name in ("color", "depth")] == [20, 20]


def test_a_sensor_in_no_frame_set_is_a_failure_that_says_what_to_set(tmp_path: Path) -> None:
    write_bag(tmp_path / "hall", recorded_at(100, 40, depth_ahead_ms=-60_000))
    done = run(tmp_path, "hall", "--output", "data")
    assert done.returncode == 1
    assert "hall: no depth image is in any frame set. color and depth differ by 60.0" in done.stderr
    assert "--stamp-offset depth=60.0" in done.stderr and "stamp_offset.depth" not in done.stderr
    done = run(tmp_path, "hall", "--output", "shifted", "--stamp-offset", "depth=60")
    assert (done.returncode, rows(done.stdout)) == (0, [["hall", "40", "0", "0", "0", "80"]]), done.stderr
    done = run(tmp_path, "hall", "--output", "received", "--stamps", "receive")
    assert (done.returncode, rows(done.stdout)) == (0, [["hall", "40", "0", "0", "0", "80"]]), done.stderr
    done = run(tmp_path, "hall", "--output", "received")
    assert done.returncode == 1 and "'stamps': 'receive'" in done.stderr, "another extraction is in that folder"


def test_free_running_sensors_are_told_of_the_interval(tmp_path: Path) -> None:
    write_bag(tmp_path / "hall", recorded_at(66, 60, depth_late_ms=40, depth_ahead_ms=33))
    done = run(tmp_path, "hall", "--output", "data")
    assert done.returncode == 1
    assert "hall: no frame set has both color and depth. depth's stamps" in done.stderr
    assert "--max-interval is 0.020 s" in done.stderr and "set it to 0.033 or more" in done.stderr
    done = run(tmp_path, "hall", "--output", "wide", "--max-interval", 0.034)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("offset", ["depth", "depth=soon", "thermal=1", "=1"])
def test_an_offset_names_a_sensor_and_seconds(tmp_path: Path, offset: str) -> None:
    done = run(tmp_path, "hall", "--output", "data", "--stamp-offset", offset)
    assert done.returncode == 2
    assert f"expected color=SECONDS or depth=SECONDS, got '{offset}'" in done.stderr


def test_labels_need_the_stamps_of_the_headers(tmp_path: Path) -> None:
    done = run(tmp_path, "hall", "--output", "data", "--label", LABEL, "--stamps", "receive")
    assert done.returncode == 2 and "--stamps must be header" in done.stderr


def test_a_teacher_s_labels_become_yours(tmp_path: Path) -> None:
    """With other ids and words than the bundle that learns from them."""
    taught = np.resize(np.array([0, 1, 4], np.uint8), SIZE)
    recorded = [Recorded("/sam/label_info", START_NS, label_info({1: "carpet", 4: "man"})), *frames(2)]
    recorded += [Recorded("/sam/label_mask", stamp + 50 * MS, image(taught, "mono8", stamp)) for stamp in stamps(2)]
    write_bag(tmp_path / "kitchen", recorded)
    (tmp_path / "data").mkdir()
    classes = {"classes": [{"name": name, "color": [1, 2, number]} for number, name in enumerate(("person", "floor"))]}
    (tmp_path / "data/labels.yaml").write_text(yaml.safe_dump({"labels": classes}))
    (tmp_path / "sam.yaml").write_text("carpet: floor\nman: person\n")
    options = ("--label", "/sam/label_mask", "--nothing", 0, "--teacher", "SAM 3", "--teacher-licence", "SAM License")
    done = run(tmp_path, "kitchen", "--output", "data", *options)
    assert done.returncode == 1
    assert "it labels carpet, man; the classes are person, floor: say by --class-map" in done.stderr
    done = run(tmp_path, "kitchen", "--output", "data", *options, "--class-map", "sam.yaml")
    assert done.returncode == 0, done.stderr
    assert "kitchen: labels: 0 nothing, 1 floor, 4 person, 255 nothing\n" in done.stdout
    (sample, _) = read_index(tmp_path / "data/kitchen/frames.json")
    _, label = read_sample(sample, num_classes=2)
    np.testing.assert_array_equal(label, np.resize(np.array([255, 1, 0], np.uint8), SIZE))
    assert sample.teacher == Teacher("SAM 3", "SAM License")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--nothing", "0"), "argument --nothing: there are no labels without --label"),
        (("--label", LABEL, "--teacher", "SAM 3"), "--teacher and --teacher-licence: expected both, or none"),
    ],
)
def test_options_of_labels_belong_together(tmp_path: Path, options: tuple[str, ...], reason: str) -> None:
    done = run(tmp_path, "hall", "--output", "data", *options)
    assert done.returncode == 2 and reason in done.stderr
