"""Bags become folders of pictures that training reads: pixel by pixel, whole or resumed, damaged or not."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from support.bags import (
    COLOR,
    DEPTH,
    LABEL,
    MS,
    SIZE,
    START_NS,
    Recorded,
    break_chunk,
    compressed,
    compressed_depth,
    frames,
    ids,
    image,
    jpeg,
    millimetres,
    png,
    rgb,
    stamps,
    write_bag,
)
from support.two_cameras import COLOR as COLOR_CAMERA
from support.two_cameras import (
    COLOR_FRAME,
    COLOR_TOPIC,
    DEPTH_FRAME,
    DEPTH_TO_COLOR,
    DEPTH_TOPIC,
    in_frame,
    look,
    rig_recording,
    static_transforms,
    turned,
)

from m3l_core.bags.reader import Bag, RecordedMessage, deserialize, open_bag
from m3l_core.bags.time_range import Moment, TimeRange
from m3l_core.datasets.folder import read_image, read_index, read_sample
from m3l_core.datasets.indexing import draw_validation, read_recordings, write_indexes
from m3l_core.errors import DatasetError
from m3l_core.extraction import frame_set_files
from m3l_core.extraction.extraction import Extraction, extract_bag, extract_bags
from m3l_core.extraction.frame_index import INDEX_FILE, FrameIndex
from m3l_core.extraction.label_topic import LabelSource
from m3l_core.extraction.source import SOURCE_FILE
from m3l_core.extraction.task import ExtractionSettings, ExtractionTask, prepare_extraction
from m3l_core.streaming.image_messages import decode_color, decode_depth, stamp_to_ns

TOPICS = {"color": COLOR, "depth": DEPTH}
SAMPLE = Path(str(files("m3l_core"))) / "data" / "recordings" / "rooms_a"


def task(bag: Path, output: Path, topics: Mapping[str, str] = TOPICS, **options: Any) -> ExtractionTask:
    return prepare_extraction(bag, output, topics, ExtractionSettings(**options), threads=2)


def extract(bag: Path, output: Path, topics: Mapping[str, str] = TOPICS, **options: Any) -> Extraction:
    return extract_bag(task(bag, output, topics, **options))


def labels(count: int) -> list[Recorded]:
    return [Recorded(LABEL, stamp + 70 * MS, image(ids(n), "mono8", stamp)) for n, stamp in enumerate(stamps(count))]


def stems(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.iterdir()) if folder.is_dir() else []


def written(folder: Path) -> dict[str, int]:
    """Name -> when it was written."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def pictures(folder: Path) -> dict[str, int]:
    return {name: time_ns for name, time_ns in written(folder).items() if not name.endswith((INDEX_FILE, SOURCE_FILE))}


def entries(folder: Path) -> dict[int, dict[str, Any]]:
    """Stamp -> entry of the index."""
    return {entry["stamp_ns"]: entry for entry in json.loads((folder / INDEX_FILE).read_text())}


def test_the_sample_recording_becomes_what_training_reads(tmp_path: Path) -> None:
    settings = ExtractionSettings(labels=LabelSource("/ground_truth/labels"), rate_hz=2)
    prepared = prepare_extraction(SAMPLE, tmp_path / "data", {"color": None, "depth": None}, settings)
    extraction = extract_bag(prepared)
    with open_bag(SAMPLE) as bag:
        by_topic = {
            topic: {stamp_to_ns(message.header.stamp): message for message in map(deserialize, bag.messages((topic,)))}
            for topic in (*prepared.topics.values(), "/ground_truth/labels")
        }
    assert (extraction.frame_sets, extraction.labels, extraction.written) == (20, 20, 60)
    assert not extraction.without
    # The same room again stands for a second one: an index needs two.
    shutil.copytree(tmp_path / "data/rooms_a", tmp_path / "data/rooms_b")
    recordings = read_recordings(tmp_path / "data")
    write_indexes(tmp_path / "data", recordings, draw_validation(recordings), ("color", "depth"))
    for name in ("train.json", "val.json"):
        samples = read_index(tmp_path / "data" / name)
        assert len(samples) == 20
        for sample in samples:
            stamp_ns = int(sample.images["color"].stem)
            color, depth, truth = (messages[stamp_ns] for messages in by_topic.values())
            images, label = read_sample(sample)
            assert sample.images["color"].read_bytes() == color.data.tobytes()
            np.testing.assert_array_equal(images["color"], decode_color(color))
            np.testing.assert_array_equal(images["depth"], decode_depth(depth))
            np.testing.assert_array_equal(label, truth.data.reshape(truth.height, truth.width))


