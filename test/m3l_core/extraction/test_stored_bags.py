"""Extraction from and to storage by URL: the files that there would be on a disk, and gone on with as there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rosbags.rosbag2 import CompressionMode
from support.bags import LABEL, break_chunk, frames, ids, png, stamps, write_bag
from support.replays import labelled_frames

from m3l_core.errors import DatasetError
from m3l_core.extraction.extraction import extract_bag
from m3l_core.extraction.label_topic import LabelSource
from m3l_core.extraction.stored_bags import StoredExtraction, bag_name, extract_stored_bag
from m3l_core.extraction.task import ExtractionSettings, prepare_extraction
from m3l_core.remote_files import Location

pytestmark = pytest.mark.needs("fsspec")
GUESSED = {"color": None, "depth": None}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def extracted(bag: Location, output: Location, settings: ExtractionSettings | None = None) -> StoredExtraction:
    outcome = extract_stored_bag(output, GUESSED, settings or ExtractionSettings(), 1, bag)
    assert not isinstance(outcome, DatasetError), outcome
    return outcome


@pytest.mark.parametrize("single_file", [False, True])
def test_storage_gets_the_files_that_a_disk_gets(tmp_path: Path, single_file: bool) -> None:
    bag = write_bag(tmp_path / "bags/kitchen", labelled_frames(5))
    path = bag / "kitchen.mcap" if single_file else bag
    settings = ExtractionSettings(LabelSource(LABEL))
    here = extract_bag(prepare_extraction(path, tmp_path / "here", GUESSED, settings))
    stored = extracted(path.as_uri(), (tmp_path / "stored").as_uri(), settings)
    assert stored.extraction == here
    assert stored.topics == {"color": "/camera/color/image_raw", "depth": "/camera/depth/image_raw"}
    assert files(tmp_path / "stored") == files(tmp_path / "here")
    assert len(files(tmp_path / "stored/kitchen")) == 3 * 5 + 2
    assert extracted(path, tmp_path / "paths", settings).extraction == here
    assert files(tmp_path / "paths") == files(tmp_path / "here")


def test_it_goes_on_with_what_is_there(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bags/kitchen", frames(5)).as_uri()
    output, folder = (tmp_path / "data").as_uri(), tmp_path / "data/kitchen"
    assert extracted(bag, output, ExtractionSettings(rate_hz=5)).extraction.written == 2 * 3
    written = {path: path.stat().st_mtime_ns for path in folder.glob("*/*")}
    label = folder / f"label/{stamps(1)[0]}.png"
    label.parent.mkdir()
    label.write_bytes(png(ids(0)))
    next((folder / "color").iterdir()).unlink()
    again = extracted(bag, output).extraction
    assert (again.frame_sets, again.written) == (5, 2 * 2 + 1)
    kept = [path for path, stamp_ns in written.items() if path.stat().st_mtime_ns == stamp_ns]
    assert len(kept) == len(written) - 1
    entries = json.loads((folder / "frames.json").read_text())
    assert [entry.get("label") for entry in entries] == [f"label/{label.name}", None, None, None, None]


def test_what_came_before_a_damage_is_kept_and_told_by_url(tmp_path: Path) -> None:
    damaged = write_bag(tmp_path / "bags/attic", frames(600), compression=CompressionMode.STORAGE)
    break_chunk(damaged, 1)
    extraction = extracted(damaged.as_uri(), (tmp_path / "data").as_uri(), ExtractionSettings(rate_hz=1)).extraction
    assert extraction.damage.startswith(f"bag {damaged.as_uri()} cannot be read: ")
    assert extraction.frame_sets == len(list((tmp_path / "data/attic/color").iterdir())) > 5


def test_a_bag_of_no_use_gives_its_reason(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bags/cellar", [], empty=["/other"]).as_uri()
    outcome = extract_stored_bag((tmp_path / "data").as_uri(), GUESSED, ExtractionSettings(), 1, bag)
    assert isinstance(outcome, DatasetError)
    assert str(outcome).startswith(f"{bag}: ")
    assert not (tmp_path / "data").exists()


def test_another_bag_of_that_name_is_refused(tmp_path: Path) -> None:
    output = (tmp_path / "data").as_uri()
    extracted(write_bag(tmp_path / "a/hall", frames(3)).as_uri(), output)
    before = files(tmp_path / "data")
    other = write_bag(tmp_path / "b/hall", frames(3, first=50)).as_uri()
    outcome = extract_stored_bag(output, GUESSED, ExtractionSettings(), 1, other)
    assert isinstance(outcome, DatasetError)
    assert str(outcome).startswith(f"{output}/hall was extracted from ")
    assert f"bag {other} is {{'start_ns'" in str(outcome)
    assert files(tmp_path / "data") == before


@pytest.mark.parametrize(
    ("bag", "name"),
    [
        ("s3://bucket/bags/hall", "hall"),
        ("s3://bucket/bags/hall_2026.11.22", "hall_2026.11.22"),
        ("s3://bucket/bags/hall/hall_0.mcap", "hall_0"),
        (Path("/nowhere/hall.bag"), "hall"),
    ],
)
def test_names_are_those_of_folders_and_files(bag: Location, name: str) -> None:
    assert bag_name(bag) == name


def test_a_folder_that_is_there_has_the_name_of_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hall.bag").mkdir()
    (tmp_path / "newest").symlink_to("hall.bag")
    monkeypatch.chdir(tmp_path / "hall.bag")
    for path in (Path("."), tmp_path / "hall.bag", tmp_path / "newest"):
        assert bag_name(path) == "hall.bag"
