"""Frames of an index and of a folder, and labels that are entered into both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.rooms import SIZE, draw_room, write_images

from m3l_core.annotation.frame_list import enter_labels, file_hash, read_frames, root_of, stamps
from m3l_core.annotation.frame_names import picture
from m3l_core.datasets.folder import Sample
from m3l_core.errors import DatasetError

MODALITIES = ("color", "depth")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two extracted recordings, one of them with the list that extraction leaves; the first frame is labelled."""
    random = np.random.default_rng(0)
    for recording, stamp_ns in (("hall", 1_000), ("hall", 2_000), ("yard", 3_000)):
        write_images(tmp_path / recording, str(stamp_ns), *draw_room(random))
        if stamp_ns > 1_000:
            (tmp_path / recording / f"label/{stamp_ns}.png").unlink()
    entries = [
        {
            "color": f"color/{stamp_ns}.jpg",
            "depth": None,
            "recording": "hall",
            "stamp_ns": stamp_ns,
            "sha256": {"color": "0123"},
        }
        for stamp_ns in (1_000, 2_000)
    ]
    (tmp_path / "hall/frames.json").write_text(json.dumps(entries))
    return tmp_path


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def write_label(data: Path, sample: Sample) -> dict[Path, Path]:
    path = data / sample.recording / f"label/{picture(sample).stem}.png"
    cv2.imwrite(str(path), np.zeros(SIZE, np.uint8))
    return {picture(sample): path}


def test_a_folder_and_an_index_have_frames(data: Path) -> None:
    frames = read_frames(data, MODALITIES)
    assert [(sample.recording, picture(sample).stem, sample.label is None) for sample in frames] == [
        ("hall", "1000", False),
        ("hall", "2000", True),
        ("yard", "3000", True),
    ]
    assert stamps(data, frames) == [1_000, 2_000, 3_000]
    index = data / "hall/frames.json"
    assert [picture(sample) for sample in read_frames(index, MODALITIES)] == [picture(sample) for sample in frames[:2]]
    assert (root_of(data), root_of(index)) == (data, data / "hall")


def test_stamps_are_told_by_the_index_or_by_the_name_of_the_image(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(json.dumps([{"stamp_ns": 5}, {}, {}]))
    samples = [Sample({"color": Path(f"color/{stem}.jpg")}, None, "a") for stem in ("1", "1700000000000000000", "x")]
    assert stamps(tmp_path / "index.json", samples) == [5, 1700000000000000000, None]


def test_labels_are_entered_into_the_lists_of_the_recordings(data: Path) -> None:
    before = read(data / "hall/frames.json")
    frames = read_frames(data, MODALITIES)
    labels = write_label(data, frames[1]) | write_label(data, frames[2])
    enter_labels(data, labels)
    first, second = read(data / "hall/frames.json")
    assert first == before[0]
    assert second.pop("label") == "label/2000.png"
    assert second["sha256"].pop("label") == file_hash(data / "hall/label/2000.png")
    assert second == before[1]
    # One entry a line, as extraction reads it again.
    lines = (data / "hall/frames.json").read_text().splitlines()
    assert [line[0] for line in lines] == ["[", "{", "{", "]"]
    assert not (data / "yard/frames.json").exists()


def test_an_index_without_one_of_the_frames_stays(data: Path) -> None:
    content = (data / "hall/frames.json").read_bytes()
    enter_labels(data, write_label(data, read_frames(data, MODALITIES)[2]))
    assert (data / "hall/frames.json").read_bytes() == content


@pytest.mark.parametrize("content", ["{}", "[1]", "[", "\0"])
def test_what_is_no_index_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(DatasetError, match=r"index\.json"):
        enter_labels(tmp_path / "index.json", {})
    with pytest.raises(DatasetError, match="cannot be read"):
        file_hash(tmp_path / "none.jpg")