@pytest.mark.parametrize("storage", list(StoragePlugin))
def test_raw_images_are_kept_pixel_by_pixel(tmp_path: Path, storage: StoragePlugin) -> None:
    bag = write_bag(tmp_path / "kitchen", frames(3) + labels(3), storage)
    extraction = extract(bag, tmp_path / "data", labels=LabelSource(LABEL))
    assert (extraction.frame_sets, extraction.labels, extraction.written, dict(extraction.dropped)) == (3, 3, 9, {})
    folder = tmp_path / "data/kitchen"
    assert {path.name for path in folder.iterdir()} == {"color", "depth", "label", INDEX_FILE, SOURCE_FILE}
    for number, stamp in enumerate(stamps(3)):
        np.testing.assert_array_equal(read_image(folder / f"color/{stamp}.png", "color"), rgb(number))
        np.testing.assert_array_equal(read_image(folder / f"depth/{stamp}.png", "depth"), millimetres(number))
        np.testing.assert_array_equal(read_image(folder / f"label/{stamp}.png", "label"), ids(number))


METRES = np.full(SIZE, 1.2345, np.float32)
METRES[0, :6] = [np.nan, np.inf, -np.inf, 0.0, -1.0, 90.0]
AS_MILLIMETRES = np.full(SIZE, 1234, np.uint16)
AS_MILLIMETRES[0, :6] = [0, 0, 0, 0, 0, 65535]


@pytest.mark.parametrize(
    ("color", "depth", "suffix", "pixels", "distances"),
    [
        (image(rgb(1), "bgr8", START_NS), image(METRES, "32FC1", START_NS), ".png", rgb(1)[..., ::-1], AS_MILLIMETRES),
        (
            compressed(jpeg(2), "rgb8; jpeg compressed bgr8", START_NS),
            compressed_depth(millimetres(2), START_NS),
            ".jpg",
            cv2.imdecode(np.frombuffer(jpeg(2), np.uint8), cv2.IMREAD_COLOR)[..., ::-1],
            millimetres(2),
        ),
        (
            compressed(png(rgb(3)), "bgr8; png compressed bgr8", START_NS),
            compressed(png(millimetres(3)), "16UC1; png compressed", START_NS),
            ".png",
            rgb(3)[..., ::-1],
            millimetres(3),
        ),
    ],
    ids=["raw", "jpeg", "png"],
)
def test_every_kind_of_message_becomes_a_file(
    tmp_path: Path, color: Any, depth: Any, suffix: str, pixels: np.ndarray, distances: np.ndarray
) -> None:
    bag = write_bag(tmp_path / "bag", [Recorded(COLOR, START_NS, color), Recorded(DEPTH, START_NS, depth)])
    extract(bag, tmp_path / "data")
    path = tmp_path / f"data/bag/color/{START_NS}{suffix}"
    np.testing.assert_array_equal(read_image(path, "color"), pixels)
    if hasattr(color, "format"):
        assert path.read_bytes() == color.data.tobytes()
    np.testing.assert_array_equal(read_image(tmp_path / f"data/bag/depth/{START_NS}.png", "depth"), distances)


def test_a_set_without_depth_has_no_file_of_it(tmp_path: Path) -> None:
    recorded = [each for each in frames(4) if (each.topic, each.time_ns) != (DEPTH, START_NS + 105 * MS)]
    extraction = extract(write_bag(tmp_path / "bag", recorded), tmp_path / "data")
    assert (extraction.frame_sets, dict(extraction.without)) == (4, {"depth": 1})
    assert stems(tmp_path / "data/bag/color") == stamps(4)
    assert stems(tmp_path / "data/bag/depth") == [stamp for stamp in stamps(4) if stamp != stamps(4)[1]]
    (recording,) = read_recordings(tmp_path / "data")
    assert [list(sample.images) for sample in recording.samples] == [["color", "depth"], ["color"]] + 2 * [
        ["color", "depth"]
    ]


