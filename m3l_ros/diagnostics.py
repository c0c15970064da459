"""The node's own account of itself on /diagnostics."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from m3l_core.streaming.modality_stream import ModalityReport
from m3l_core.streaming.modality_values import LEVELS, modality_values


class LatencyMeter:
    """Percentiles over the last few hundred frames; any thread may add."""

    def __init__(self, size: int = 300) -> None:
        self._milliseconds: deque[float] = deque(maxlen=size)
        self._lock = threading.Lock()

    def add(self, milliseconds: float) -> None:
        with self._lock:
            self._milliseconds.append(milliseconds)

    def percentiles(self) -> dict[str, float]:
        """``p50``, ``p95`` and ``p99`` in milliseconds; empty before the first frame."""
        with self._lock:
            values = list(self._milliseconds)
        if not values:
            return {}
        return {f"p{rank}": float(np.percentile(values, rank)) for rank in (50, 95, 99)}


def modality_status(node_name: str, name: str, report: ModalityReport) -> DiagnosticStatus:
    """State, rate, age and drops of one modality."""
    level = bytes([LEVELS[report.state]])
    return _status(level, f"{node_name}: {name}", report.state.value, modality_values(report))


def pipeline_status(node_name: str, active: bool, values: Mapping[str, Any], problem: str) -> DiagnosticStatus:
    """What the node did with the frames."""
    if problem:
        return _status(DiagnosticStatus.ERROR, f"{node_name}: segmentation", problem, values)
    message = "labelling" if active else "inactive"
    return _status(DiagnosticStatus.OK, f"{node_name}: segmentation", message, values)


def diagnostic_array(stamp: Any, statuses: list[DiagnosticStatus]) -> DiagnosticArray:
    """Collect statuses into one message."""
    message = DiagnosticArray(status=statuses)
    message.header.stamp = stamp
    return message


def _status(level: bytes, name: str, message: str, values: Mapping[str, Any]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=message, hardware_id="m3l_ros", values=pairs)
