"""The index of a recording: sorted, merged with the former one, and written whatever happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from m3l_core.datasets.folder import read_index
from m3l_core.errors import DatasetError
from m3l_core.extraction.frame_index import INDEX_FILE, FrameIndex, read_entries, sha256


def entry(folder: Path, stamp_ns: int, content: bytes = b"jpeg") -> dict[str, Any]:
    """An entry whose file is there."""
    (folder / "color").mkdir(parents=True, exist_ok=True)
    (folder / f"color/{stamp_ns}.jpg").write_bytes(content)
    return {
        "recording": "kitchen",
        "stamp_ns": stamp_ns,
        "color": f"color/{stamp_ns}.jpg",
        "depth": None,
        "sha256": {"color": sha256(content)},
    }


def stamps_of(folder: Path) -> list[int]:
    return [each["stamp_ns"] for each in json.loads((folder / INDEX_FILE).read_text())]


def test_entries_are_sorted_and_each_stamp_is_there_once(tmp_path: Path) -> None:
    with FrameIndex(tmp_path) as index:
        for stamp in (3, 1, 2, 1):
            index.add(entry(tmp_path, stamp))
    assert stamps_of(tmp_path) == [1, 2, 3]
    assert [each["stamp_ns"] for each in read_entries(tmp_path / INDEX_FILE)] == [1, 2, 3]
    samples = read_index(tmp_path / INDEX_FILE)
    assert [(sample.recording, list(sample.images)) for sample in samples] == [("kitchen", ["color"])] * 3
    assert samples[0].images["color"].read_bytes() == b"jpeg"


def test_what_was_there_stays_unless_its_files_are_gone(tmp_path: Path) -> None:
    with FrameIndex(tmp_path) as index:
        for stamp in (1, 2, 4):
            index.add(entry(tmp_path, stamp))
    (tmp_path / "color/2.jpg").unlink()
    with FrameIndex(tmp_path) as index:
        index.add(entry(tmp_path, 3))
        index.add(entry(tmp_path, 4, b"another"))
    assert stamps_of(tmp_path) == [1, 3, 4]
    assert json.loads((tmp_path / INDEX_FILE).read_text())[2]["sha256"] == {"color": sha256(b"another")}
    for path in (tmp_path / "color").iterdir():
        path.unlink()
    with FrameIndex(tmp_path):
        pass
    assert stamps_of(tmp_path) == []


def test_a_label_is_the_one_that_lies_there(tmp_path: Path) -> None:
    (tmp_path / "label").mkdir()
    (tmp_path / "label/1.png").write_bytes(b"ids")
    with FrameIndex(tmp_path) as index:
        index.add(entry(tmp_path, 1))
        index.add(entry(tmp_path, 2))
    first, second = json.loads((tmp_path / INDEX_FILE).read_text())
    assert (first["label"], first["sha256"]["label"]) == ("label/1.png", sha256(b"ids"))
    assert "label" not in second
    (tmp_path / "label/1.png").rename(tmp_path / "label/2.png")
    with FrameIndex(tmp_path):
        pass
    first, second = json.loads((tmp_path / INDEX_FILE).read_text())
    assert "label" not in first
    assert "label" not in first["sha256"]
    assert second["label"] == "label/2.png"


def test_an_interruption_leaves_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), FrameIndex(tmp_path) as index:
        index.add(entry(tmp_path, 1))
        raise KeyboardInterrupt
    assert stamps_of(tmp_path) == [1]


def test_frame_sets_are_met_once(tmp_path: Path) -> None:
    with FrameIndex(tmp_path) as index:
        index.add(entry(tmp_path, 2))
    with FrameIndex(tmp_path) as index:
        assert [index.meet(stamp) for stamp in (1, 2, 1)] == [True, True, False]
        assert [index.has_met(stamp) for stamp in (1, 2, 3)] == [True, True, False]
    assert stamps_of(tmp_path) == [2]


def test_nothing_has_no_index(tmp_path: Path) -> None:
    with FrameIndex(tmp_path):
        pass
    assert not (tmp_path / INDEX_FILE).exists()


@pytest.mark.parametrize("indent", [None, 1])
def test_an_index_that_was_laid_out_anew_is_the_same(tmp_path: Path, indent: int | None) -> None:
    with FrameIndex(tmp_path) as index:
        for stamp in (1, 2):
            index.add(entry(tmp_path, stamp))
    path = tmp_path / INDEX_FILE
    path.write_text(json.dumps(json.loads(path.read_text()), indent=indent))
    with FrameIndex(tmp_path) as index:
        index.add(entry(tmp_path, 3))
    assert stamps_of(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize(
    "content",
    [
        '[\n{"stamp_ns": 1,\n]\n',
        '[\n{"color": null}\n]\n',
        '[\n{"stamp_ns": 1}\n]\n',
        '[\n{"stamp_ns": 1, "sha256": 5}\n]\n',
        '[\n{"stamp_ns": "1", "sha256": {}}\n]\n',
        f'[\n{{"stamp_ns": {1 << 63}, "sha256": {{}}}}\n]\n',
        f'[\n{{"stamp_ns": {-(1 << 63) - 1}, "sha256": {{}}}}\n]\n',
        "[" * 100_000,
        '[\n{"stamp_ns": 1, "sha256": {}},\n',
        "[",
        "",
        "{}",
        "7",
        "[7]",
    ],
    ids=range(14),
)
def test_an_index_that_cannot_be_read_is_not_lost(tmp_path: Path, content: str) -> None:
    (tmp_path / INDEX_FILE).write_text(content)
    with pytest.raises(DatasetError, match="remove it, and extract the recording again"):
        FrameIndex(tmp_path)
    assert (tmp_path / INDEX_FILE).read_text() == content


def test_an_index_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"frames\.json cannot be read .*No such file"):
        list(read_entries(tmp_path / INDEX_FILE))


def test_any_stamp_of_ros_has_an_entry(tmp_path: Path) -> None:
    extremes = [-(1 << 63), 0, (1 << 63) - 1]
    for _ in range(2):
        with FrameIndex(tmp_path) as index:
            for stamp in extremes:
                index.add(entry(tmp_path, stamp))
    assert stamps_of(tmp_path) == extremes