def test_a_topic_that_was_not_recorded_is_missing_throughout(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", [each for each in frames(20) if each.topic == COLOR])
    extraction = extract(bag, tmp_path / "data", {"color": COLOR})
    assert (extraction.frame_sets, dict(extraction.without)) == (20, {"depth": 20})
    assert not (tmp_path / "data/bag/depth").exists()


def test_the_same_command_goes_on_and_keeps_what_is_there(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "kitchen", frames(5))
    data = tmp_path / "data"
    extract(bag, data)
    former, index = pictures(data), (data / "kitchen" / INDEX_FILE).read_bytes()
    assert extract(bag, data).written == 0
    assert pictures(data) == former
    lost = [data / f"kitchen/color/{stamps(5)[1]}.png", data / f"kitchen/depth/{stamps(5)[3]}.png"]
    for path in lost:
        path.unlink()
    assert extract(bag, data).written == 2
    again = pictures(data)
    assert all(path.is_file() for path in lost)
    assert {name for name in former if again[name] == former[name]} == {
        name for name in former if data / name not in lost
    }
    assert (data / "kitchen" / INDEX_FILE).read_bytes() == index


def test_an_interrupted_extraction_leaves_only_whole_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bag = write_bag(tmp_path / "kitchen", frames(30))
    count, encode = iter(range(100)), frame_set_files.as_png

    def interrupted(pixels: np.ndarray) -> bytes:
        if next(count) == 25:
            raise KeyboardInterrupt
        return encode(pixels)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(frame_set_files, "as_png", interrupted)
        extract(bag, tmp_path / "data")
    found = entries(tmp_path / "data/kitchen")
    assert 5 < len(found) < 20
    for path in (tmp_path / "data").rglob("*.png"):
        assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is not None
    extract(bag, tmp_path / "data")
    extract(bag, tmp_path / "whole")
    assert {name: (tmp_path / "data" / name).read_bytes() for name in written(tmp_path / "data")} == {
        name: (tmp_path / "whole" / name).read_bytes() for name in written(tmp_path / "whole")
    }


def test_a_damaged_bag_is_told_and_what_was_extracted_is_sound(tmp_path: Path) -> None:
    # 4.6 kB of noise an instant: some 220 instants to a chunk of 1 MiB.
    bag = write_bag(tmp_path / "kitchen", frames(600), compression=CompressionMode.STORAGE)
    break_chunk(bag, 1)
    extraction = extract(bag, tmp_path / "data", rate_hz=0.5)
    assert "kitchen cannot be read" in extraction.damage
    found = stems(tmp_path / "data/kitchen/color")
    assert found == stems(tmp_path / "data/kitchen/depth") == stamps(600)[: 20 * len(found) : 20]
    assert 5 < len(found) < 30
    assert sorted(entries(tmp_path / "data/kitchen")) == found
    for stamp in found:
        number = stamps(600).index(stamp)
        np.testing.assert_array_equal(read_image(tmp_path / f"data/kitchen/color/{stamp}.png", "color"), rgb(number))


def test_damage_that_labels_alone_meet_is_told_and_the_rest_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = write_bag(tmp_path / "bag", frames(5) + labels(5))
    messages = Bag.messages

    def torn(self: Bag, topics: Collection[str]) -> Iterator[RecordedMessage]:
        for number, recorded in enumerate(messages(self, topics)):
            if tuple(topics) == (LABEL,) and number == 2:
                raise DatasetError(f"{bag} cannot be read any further")
            yield recorded

    monkeypatch.setattr(Bag, "messages", torn)
    extraction = extract(bag, tmp_path / "data", labels=LabelSource(LABEL))
    assert extraction.damage == f"{bag} cannot be read any further"
    assert (extraction.frame_sets, extraction.labels) == (5, 2)
    assert stems(tmp_path / "data/bag/label") == stamps(5)[:2]
    assert ["label" in entry for entry in entries(tmp_path / "data/bag").values()] == [True] * 2 + [False] * 3


def test_a_notebook_that_the_disk_does_not_take_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: FrameIndex, entry: dict[str, Any]) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(FrameIndex, "add", full)
    with pytest.raises(DatasetError, match=r"data/bag cannot be written: database or disk is full; the same command"):
        extract(write_bag(tmp_path / "bag", frames(3)), tmp_path / "data")


@pytest.mark.parametrize("rate", [1.0, 2.0, 10 / 3, 5.0, 10.0, 50.0])
def test_a_rate_thins_evenly(tmp_path: Path, rate: float) -> None:
    extraction = extract(write_bag(tmp_path / "bag", frames(41)), tmp_path / "data", rate_hz=rate)
    step = max(1, round(10 / rate))
    assert stems(tmp_path / "data/bag/color") == stamps(41)[::step]
    assert extraction.frame_sets == len(stamps(41)[::step])


