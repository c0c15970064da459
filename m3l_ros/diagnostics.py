"""The node's own account of itself on /diagnostics."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from m3l_core.streaming.modality_stream import ModalityReport, ModalityState

_LEVELS = {
    ModalityState.OK: DiagnosticStatus.OK,
    ModalityState.STALE: DiagnosticStatus.WARN,
    ModalityState.LOST: DiagnosticStatus.ERROR,
}


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
    values = {
        "state": report.state.value,
        "rate [Hz]": f"{1e9 / report.period_ns:.1f}" if report.period_ns else "unknown",
        "age [s]": f"{report.age_ns / 1e9:.2f}" if report.age_ns is not None else "never seen",
        "frames in": report.received,
        "in complete sets": report.in_complete_sets,
        "in partial sets": report.in_partial_sets,
        "waiting": report.waiting,
        "served again": report.reused,
        "last reason": report.last_reason or "none",
    }
    values |= {f"dropped: {reason}": count for reason, count in sorted(report.dropped.items())}
    return _status(_LEVELS[report.state], f"{node_name}: {name}", report.state.value, values)


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
