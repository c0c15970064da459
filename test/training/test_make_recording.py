"""A folder of frames becomes a recording that holds them pixel by pixel."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore
from support.bundles import write_onnx_bundle
from support.python_path import python_path
from support.rooms import SIZE, draw_room, write_images, write_rooms

from m3l_core.datasets.folder import read_image
from m3l_core.errors import DatasetError
from m3l_core.streaming.image_messages import decode_color, decode_depth, stamp_to_ns

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "training" / "make_recording.py"
START_NS = 1_700_000_000_000_000_000
STAMPS = [START_NS, START_NS + 100_000_001, START_NS + 999_999_999]
TOPICS = {
    "/color/image_raw/compressed": "sensor_msgs/msg/CompressedImage",
    "/depth/image_rect/compressedDepth": "sensor_msgs/msg/CompressedImage",
    "/color/camera_info": "sensor_msgs/msg/CameraInfo",
    "/ground_truth/labels": "sensor_msgs/msg/Image",
}


@pytest.fixture(scope="module")
def write_recording() -> Callable[[Path, Path], None]:
    script = runpy.run_path(str(SCRIPT))

    def write(source: Path, bag: Path) -> None:
        script["write_recording"](script["read_frames"](source), bag)

    return write


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    folder = tmp_path / "sequence"
    random = np.random.default_rng(2)
    for number in range(len(STAMPS)):
        write_images(folder, f"{number:04}", *draw_room(random))
    frames = [{"name": f"{n:04}", "stamp_ns": stamp, "fx": 80.5} for n, stamp in enumerate(STAMPS)]
    (folder / "frames.json").write_text(json.dumps(frames))
    return folder


def read(bag: Path, topics: dict[str, str] = TOPICS) -> dict[str, list[tuple[int, Any]]]:
    """Topic -> (time in the bag, message)."""
    found: dict[str, list[tuple[int, Any]]] = {}
    with AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        assert {connection.topic: connection.msgtype for connection in reader.connections} == topics
        for connection, time_ns, raw in reader.messages():
            found.setdefault(connection.topic, []).append((time_ns, reader.deserialize(raw, connection.msgtype)))
    return found


def test_nothing_is_lost_on_the_way_into_the_recording(
    sequence: Path, tmp_path: Path, write_recording: Callable[[Path, Path], None]
) -> None:
    bag = tmp_path / "bags" / "rooms_x"
    write_recording(sequence, bag)
    assert {path.name for path in bag.iterdir()} == {"metadata.yaml", "rooms_x.mcap"}
    assert list(bag.parent.iterdir()) == [bag]
    found = read(bag)
    for topic in TOPICS:
        assert [time_ns for time_ns, _ in found[topic]] == STAMPS
        assert [stamp_to_ns(message.header.stamp) for _, message in found[topic]] == STAMPS
        assert {message.header.frame_id for _, message in found[topic]} == {"camera_color_optical_frame"}
    for number in range(len(STAMPS)):
        color, depth, info, truth = (found[topic][number][1] for topic in TOPICS)
        name = f"{number:04}"
        np.testing.assert_array_equal(decode_depth(depth), read_image(sequence / f"depth/{name}.png", "depth"))
        label = read_image(sequence / f"label/{name}.png", "label")
        np.testing.assert_array_equal(truth.data.reshape(truth.height, truth.width), label)
        assert (truth.encoding, truth.step) == ("mono8", SIZE[1])
        assert bytes(color.data) == (sequence / f"color/{name}.jpg").read_bytes()
        np.testing.assert_array_equal(decode_color(color), read_image(sequence / f"color/{name}.jpg", "color"))
        assert (info.height, info.width) == SIZE
        assert info.k.reshape(3, 3).tolist() == [[80.5, 0, 47.5], [0, 80.5, 31.5], [0, 0, 1]]
        assert info.p.reshape(3, 4)[:, :3].tolist() == info.k.reshape(3, 3).tolist()


def test_a_former_recording_is_replaced(
    sequence: Path, tmp_path: Path, write_recording: Callable[[Path, Path], None]
) -> None:
    bag = tmp_path / "bag"
    write_recording(sequence, bag)
    frames = json.loads((sequence / "frames.json").read_text())
    (sequence / "frames.json").write_text(json.dumps(frames[:1]))
    write_recording(sequence, bag)
    assert {len(messages) for messages in read(bag).values()} == {1}


@pytest.mark.parametrize("missing", ["frames.json", "color/0001.jpg", "depth/0002.png", "label/0000.png"])
def test_a_missing_file_is_told_and_leaves_nothing_behind(
    sequence: Path, tmp_path: Path, write_recording: Callable[[Path, Path], None], missing: str
) -> None:
    (sequence / missing).unlink()
    with pytest.raises(DatasetError, match=missing.replace(".", r"\.")):
        write_recording(sequence, tmp_path / "bags" / "bag")
    assert not (tmp_path / "bags").exists() or not list((tmp_path / "bags").iterdir())


def test_a_broken_frame_leaves_the_former_recording(
    sequence: Path, tmp_path: Path, write_recording: Callable[[Path, Path], None]
) -> None:
    bag = tmp_path / "bag"
    write_recording(sequence, bag)
    former = {path.name: path.read_bytes() for path in bag.iterdir()}
    cv2.imwrite(str(sequence / "depth/0001.png"), np.zeros(SIZE, np.uint8))
    with pytest.raises(DatasetError, match=r"expected a depth image, found \(64, 96\) uint8"):
        write_recording(sequence, bag)
    assert {path.name: path.read_bytes() for path in bag.iterdir()} == former


def unlabelled(folder: Path, count: int = 4) -> list[dict[str, Any]]:
    """Frames of a real camera: listed as training reads them, without labels, stamps or focal length."""
    random = np.random.default_rng(3)
    entries: list[dict[str, Any]] = []
    for number in range(count):
        entry = write_images(folder, f"{number:06}", *draw_room(random))
        entries.append({"color": entry["color"], "depth": entry["depth"], "recording": "lab"})
    (folder / "frames.json").write_text(json.dumps(entries))
    return entries


def test_a_folder_without_labels_and_stamps_becomes_a_recording_of_what_it_has(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    entries = unlabelled(folder)
    entries[2]["depth"] = None
    (folder / "frames.json").write_text(json.dumps(entries))
    done = run(folder, tmp_path / "bag", "--rate", 15)
    assert done.returncode == 0, done.stderr
    color, depth = (topic for topic in TOPICS if "image" in topic)
    found = read(tmp_path / "bag", {topic: TOPICS[topic] for topic in (color, depth)})
    stamps = [START_NS + round(number * 1e9 / 15) for number in range(4)]
    assert [time_ns for time_ns, _ in found[color]] == stamps
    assert [time_ns for time_ns, _ in found[depth]] == [stamps[number] for number in (0, 1, 3)]
    for number, (_, message) in zip((0, 1, 3), found[depth], strict=True):
        assert bytes(message.data[12:]) == (folder / entries[number]["depth"]).read_bytes()
        np.testing.assert_array_equal(decode_depth(message), read_image(folder / entries[number]["depth"], "depth"))


def test_one_recording_of_an_index_with_its_own_stamps_labels_and_focal_length(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_rooms(folder, train=4)
    index = folder / "train.json"
    entries = [entry | {"stamp_ns": STAMPS[n % 2], "fx": 70.0} for n, entry in enumerate(json.loads(index.read_text()))]
    index.write_text(json.dumps(entries))
    done = run(index, tmp_path / "bag", "--recording", "train_1")
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "bag")
    assert {len(messages) for messages in found.values()} == {2}
    truth = found["/ground_truth/labels"][1][1]
    label = read_image(folder / "label/train_3.png", "label")
    np.testing.assert_array_equal(truth.data.reshape(SIZE), label)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("set/train.json", "--rate", 5), "train.json has 3 recordings, name one with --recording, such as train_0"),
        (("set/train.json", "--rate", 5, "--recording", "x"), "train.json has no recording x; some are train_0, "),
        (("lab",), "frames.json: frames without stamp_ns; --rate says how many there are in a second"),
        (("broken", "--rate", 5), "frames.json: expected a list of frames, with name, or with color, depth"),
    ],
)
def test_what_the_frames_do_not_tell_is_asked_for(tmp_path: Path, arguments: tuple[Any, ...], reason: str) -> None:
    write_rooms(tmp_path / "set")
    unlabelled(tmp_path / "lab")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/frames.json").write_text("[]")
    done = run(tmp_path / arguments[0], tmp_path / "bag", *arguments[1:])
    assert done.returncode == 1
    assert reason in done.stderr
    assert not (tmp_path / "bag").exists()


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    environment = {"PATH": "", "PYTHONPATH": python_path()}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_command_says_what_it_wrote(sequence: Path, tmp_path: Path) -> None:
    done = run(sequence, tmp_path / "bag")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'bag'}: 0.0 MB\n"


def test_the_command_tells_a_mistake_in_a_line(tmp_path: Path) -> None:
    done = run(tmp_path / "nowhere", tmp_path / "bag")
    assert done.returncode == 1
    assert done.stderr.startswith("make_recording: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "bag").exists()


def test_labels_are_brought_to_the_classes_of_a_bundle(sequence: Path, tmp_path: Path) -> None:
    bundle = write_onnx_bundle(tmp_path / "bundle")  # floor, wall, chair, clutter
    mapping = {"floor": "wall", "wall": None, "chair": "clutter"}
    (tmp_path / "recipe.yaml").write_text(json.dumps({"data": [{"class_map": mapping}]}))
    plain, mapped = tmp_path / "plain", tmp_path / "mapped"
    class_map = f"{tmp_path / 'recipe.yaml'}#data.0.class_map"
    for done in (run(sequence, plain), run(sequence, mapped, "--class-map", class_map, "--bundle", bundle)):
        assert done.returncode == 0, done.stderr
    before, after = read(plain), read(mapped)
    for (_, truth), (_, brought) in zip(before["/ground_truth/labels"], after["/ground_truth/labels"], strict=True):
        expected = np.full(256, 255, np.uint8)
        expected[[0, 2]] = 1, 3
        np.testing.assert_array_equal(brought.data, expected[truth.data])
    alone = run(sequence, tmp_path / "alone", "--class-map", class_map)
    assert alone.returncode == 2 and "go together" in alone.stderr
