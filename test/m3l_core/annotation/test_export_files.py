"""An export is read within limits, whatever it is."""

from __future__ import annotations

import os
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from m3l_core.annotation.export_files import open_export
from m3l_core.errors import DatasetError


def test_an_archive_packed_as_no_annotations_are_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        archive.writestr("large.json", b"[" + b"[]," * 4_000_000 + b"[]]")
        archive.writestr("small.json", b"[" + b"[]," * 1000 + b"[]]")
    with open_export(path) as files:
        assert len(files.read("small.json")) == 3004
        with pytest.raises(DatasetError, match=r"large\.json has 12000004 bytes packed into"):
            files.read("large.json")


@pytest.mark.parametrize("name", ["export.zip", "export.json", "export"])
def test_what_may_go_on_for_ever_is_no_export(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DatasetError, match="is no file"), open_export(tmp_path / name):
        pass
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(DatasetError, match="is no file"), open_export(tmp_path / name):
        pass
