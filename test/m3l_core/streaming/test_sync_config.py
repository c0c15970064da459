"""The waits and windows: their limits, and that the package's defaults are the node's."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict
from pathlib import Path

import pytest
import yaml

from m3l_core.streaming.sensor_health import HealthThresholds
from m3l_core.streaming.sync_config import SyncConfig

PARAMETERS = yaml.safe_load((Path(__file__).parents[3] / "config" / "segment.yaml").read_text())["/**"][
    "ros__parameters"
]


def test_the_defaults_are_the_node_s() -> None:
    assert asdict(HealthThresholds()) == PARAMETERS["health"]
    waits = asdict(SyncConfig())
    assert waits.pop("stamp_offsets_ns") == {}
    assert waits.pop("queue_size") == PARAMETERS["sync_queue_size"]
    assert waits == {name: PARAMETERS[name.removesuffix("_ns")] * 1e9 for name in waits}


@pytest.mark.parametrize("name", ["sync_timeout_ns", "sensor_timeout_ns", "reset_interval_ns", "queue_size"])
def test_what_must_be_positive(name: str) -> None:
    assert getattr(SyncConfig(**{name: 1}), name) == 1
    for value in (0, -1):
        with pytest.raises(ValueError, match=f"{name} must be positive, got {value}"):
            SyncConfig(**{name: value})


@pytest.mark.parametrize("name", ["approx_sync_max_interval_ns", "reuse_interval_ns"])
def test_what_may_be_zero(name: str) -> None:
    assert getattr(SyncConfig(**{name: 0}), name) == 0
    with pytest.raises(ValueError, match=f"{name} must not be negative, got -1"):
        SyncConfig(**{name: -1})


def test_a_config_is_replaced_and_not_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        SyncConfig().queue_size = 3  # type: ignore[misc]