def test_labels_go_to_the_frames_of_their_stamp(tmp_path: Path) -> None:
    recorded = labels(6)
    recorded[1] = Recorded(LABEL, recorded[1].time_ns, image(ids(1), "mono8", stamps(6)[1] + 1))
    recorded[2] = Recorded(LABEL, recorded[2].time_ns, image(rgb(2), "rgb8", stamps(6)[2]))
    recorded[3] = Recorded(LABEL, recorded[3].time_ns, b"\0\1\0\0broken", "sensor_msgs/msg/Image")
    bag = write_bag(tmp_path / "bag", frames(5) + recorded)
    extraction = extract(bag, tmp_path / "data", labels=LabelSource(LABEL))
    assert stems(tmp_path / "data/bag/label") == [stamps(6)[0], stamps(6)[4]]
    assert extraction.labels == 2
    dropped = {reason.split(":")[0]: count for (modality, reason), count in extraction.dropped.items()}
    assert dropped == {
        "no frame set has its stamp": 2,
        "labels must be one of mono8, 8UC1, mono16, 16UC1, 8SC1, 16SC1, 32SC1, got 'rgb8'": 1,
        "no sensor_msgs/msg/Image": 1,
    }


def test_labels_that_someone_has_corrected_are_kept(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", frames(2) + labels(2))
    extract(bag, tmp_path / "data", labels=LabelSource(LABEL))
    corrected = tmp_path / f"data/bag/label/{START_NS}.png"
    assert cv2.imwrite(str(corrected), np.full(SIZE, 7, np.uint8))
    extract(bag, tmp_path / "data", labels=LabelSource(LABEL))
    assert np.unique(read_image(corrected, "label")).tolist() == [7]


def other_bag(tmp_path: Path, bag: Path) -> Path:
    return write_bag(tmp_path / "other" / bag.name, frames(3, first=100))


@pytest.mark.parametrize(
    ("prepare", "topics", "reason"),
    [
        (lambda tmp_path, bag: bag, {"color": COLOR}, "give the bag's folder another name, or remove"),
        (other_bag, TOPICS, "was extracted from .*other/kitchen is .*give the bag's folder another name"),
    ],
    ids=["other topics", "another bag of its name"],
)
def test_two_sources_are_not_mixed(
    tmp_path: Path, prepare: Callable[[Path, Path], Path], topics: dict[str, str], reason: str
) -> None:
    bag = write_bag(tmp_path / "kitchen", frames(3))
    extract(bag, tmp_path / "data")
    former = written(tmp_path / "data")
    with pytest.raises(DatasetError, match=reason):
        extract(prepare(tmp_path, bag), tmp_path / "data", topics)
    assert written(tmp_path / "data") == former


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("data/kitchen/mine.txt", b"mine", "holds something else"),
        (f"data/kitchen/{SOURCE_FILE}", b"\xff\xfe[", "does not say what .*kitchen holds"),
        ("data", b"a file", "cannot be written"),
    ],
)
def test_what_is_there_is_not_touched(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    bag = write_bag(tmp_path / "kitchen", frames(1))
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=reason):
        extract(bag, tmp_path / "data")
    assert path.read_bytes() == content


def test_a_bag_without_a_usable_frame_says_why(tmp_path: Path) -> None:
    black = np.zeros((*SIZE, 3), np.uint8)
    bag = write_bag(tmp_path / "dark", [Recorded(COLOR, stamp, image(black, "rgb8", stamp)) for stamp in stamps(4)])
    with pytest.raises(DatasetError, match=r"no usable frame on /camera/color/image_raw. color: 4 x black image$"):
        extract(bag, tmp_path / "data", {"color": COLOR})


def test_the_index_lists_every_frame_set(tmp_path: Path) -> None:
    recorded = [each for each in frames(4) if (each.topic, each.time_ns) != (DEPTH, START_NS + 105 * MS)]
    late = image(millimetres(9), "16UC1", stamps(4)[2] + 8 * MS)
    recorded = [
        Recorded(DEPTH, each.time_ns, late) if each.time_ns == stamps(4)[2] + 5 * MS else each for each in recorded
    ]
    extract(write_bag(tmp_path / "kitchen", recorded + labels(1)), tmp_path / "data", labels=LabelSource(LABEL))
    folder = tmp_path / "data/kitchen"
    found = entries(folder)
    assert list(found) == stamps(4)
    for stamp, entry in found.items():
        files = {name: entry[name] for name in ("color", "depth", "label") if entry.get(name)}
        assert files == {name: f"{name}/{stamp}.png" for name in files}
        assert entry["sha256"] == {
            name: hashlib.sha256((folder / file).read_bytes()).hexdigest() for name, file in files.items()
        }
        assert entry["recording"] == "kitchen"
    first, partial, shifted, _ = found.values()
    assert first["label"]
    assert first["missing"] == {}
    assert (partial["depth"], list(partial["missing"])) == (None, ["depth"])
    assert shifted["offsets_ns"] == {"color": 0, "depth": 8 * MS}
    samples = read_index(folder / INDEX_FILE)
    assert [list(sample.images) for sample in samples] == [["color", "depth"], ["color"]] + 2 * [["color", "depth"]]
    source = yaml.safe_load((folder / SOURCE_FILE).read_text())
    assert (source["bag"], source["start_ns"], source["topics"]) == ("kitchen", START_NS + 3 * MS, TOPICS)
    assert source["synchronizer"]["sync_timeout_ns"] == 50 * MS
    assert source["cameras"]["color"] == {"frame_id": "camera"}


