"""How long the synchronizer waits, and how far apart stamps may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SyncConfig:
    """Waits and windows, all in nanoseconds. ROS parameters of the same names are in seconds."""

    approx_sync_max_interval_ns: int = 20_000_000
    """Largest distance between the stamps of a set and of a frame in it."""
    sync_timeout_ns: int = 50_000_000
    """Longest wait of a reference frame for the others."""
    sensor_timeout_ns: int = 500_000_000
    """A modality without a healthy frame for so long is LOST."""
    reuse_interval_ns: int = 0
    """A modality's last used frame may serve further sets up to this distance; 0 = each frame serves once."""
    reset_interval_ns: int = 1_000_000_000
    """Stamps that jump back by more begin a new timeline."""
    queue_size: int = 50
    """Frames that may wait per modality: enough for ``sensor_timeout_ns``, or some are lost before another leads."""
    stamp_offsets_ns: Mapping[str, int] = field(default_factory=dict)
    """Modality -> what to add to its stamps, for a known shift between clocks."""

    def __post_init__(self) -> None:
        for name in ("sync_timeout_ns", "sensor_timeout_ns", "reset_interval_ns", "queue_size"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("approx_sync_max_interval_ns", "reuse_interval_ns"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
