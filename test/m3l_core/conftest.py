"""What the tests of the core share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from m3l_core.datasets.folder import Sample


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """What a test draws from torch is the same each time: it passes always or never."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the data sets that are not part of the repository."""
    folder = Path(os.environ.get("M3L_SHARED", Path(__file__).parents[2].parent / "shared"))
    if not folder.is_dir():
        pytest.skip("needs the data sets in ../shared (or in the folder that M3L_SHARED names)")
    return folder


@pytest.fixture(scope="session")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Sample], list[Sample]]:
    """Drawn rooms, to train on and to validate with; for reading only."""
    from support.rooms import read_rooms, write_rooms

    return read_rooms(write_rooms(tmp_path_factory.mktemp("rooms")))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny networks lose more than they gain by a second thread, and sums keep their order."""
    torch = pytest.importorskip("torch", reason="needs torch: pip install 'm3l_ros[train]'")
    former = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(former)
