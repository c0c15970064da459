"""Fixtures for tests with real nodes over real DDS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def only_on_this_machine() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        yield


@pytest.fixture(scope="session")
def tiny_bundle(onnx_bundle: Path) -> Path:
    """Robots have no torch, so these tests need none."""
    return onnx_bundle
