"""Checkpoints from strangers hold tensors by name and no more than their bytes, and nothing in them is run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch

from m3l_core.errors import BundleError
from m3l_core.model.tensor_files import read_tensors

pytestmark = [pytest.mark.needs("torch")]


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._folder),)


def test_tensors_come_back(tmp_path: Path) -> None:
    torch.save({"model": {"module.a": torch.ones(2)}}, tmp_path / "a.pt")
    assert read_tensors(tmp_path / "a.pt")["a"].tolist() == [1, 1]


@pytest.mark.parametrize(
    "content",
    [b"# A page\n\nof text, and no weights", b"", b"PK\x03\x04 and no more", pickle.dumps({"a": 1}, protocol=4)],
)
def test_what_is_no_checkpoint_is_told_in_a_line_of_ours(
    tmp_path: Path, content: bytes, recwarn: pytest.WarningsRecorder
) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(BundleError) as refused:
        read_tensors(tmp_path / "a.pt")
    text = str(refused.value)
    assert f"its {len(content)} bytes, which begin with {content[:16]!r}" in text
    assert "expected a .safetensors file, or tensors by name and nothing else" in text
    assert "\n" not in text and "weights_only" not in text and "issue" not in text
    assert not recwarn.list


@pytest.mark.parametrize("content", [{1: torch.ones(1)}, {"a": [1]}, [torch.ones(1)]])
def test_what_is_no_dict_of_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(BundleError, match="expected a dict of tensors"):
        read_tensors(tmp_path / "a.pt")


def test_nothing_is_run(tmp_path: Path) -> None:
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Payload(tmp_path / "made")))
    torch.save({"a": Payload(tmp_path / "made")}, tmp_path / "zip.pt")
    for name in ("plain.pt", "zip.pt"):
        with pytest.raises(BundleError, match="cannot be read as a checkpoint of tensors") as refused:
            read_tensors(tmp_path / name)
        assert "weights_only" not in str(refused.value)
    assert not (tmp_path / "made").exists()


def test_what_is_packed_is_not_unpacked(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "a.pt", "w", ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))
    with pytest.raises(BundleError, match="in it is packed, which torch does not do"):
        read_tensors(tmp_path / "a.pt")
