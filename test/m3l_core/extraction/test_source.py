"""What a folder was made from: told, and never mixed with anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from m3l_core.errors import DatasetError
from m3l_core.extraction.source import SOURCE_FILE, begin

BAG = Path("bags/kitchen")
LABELS = {"topic": "/labels"}
SOURCE: dict[str, Any] = {
    "start_ns": 5,
    "topics": {"color": "/color"},
    "stamps": "header",
    "synchronizer": {"sync_timeout_ns": 50},
    "depth": "as recorded",
}


def told(folder: Path) -> Any:
    return yaml.safe_load((folder / SOURCE_FILE).read_text())


@pytest.mark.parametrize("there", [True, False])
def test_an_empty_folder_is_begun(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "kitchen" if not there else tmp_path
    begin(folder, SOURCE, BAG)
    assert told(folder) == SOURCE
    assert list(told(folder)) == list(SOURCE)


def test_the_same_source_goes_on_and_what_does_not_make_the_files_may_change(tmp_path: Path) -> None:
    begin(tmp_path, SOURCE | {"last_choice": {"rate_hz": 1}}, BAG)
    (tmp_path / "color").mkdir()
    begin(tmp_path, SOURCE | {"last_choice": {"rate_hz": 2}}, BAG)
    assert told(tmp_path) == SOURCE | {"last_choice": {"rate_hz": 2}}


@pytest.mark.parametrize(
    ("key", "other"),
    [
        ("start_ns", 6),
        ("topics", {"color": "/left"}),
        ("stamps", "receive"),
        ("synchronizer", {"sync_timeout_ns": 90}),
        ("depth", "registered to color"),
    ],
)
def test_what_differs_is_told_alone(tmp_path: Path, key: str, other: Any) -> None:
    begin(tmp_path, SOURCE, BAG)
    with pytest.raises(DatasetError) as refused:
        begin(tmp_path, SOURCE | {key: other}, BAG)
    assert f"was extracted from { ({key: SOURCE[key]}) }, bag {BAG} is { ({key: other}) }: give" in str(refused.value)
    assert told(tmp_path) == SOURCE


def test_the_first_releases_took_stamps_of_headers_and_registered_nothing(tmp_path: Path) -> None:
    first = {"start_ns": 5, "topics": {"color": "/color"}}
    (tmp_path / SOURCE_FILE).write_text(yaml.safe_dump(first))
    for key, other in (("stamps", "receive"), ("depth", "registered to color")):
        with pytest.raises(DatasetError, match=f"was extracted from {{'{key}': '{SOURCE[key]}'}}"):
            begin(tmp_path, SOURCE | {key: other}, BAG)
    begin(tmp_path, SOURCE | {"synchronizer": {"sync_timeout_ns": 90}}, BAG)


@pytest.mark.parametrize("content", ["[", "5", "", "- a list"])
def test_a_source_that_cannot_be_read_is_kept(tmp_path: Path, content: str) -> None:
    (tmp_path / SOURCE_FILE).write_text(content)
    with pytest.raises(DatasetError, match=rf"source\.yaml does not say what {tmp_path} holds .*: remove"):
        begin(tmp_path, SOURCE, BAG)
    assert (tmp_path / SOURCE_FILE).read_text() == content


def test_where_labels_come_from_stays_told_and_may_change_as_long_as_there_are_none(tmp_path: Path) -> None:
    begin(tmp_path, SOURCE | {"labels": LABELS}, BAG)
    begin(tmp_path, SOURCE, BAG)
    assert told(tmp_path)["labels"] == LABELS
    begin(tmp_path, SOURCE | {"labels": {"topic": "/sam"}}, BAG)
    assert told(tmp_path)["labels"] == {"topic": "/sam"}
    (tmp_path / "label").mkdir()
    (tmp_path / "label/5.png").write_bytes(b"png")
    begin(tmp_path, SOURCE | {"labels": {"topic": "/sam"}}, BAG)
    begin(tmp_path, SOURCE, BAG)
    with pytest.raises(
        DatasetError, match=r"extracted from \{'labels': \{'topic': '/sam'\}\}, .* is \{'labels': .*/lab"
    ):
        begin(tmp_path, SOURCE | {"labels": LABELS}, BAG)


def test_labels_of_somebody_else_may_lie_where_the_first_are_extracted(tmp_path: Path) -> None:
    begin(tmp_path, SOURCE, BAG)
    (tmp_path / "label").mkdir()
    (tmp_path / "label/5.png").write_bytes(b"png")
    begin(tmp_path, SOURCE | {"labels": LABELS}, BAG)
    assert told(tmp_path)["labels"] == LABELS
