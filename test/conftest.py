"""What several test folders share. Helpers lie in test/support, imported as ``support``: ``test`` is Python's own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# At the end: test/m3l_core and test/m3l_ros must not come before the packages they test.
sys.path.append(str(Path(__file__).parent))


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a tiny random network for color and depth; for reading only."""
    pytest.importorskip("torch", reason="needs torch: pip install 'm3l_ros[train]'")
    from support.bundles import write_bundle

    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