def test_another_choice_adds_to_the_index(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "kitchen", frames(41))
    extract(bag, tmp_path / "data", rate_hz=1)
    assert sorted(entries(tmp_path / "data/kitchen")) == stamps(41)[::10]
    later = TimeRange(Moment(3950 * MS, False))
    extraction = extract(bag, tmp_path / "data", time_range=later)
    assert extraction.frame_sets == 1
    assert sorted(entries(tmp_path / "data/kitchen")) == stamps(41)[::10]
    extract(bag, tmp_path / "data", rate_hz=2)
    assert sorted(entries(tmp_path / "data/kitchen")) == stems(tmp_path / "data/kitchen/color") == stamps(41)[::5]


def test_a_folder_of_the_first_releases_goes_on(tmp_path: Path) -> None:
    """They wrote no index, and of the settings only the topics."""
    bag = write_bag(tmp_path / "kitchen", frames(3))
    extract(bag, tmp_path / "data")
    folder = tmp_path / "data/kitchen"
    whole = {name: (folder / name).read_bytes() for name in written(folder)}
    (folder / INDEX_FILE).unlink()
    (folder / f"depth/{stamps(3)[2]}.png").unlink()
    (folder / SOURCE_FILE).write_text(yaml.safe_dump({"start_ns": START_NS + 3 * MS, "topics": TOPICS}))
    assert extract(bag, tmp_path / "data").written == 1
    assert {name: (folder / name).read_bytes() for name in written(folder)} == whole


def test_a_longer_bag_of_the_same_recording_goes_on(tmp_path: Path) -> None:
    """Read while it was being written, and again when it was complete."""
    extract(write_bag(tmp_path / "a/kitchen", frames(3)), tmp_path / "data")
    extraction = extract(write_bag(tmp_path / "b/kitchen", frames(6)), tmp_path / "data")
    assert (extraction.frame_sets, extraction.written) == (6, 6)
    assert sorted(entries(tmp_path / "data/kitchen")) == stamps(6)


def test_depth_that_is_compressed_already_is_not_compressed_again(tmp_path: Path) -> None:
    content = cv2.imencode(".png", millimetres(1), (cv2.IMWRITE_PNG_COMPRESSION, 9))[1].tobytes()
    message = compressed(bytes(12) + content, "16UC1; compressedDepth png", START_NS)
    bag = write_bag(
        tmp_path / "bag",
        [Recorded(COLOR, START_NS, image(rgb(1), "rgb8", START_NS)), Recorded(DEPTH, START_NS, message)],
    )
    extract(bag, tmp_path / "data")
    assert (tmp_path / f"data/bag/depth/{START_NS}.png").read_bytes() == content


RIG = {"color": COLOR_TOPIC, "depth": DEPTH_TOPIC}


def test_depth_of_a_second_camera_is_registered(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "rig", rig_recording(3))
    extraction = extract(bag, tmp_path / "data", RIG)
    assert (extraction.registered, extraction.frame_sets, extraction.written) == (True, 3, 6)
    true_mm, what = look(COLOR_CAMERA, np.eye(4))
    for sample in read_index(tmp_path / "data/rig" / INDEX_FILE):
        images, _ = read_sample(sample)  # of one size
        error = np.abs(images["depth"] / true_mm.astype(float) - 1)
        assert np.mean(images["depth"] > 0) > 0.97
        assert np.median(error[images["depth"] > 0]) < 0.005
        assert np.mean(error[what == 2] > 0.06) < 0.05
    source = yaml.safe_load((tmp_path / "data/rig" / SOURCE_FILE).read_text())
    assert source["depth"] == "registered to color"
    np.testing.assert_allclose(source["cameras"]["depth_to_color"], DEPTH_TO_COLOR, atol=1e-12)
    with pytest.raises(DatasetError, match=r"was extracted from .*registered to color.* is .*as recorded"):
        extract(bag, tmp_path / "data", RIG, depth_as_is=True)


