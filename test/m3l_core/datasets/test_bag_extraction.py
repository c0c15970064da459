"""Bags become folders of pictures that training reads: pixel by pixel, whole or resumed, damaged or not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
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

from m3l_core.datasets import bag_extraction
from m3l_core.datasets.bag_extraction import SOURCE_FILE, Extraction, _thinned, extract_bag
from m3l_core.datasets.bag_reader import deserialize, open_bag
from m3l_core.datasets.bag_topics import choose_topics
from m3l_core.datasets.folder import read_image, read_index, read_sample
from m3l_core.datasets.indexing import draw_validation, read_recordings, write_indexes
from m3l_core.errors import DatasetError
from m3l_core.frames import Frame, FrameSet
from m3l_core.streaming.image_messages import decode_color, decode_depth, stamp_to_ns

TOPICS = {"color": COLOR, "depth": DEPTH}
SAMPLE = Path(str(files("m3l_core"))) / "data" / "recordings" / "rooms_a"


def extract(bag: Path, output: Path, topics: dict[str, str] = TOPICS, **options: Any) -> Extraction:
    with open_bag(bag) as opened:
        return extract_bag(opened, output, topics, **options)


def labels(count: int) -> list[Recorded]:
    return [Recorded(LABEL, stamp + 70 * MS, image(ids(n), "mono8", stamp)) for n, stamp in enumerate(stamps(count))]


def stems(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.iterdir()) if folder.is_dir() else []


def written(folder: Path) -> dict[str, int]:
    """Name -> when it was written."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_the_sample_recording_becomes_what_training_reads(tmp_path: Path) -> None:
    with open_bag(SAMPLE) as bag:
        topics = choose_topics(bag.topics, {"color": None, "depth": None})
        extraction = extract_bag(bag, tmp_path / "data", topics, label_topic="/ground_truth/labels", rate_hz=2)
        by_topic = {
            topic: {stamp_to_ns(message.header.stamp): message for message in map(deserialize, bag.messages((topic,)))}
            for topic in (*topics.values(), "/ground_truth/labels")
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
    extraction = extract(bag, tmp_path / "data", label_topic=LABEL)
    assert (extraction.frame_sets, extraction.labels, extraction.written, dict(extraction.dropped)) == (3, 3, 9, {})
    folder = tmp_path / "data/kitchen"
    assert {path.name for path in folder.iterdir()} == {"color", "depth", "label", SOURCE_FILE}
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
    former = written(data)
    assert extract(bag, data).written == 0
    assert written(data) == former
    lost = [data / f"kitchen/color/{stamps(5)[1]}.png", data / f"kitchen/depth/{stamps(5)[3]}.png"]
    for path in lost:
        path.unlink()
    assert extract(bag, data).written == 2
    again = written(data)
    assert all(path.is_file() for path in lost)
    assert {name for name in former if again[name] == former[name]} == {
        name for name in former if data / name not in lost
    }


def test_an_interrupted_extraction_leaves_only_whole_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bag = write_bag(tmp_path / "kitchen", frames(5))
    count, encode = iter(range(100)), bag_extraction._as_png

    def interrupted(pixels: np.ndarray) -> bytes:
        if next(count) == 5:
            raise KeyboardInterrupt
        return encode(pixels)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(bag_extraction, "_as_png", interrupted)
        extract(bag, tmp_path / "data")
    assert stems(tmp_path / "data/kitchen/color") == stamps(3)
    assert stems(tmp_path / "data/kitchen/depth") == stamps(2)
    extract(bag, tmp_path / "data")
    extract(bag, tmp_path / "whole")
    assert {name: (tmp_path / "data" / name).read_bytes() for name in written(tmp_path / "data")} == {
        name: (tmp_path / "whole" / name).read_bytes() for name in written(tmp_path / "whole")
    }


def test_a_damaged_bag_is_told_and_what_was_extracted_is_sound(tmp_path: Path) -> None:
    # 4.6 kB of noise an instant: some 220 instants to a chunk of 1 MiB.
    bag = write_bag(tmp_path / "kitchen", frames(600), compression=CompressionMode.STORAGE)
    break_chunk(bag, 1)
    with pytest.raises(DatasetError, match="kitchen cannot be read"):
        extract(bag, tmp_path / "data", rate_hz=0.5)
    found = stems(tmp_path / "data/kitchen/color")
    assert found == stems(tmp_path / "data/kitchen/depth") == stamps(600)[: 20 * len(found) : 20]
    assert 5 < len(found) < 30
    for stamp in found:
        number = stamps(600).index(stamp)
        np.testing.assert_array_equal(read_image(tmp_path / f"data/kitchen/color/{stamp}.png", "color"), rgb(number))


@pytest.mark.parametrize("rate", [1.0, 2.0, 10 / 3, 5.0, 10.0, 50.0])
def test_a_rate_thins_evenly(tmp_path: Path, rate: float) -> None:
    extraction = extract(write_bag(tmp_path / "bag", frames(41)), tmp_path / "data", rate_hz=rate)
    step = max(1, round(10 / rate))
    assert stems(tmp_path / "data/bag/color") == stamps(41)[::step]
    assert extraction.frame_sets == len(stamps(41)[::step])


def sets(stamps_ns: list[int]) -> list[FrameSet]:
    return [FrameSet("color", {"color": Frame("color", stamp, None)}) for stamp in stamps_ns]


@given(st.floats(1.0, 60.0), st.floats(0.05, 1.0), st.lists(st.floats(-0.2, 0.2), min_size=2, max_size=200))
def test_jitter_costs_no_frame(camera_hz: float, share: float, jitter: list[float]) -> None:
    source_ns = 1e9 / camera_hz
    stamps_ns = [START_NS + round((number + shift) * source_ns) for number, shift in enumerate(jitter)]
    kept = [each.reference_frame.stamp_ns for each in _thinned(sets(stamps_ns), camera_hz * share)]
    assert kept[0] == stamps_ns[0]
    expected = (stamps_ns[-1] - stamps_ns[0]) / source_ns * share
    assert abs(len(kept) - 1 - expected) <= 1.7
    gaps = np.diff(kept) / source_ns
    assert np.all(np.abs(gaps - 1 / share) <= 1.7)


def test_no_rate_keeps_all_and_a_new_timeline_begins_at_once() -> None:
    again = stamps(20) * 2
    assert len(list(_thinned(sets(again), None))) == 40
    assert [each.reference_frame.stamp_ns for each in _thinned(sets(again), 1.0)] == stamps(20)[::10] * 2


def test_labels_go_to_the_frames_of_their_stamp(tmp_path: Path) -> None:
    recorded = labels(6)
    recorded[1] = Recorded(LABEL, recorded[1].time_ns, image(ids(1), "mono8", stamps(6)[1] + 1))
    recorded[2] = Recorded(LABEL, recorded[2].time_ns, image(rgb(2), "rgb8", stamps(6)[2]))
    recorded[3] = Recorded(LABEL, recorded[3].time_ns, b"\0\1\0\0broken", "sensor_msgs/msg/Image")
    bag = write_bag(tmp_path / "bag", frames(5) + recorded)
    extraction = extract(bag, tmp_path / "data", label_topic=LABEL)
    assert stems(tmp_path / "data/bag/label") == [stamps(6)[0], stamps(6)[4]]
    assert extraction.labels == 2
    dropped = {reason.split(":")[0]: count for (modality, reason), count in extraction.dropped.items()}
    assert dropped == {
        "no frame set has its stamp": 2,
        "labels must be mono8 or 8UC1, got 'rgb8'": 1,
        "no sensor_msgs/msg/Image": 1,
    }


def test_labels_that_someone_has_corrected_are_kept(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", frames(2) + labels(2))
    extract(bag, tmp_path / "data", label_topic=LABEL)
    corrected = tmp_path / f"data/bag/label/{START_NS}.png"
    assert cv2.imwrite(str(corrected), np.full(SIZE, 7, np.uint8))
    extract(bag, tmp_path / "data", label_topic=LABEL)
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
