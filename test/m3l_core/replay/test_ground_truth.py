"""Ground truth in folders, lists and topics; what does not fit is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import CompressionMode
from support.bags import LABEL, START_NS, Recorded, break_chunk, ids, image, png, rgb, stamps, write_bag
from support.recordings import write_sequence

from m3l_core.bags.reader import open_bag
from m3l_core.errors import DatasetError
from m3l_core.extraction.frame_index import FrameIndex
from m3l_core.replay.ground_truth import check_label_files, find_label_files, read_label_topic
from m3l_core.replay.label_images import LabelStore


@pytest.mark.parametrize("place", [".", "label", "kitchen", "kitchen/label"])
def test_files_named_after_stamps_are_found(tmp_path: Path, place: str) -> None:
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    for stamp in stamps(3):
        (folder / f"{stamp}.png").write_bytes(png(ids(0)))
    (folder / "notes.png").write_bytes(b"")
    assert sorted(find_label_files(tmp_path, "kitchen").files) == stamps(3)


def test_the_recording_s_own_folder_comes_first(tmp_path: Path) -> None:
    for name in ("kitchen/label", "label"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / f"{START_NS}.png").write_bytes(png(ids(0)))
    (file,) = find_label_files(tmp_path, "kitchen").files.values()
    assert file == tmp_path / "kitchen" / "label" / f"{START_NS}.png"


@pytest.mark.parametrize("name", ["frames.json", "."])
def test_a_list_of_frames_names_the_stamps(tmp_path: Path, name: str) -> None:
    labels = find_label_files(write_sequence(tmp_path / "a", 3) / name, "rooms_a")
    assert [file.name for file in labels.files.values()] == ["0000.png", "0001.png", "0002.png"]
    check_label_files(labels, 13)


@pytest.mark.parametrize("place", [".", "kitchen", "kitchen/frames.json"])
def test_an_extracted_recording_lists_its_labels(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "kitchen"
    for name in ("color", "label"):
        (folder / name).mkdir(parents=True)
    first, second = stamps(2)
    (folder / f"color/{first}.jpg").write_bytes(b"jpeg")

    def index() -> None:
        with FrameIndex(folder) as frames:
            for stamp in (first, second):
                frames.add({"stamp_ns": stamp, "color": f"color/{first}.jpg", "depth": None, "sha256": {}})

    index()
    with pytest.raises(DatasetError, match="lists 2 frames, none of them labelled"):
        find_label_files(tmp_path / place, "kitchen")
    (folder / f"label/{second}.png").write_bytes(png(ids(0)))
    index()
    assert find_label_files(tmp_path / place, "kitchen").files == {second: folder / f"label/{second}.png"}


def test_a_list_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    folder = write_sequence(tmp_path / "a", 3)
    (folder / "label" / "0001.png").unlink()
    with pytest.raises(DatasetError, match=r"lists 1 frames without a label image, the first is .*0001\.png"):
        find_label_files(folder, "a")
    for content, why in (("[]", "lists no frames"), ("{", "no list of frames"), ('[{"name": "0"}]', "stamp_ns")):
        (folder / "frames.json").write_text(content)
        with pytest.raises(DatasetError, match=why):
            find_label_files(folder, "a")
    for entries in ([{"name": "0000", "stamp_ns": "soon"}], ["0000"], {"0000": 1}):
        (folder / "frames.json").write_text(json.dumps(entries))
        with pytest.raises(DatasetError, match="no list of frames"):
            find_label_files(folder, "a")


def test_a_folder_without_labels_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"has no labels of kitchen: expected STAMP_NS\.png"):
        find_label_files(tmp_path, "kitchen")
    with pytest.raises(DatasetError, match="nowhere has no labels"):
        find_label_files(tmp_path / "nowhere", "kitchen")


def test_files_are_checked_before_the_work(tmp_path: Path) -> None:
    file = tmp_path / f"{START_NS}.png"
    file.write_bytes(png(np.array([[0, 12, 255]], np.uint8)))
    check_label_files(find_label_files(tmp_path, "kitchen"), 13)
    with pytest.raises(DatasetError, match=r"png: class id 12, but the bundle has 4 classes: expected 0 to 3, and 255"):
        check_label_files(find_label_files(tmp_path, "kitchen"), 4)
    file.write_bytes(png(rgb(0)))
    with pytest.raises(DatasetError, match="expected a label image"):
        check_label_files(find_label_files(tmp_path, "kitchen"), 13)


def read(path: Path, num_classes: int = 13, stamped: str = "header") -> LabelStore:
    store = LabelStore()
    with open_bag(path) as bag:
        read_label_topic(bag, LABEL, "receive" if stamped == "receive" else "header", num_classes, store)
    return store


def test_a_topic_is_read_by_the_stamps_that_count(tmp_path: Path) -> None:
    recorded = [Recorded(LABEL, stamp + 9, image(ids(stamp % 7), "mono8", stamp)) for stamp in stamps(4)]
    path = write_bag(tmp_path / "kitchen", recorded)
    for stamp in stamps(4):
        for stamped, shift in (("header", 0), ("receive", 9)):
            found = read(path, stamped=stamped).nearest(stamp + shift, 0)
            assert found is not None
            np.testing.assert_array_equal(found.ids, ids(stamp % 7))


def test_a_topic_that_holds_no_labels_is_told(tmp_path: Path) -> None:
    for name, message, why in (
        ("color", image(rgb(0), "rgb8", START_NS), "labels must be one of mono8, .*, got 'rgb8'"),
        ("classes", image(np.full((2, 2), 40, np.uint8), "mono8", START_NS), f"stamp {START_NS}: class id 40"),
    ):
        with pytest.raises(DatasetError, match=f"{name}, topic /labels.*{why}"):
            read(write_bag(tmp_path / name, [Recorded(LABEL, START_NS, message)]))


def test_of_a_damaged_bag_the_labels_before_the_damage_are_read(tmp_path: Path) -> None:
    big = np.zeros((1000, 1800), np.uint8)  # more than a chunk holds
    labels = [Recorded(LABEL, stamp, image(big, "mono8", stamp)) for stamp in stamps(4)]
    path = write_bag(tmp_path / "kitchen", labels, compression=CompressionMode.STORAGE)
    break_chunk(path, 2)
    assert len(read(path)) == 2
