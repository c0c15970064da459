"""A folder that cannot be written to is told before the work, and again if it fails after it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from safetensors import SafetensorError

from m3l_core.errors import DatasetError, M3LError
from m3l_core.reporting.output_folder import probe_folder, writing_to


def test_a_folder_is_made_and_left_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "new"
    for _ in range(2):
        probe_folder(folder)
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["file", "file/below", "/proc"])
def test_a_place_for_no_file_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(M3LError, match=f"{re.escape(name)} cannot be written"):
        probe_folder(tmp_path / name)


@pytest.mark.parametrize("error", [OSError("no space left"), SafetensorError("no space left")])
def test_what_the_disk_refuses_is_told_with_what_is_safe(error: Exception) -> None:
    told = r"^runs cannot be written \(no space left\); all is saved$"
    with pytest.raises(M3LError, match=told), writing_to(Path("runs"), "; all is saved"):
        raise error


def test_other_errors_pass() -> None:
    with pytest.raises(DatasetError, match=r"^no image$"), writing_to(Path("runs")):
        raise DatasetError("no image")