def test_depth_that_cannot_be_registered_is_not_written(tmp_path: Path) -> None:
    recorded = [each for each in rig_recording(3) if each.topic != "/tf_static"]
    bag = write_bag(tmp_path / "rig", recorded)
    with pytest.raises(DatasetError, match=r"align_depth\.enable:=true"):
        extract(bag, tmp_path / "data", RIG)
    assert not (tmp_path / "data").exists()
    assert extract(bag, tmp_path / "data", RIG, depth_as_is=True).frame_sets == 3
    assert read_image(tmp_path / f"data/rig/depth/{START_NS}.png", "depth").shape == (60, 80)


def test_depth_of_another_size_than_its_camera_is_missing(tmp_path: Path) -> None:
    recorded = rig_recording(14)
    depth = [number for number, each in enumerate(recorded) if each.topic == DEPTH_TOPIC]
    for number in depth[1:]:
        stamp = stamps(14)[depth.index(number)]
        message = in_frame(image(millimetres(number), "16UC1", stamp), DEPTH_FRAME)
        recorded[number] = Recorded(DEPTH_TOPIC, recorded[number].time_ns, message)
    extraction = extract(write_bag(tmp_path / "rig", recorded), tmp_path / "data", RIG)
    # The health check refuses the new size ten times; then it is what the sensor sends.
    reason = "its camera_info is of images of 80x60, it is 32x24"
    assert 0 < extraction.dropped["depth", reason] <= extraction.without["depth"] - 9
    assert entries(tmp_path / "data/rig")[stamps(14)[-1]]["missing"] == {"depth": reason}


def test_a_frame_set_without_a_file_is_none(tmp_path: Path) -> None:
    """Color is gone from the twelfth instant on, and depth has the wrong size from the second on."""
    recorded = rig_recording(30)
    depth = [number for number, each in enumerate(recorded) if each.topic == DEPTH_TOPIC]
    color = [number for number, each in enumerate(recorded) if each.topic == COLOR_TOPIC]
    for stamp, number in list(zip(stamps(30), depth, strict=True))[1:]:
        message = in_frame(image(millimetres(number), "16UC1", stamp), DEPTH_FRAME)
        recorded[number] = Recorded(DEPTH_TOPIC, recorded[number].time_ns, message)
    kept = [each for number, each in enumerate(recorded) if number not in color[12:]]
    extraction = extract(write_bag(tmp_path / "rig", kept), tmp_path / "data", RIG)
    assert sorted(entries(tmp_path / "data/rig")) == stamps(30)[:12]
    assert extraction.frame_sets == 12
    assert extraction.dropped["depth", "its camera_info is of images of 80x60, it is 32x24"] > 12


def test_a_wrong_transform_is_noticed(tmp_path: Path) -> None:
    recorded = rig_recording(2)
    away = static_transforms((COLOR_FRAME, DEPTH_FRAME, turned((0, np.pi, 0))))
    recorded[0] = Recorded("/tf_static", recorded[0].time_ns, away)
    extraction = extract(write_bag(tmp_path / "rig", recorded), tmp_path / "data", RIG)
    assert extraction.without == {"depth": 2}
    assert any("is /tf_static right?" in reason for _, reason in extraction.dropped)


def test_what_stands_still_is_kept_once(tmp_path: Path) -> None:
    """Of six instants only the fourth shows anything new."""
    recorded = []
    for stamp, seed in zip(stamps(6), (0, 0, 0, 1, 1, 1), strict=True):
        recorded.append(Recorded(COLOR, stamp, image(cv2.blur(rgb(seed), (8, 8)), "rgb8", stamp)))
        recorded.append(Recorded(DEPTH, stamp, image(millimetres(seed), "16UC1", stamp)))
    extraction = extract(write_bag(tmp_path / "bag", recorded), tmp_path / "data", stillness=0.05)
    assert stems(tmp_path / "data/bag/color") == [stamps(6)[0], stamps(6)[3]]
    assert extraction.skipped == {("frame sets", "hardly differ from the last one kept"): 4}


@pytest.mark.parametrize(
    "part",
    [
        TimeRange(Moment(15 * 1000 * MS, False), Moment(17 * 1000 * MS, False)),
        TimeRange(Moment(START_NS + 15 * 1000 * MS, True), Moment(START_NS + 17 * 1000 * MS, True)),
    ],
    ids=["offsets", "stamps"],
)
def test_a_part_is_what_the_whole_has_there(tmp_path: Path, part: TimeRange) -> None:
    recorded = frames(320)
    for number in range(120, 160):  # color freezes before the part, which is noticed after 30 images
        stamp = stamps(320)[number]
        recorded[2 * number] = Recorded(COLOR, stamp + 3 * MS, image(rgb(0), "rgb8", stamp))
    bag = write_bag(tmp_path / "bag", recorded)
    extract(bag, tmp_path / "whole")
    extraction = extract(bag, tmp_path / "part", time_range=part)
    assert stems(tmp_path / "part/bag/color") == stamps(10, first=160)
    whole = entries(tmp_path / "whole/bag")
    assert entries(tmp_path / "part/bag") == {stamp: whole[stamp] for stamp in stamps(20, first=150)}
    outside = "outside of the time range"
    assert extraction.skipped["color messages", outside] + extraction.skipped["frame sets", outside] == 300
    assert extraction.skipped["color messages", outside] == extraction.skipped["depth messages", outside] >= 98


def test_a_part_beyond_the_end_says_so(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", frames(4))
    with pytest.raises(DatasetError, match=r"no usable frame .* 4 color messages outside of the time range"):
        extract(bag, tmp_path / "data", time_range=TimeRange(Moment(60 * 1000 * MS, False)))


def test_a_recording_that_loops_is_written_once(tmp_path: Path) -> None:
    """The second time without depth: what the first time gave stays in the index, however long ago that was."""
    colors = [each for each in frames(300) if each.topic == COLOR]
    again = [Recorded(each.topic, each.time_ns + 40_000 * MS, each.message) for each in colors]
    bag = write_bag(tmp_path / "bag", frames(300) + again)
    extraction = extract(bag, tmp_path / "data", rate_hz=1)
    assert stems(tmp_path / "data/bag/color") == sorted(entries(tmp_path / "data/bag")) == stamps(300)[::10]
    assert all(entry["depth"] for entry in entries(tmp_path / "data/bag").values())
    assert extraction.written == 60
    assert extraction.skipped["frame sets", "their stamp came before"] == 300


def test_labels_of_what_was_not_kept_are_not_lost_ones(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", frames(20) + labels(20))
    extraction = extract(bag, tmp_path / "data", labels=LabelSource(LABEL), rate_hz=1)
    assert (extraction.labels, dict(extraction.dropped)) == (2, {})
    assert extraction.skipped == {("label messages", "their frame set was not kept"): 18}


def test_a_topic_that_cannot_be_chosen_is_told_of_its_bag(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", frames(1))
    with pytest.raises(DatasetError, match=rf"^{bag}: the color topic /left was not recorded"):
        task(bag, tmp_path / "data", {"color": "/left"})


def test_progress_counts_every_message_labels_included(tmp_path: Path) -> None:
    recorded = frames(4) + labels(3)
    recorded[-1] = Recorded(LABEL, recorded[-1].time_ns, b"\0\1\0\0broken", "sensor_msgs/msg/Image")
    prepared = task(write_bag(tmp_path / "bag", recorded), tmp_path / "data", labels=LabelSource(LABEL))
    advanced: list[int] = []
    (extraction,) = extract_bags([prepared], advance=advanced.append)
    assert isinstance(extraction, Extraction) and extraction.labels == 2
    assert advanced == [1] * 11
    assert prepared.messages == 11


def broken(recorded: list[Recorded], topic: str, number: int) -> list[Recorded]:
    """The first so many messages of a topic are none."""
    places = [place for place, each in enumerate(recorded) if each.topic == topic][:number]
    bad = {place: Recorded(topic, recorded[place].time_ns, b"\0\1\0\0", "sensor_msgs/msg/Image") for place in places}
    return [bad.get(place, each) for place, each in enumerate(recorded)]


def test_a_sensor_that_is_in_no_frame_set_is_told_with_its_own_reason(tmp_path: Path) -> None:
    recorded = broken(broken(frames(4), DEPTH, 4), COLOR, 1)
    extraction = extract(write_bag(tmp_path / "bag", recorded), tmp_path / "data")
    assert (extraction.frame_sets, dict(extraction.without)) == (3, {"depth": 3})
    assert extraction.unused.startswith("no depth image is in any frame set. depth: 4 x no sensor_msgs/msg/Image: ")
    assert "color" not in extraction.unused
    once = extract(write_bag(tmp_path / "once", broken(frames(4), DEPTH, 3)), tmp_path / "data")
    assert once.without["depth"] == 3 and once.unused == ""


@pytest.mark.parametrize(
    ("ahead_ms", "what", "remark"),
    [
        (-60_000, "no depth image is in any frame set", "color and depth differ by 60"),
        (33, "no frame set has both color and depth", "set it to 0.033 or more"),
    ],
)
def test_sensors_that_never_meet_are_told_and_what_to_set(
    tmp_path: Path, ahead_ms: int, what: str, remark: str
) -> None:
    recorded = [each for each in frames(40) if each.topic == COLOR]
    for number, stamp in enumerate(stamps(40)):
        depth = image(millimetres(number), "16UC1", stamp + ahead_ms * MS)
        recorded.append(Recorded(DEPTH, stamp + 45 * MS, depth))
    extraction = extract(
        write_bag(tmp_path / "bag", sorted(recorded, key=lambda each: each.time_ns)), tmp_path / "data"
    )
    assert extraction.unused == f"{what}. {'; '.join(extraction.remarks)}"
    assert remark in extraction.unused


def test_a_bag_that_is_damaged_before_its_first_frame_says_so(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "kitchen", frames(500), compression=CompressionMode.STORAGE)
    break_chunk(bag, 0)
    with pytest.raises(DatasetError, match="kitchen cannot be read"):
        extract(bag, tmp_path / "data")


def test_the_last_choice_is_told_beside_the_files(tmp_path: Path) -> None:
    later = TimeRange(Moment(100 * MS, False))
    extract(write_bag(tmp_path / "bag", frames(4)), tmp_path / "data", rate_hz=5.0, stillness=0.01, time_range=later)
    source = yaml.safe_load((tmp_path / f"data/bag/{SOURCE_FILE}").read_text())
    start = {"ns": 100 * MS, "is_stamp": False}
    assert source["last_choice"] == {"rate_hz": 5.0, "stillness": 0.01, "start": start, "end": None}


def test_what_nobody_foresaw_costs_no_other_bag(tmp_path: Path) -> None:
    bags = [write_bag(tmp_path / name, frames(2)) for name in "ab"]
    tasks = [ExtractionTask(bags[0], "a", {"color": "/none"}, 2, tmp_path / "data"), task(bags[1], tmp_path / "data")]
    wrong, right = extract_bags(tasks)
    assert isinstance(wrong, DatasetError) and isinstance(right, Extraction)
    assert str(wrong).startswith(f"{bags[0]}: Traceback") and "KeyError" in str(wrong)
    assert right.frame_sets == 2


def test_processes_write_the_same_and_a_broken_bag_stops_no_other(tmp_path: Path) -> None:
    bags = [write_bag(tmp_path / name, frames(8, first=8 * number)) for number, name in enumerate("abc")]
    (tmp_path / "b/b.mcap").write_bytes(b"no mcap")
    content, outcomes = [], []
    for jobs in (1, 2):
        output, advanced = tmp_path / f"data{jobs}", []
        tasks = [ExtractionTask(bag, bag.name, TOPICS, 16, output) for bag in bags]
        outcomes.append(list(extract_bags(tasks, jobs, advanced.append)))
        assert sum(advanced) == (32 if jobs == 1 else 0)
        content.append({name: (output / name).read_bytes() for name in written(output)})
    assert content[0] == content[1]
    assert len(content[0]) == 2 * (16 + 2)
    for first, second, third in outcomes:
        assert isinstance(second, DatasetError)
        assert str(second).startswith(f"bag {bags[1]} cannot be read: ")
        assert isinstance(first, Extraction) and isinstance(third, Extraction)
        assert (first.frame_sets, third.frame_sets) == (8, 8)
    assert outcomes[0][0] == outcomes[1][0]


def test_the_focal_length_goes_with_the_frames_into_every_index(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "rig", rig_recording())
    extract(bag, tmp_path / "data", {"color": COLOR_TOPIC, "depth": DEPTH_TOPIC})
    index = tmp_path / "data" / "rig" / INDEX_FILE
    assert {sample.fx for sample in read_index(index)} == {140.0}
    recordings = read_recordings(tmp_path / "data")
    write_indexes(tmp_path / "data", recordings, set(), ("color", "depth"))
    assert {sample.fx for sample in read_index(tmp_path / "data/train.json")} == {140.0}
    without = index.read_text().replace(', "fx": 140.0', "")
    assert without != index.read_text()
    index.write_text(without)
    extract(bag, tmp_path / "data", {"color": COLOR_TOPIC, "depth": DEPTH_TOPIC}, rate_hz=1.0)
    assert {sample.fx for sample in read_index(index)} == {140.0}  # also of frames that were not chosen again
    cameraless = write_bag(tmp_path / "hall", frames(2))
    extract(cameraless, tmp_path / "data")
    assert {sample.fx for sample in read_index(tmp_path / "data/hall" / INDEX_FILE)} == {None}


def test_images_of_two_sizes_have_no_common_focal_length(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "rig", rig_recording())
    extract(bag, tmp_path / "data", {"color": COLOR_TOPIC, "depth": DEPTH_TOPIC}, depth_as_is=True)
    assert {sample.fx for sample in read_index(tmp_path / "data" / "rig" / INDEX_FILE)} == {None}
