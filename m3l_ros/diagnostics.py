"""The node's own account of itself on /diagnostics."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from m3l_core.streaming.modality_report import ModalityReport, ModalityState
from m3l_core.streaming.modality_values import LEVELS, modality_values
from m3l_ros.topic_facts import TopicFacts

_WINDOW_S = 5.0
_MANY = 0.1
"""Share of the frame sets: so many replaced ones are worth a warning."""


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


class LoadMeter:
    """Whether the engine keeps up with the frame sets, by what was counted in the last seconds.

    Args:
        steady: seconds.
    """

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self._counts: deque[tuple[float, int, int, int]] = deque()

    def overload(self, sets: int, published: int, replaced: int) -> str:
        """What to say if many sets were replaced by newer ones; to be called again and again with the counts so far."""
        now_s = self._steady()
        self._counts.append((now_s, sets, published, replaced))
        while len(self._counts) > 2 and self._counts[1][0] <= now_s - _WINDOW_S:
            self._counts.popleft()
        then_s, sets_then, published_then, replaced_then = self._counts[0]
        passed_s, came, lost = now_s - then_s, sets - sets_then, replaced - replaced_then
        if passed_s <= 0 or lost <= _MANY * came:
            return ""
        holds, comes = (published - published_then) / passed_s, came / passed_s
        return f"the engine holds {holds:.1f} frame sets a second of {comes:.1f}, newer ones replace the others"


def modality_status(node_name: str, name: str, report: ModalityReport, facts: TopicFacts) -> DiagnosticStatus:
    """State, rate, age and drops of one modality, and who publishes it."""
    level, message = LEVELS[report.state], report.state.value
    if report.state is ModalityState.LOST:
        last = report.last_reason if report.age_ns is None or report.received else ""
        why = facts.obstacle or report.remark or last or f"nothing arrives on {facts.topic}"
        message = f"{message}: {why}"
    elif report.remark:
        level, message = max(level, LEVELS[ModalityState.STALE]), f"{message}: {report.remark}"
    values = {**modality_values(report), **facts.values}
    return _status(level, f"{node_name}: {name}", message, facts.topic, values)


def pipeline_status(
    node_name: str, active: bool, lost: tuple[list[str], int], values: Mapping[str, Any], error: str, warning: str
) -> DiagnosticStatus:
    """What the node did with the frames.

    Args:
        node_name: fully qualified.
        active: whether it labels.
        lost: the modalities that are LOST, and of how many.
        values: what else there is to say.
        error: what keeps it from labelling; empty if nothing does.
        warning: what is worse than it should be; empty if nothing is.
    """
    names, number = lost
    level, message = 0, "labelling" if active else "inactive"
    if error:
        level, message = 2, error
    elif active and len(names) == number:
        level, message = 2, f"labelling nothing: {' and '.join(names)} are LOST"
    elif active and (names or warning):
        without = f" without {' and '.join(names)}" if names else ""
        level, message = 1, "; ".join(filter(None, (f"labelling{without}", warning)))
    return _status(level, f"{node_name}: segmentation", message, node_name, values)


def diagnostic_array(stamp: Any, statuses: list[DiagnosticStatus]) -> DiagnosticArray:
    """Collect statuses into one message."""
    message = DiagnosticArray(status=statuses)
    message.header.stamp = stamp
    return message


def _status(level: int, name: str, message: str, hardware_id: str, values: Mapping[str, Any]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(level=bytes([level]), name=name, message=message, hardware_id=hardware_id, values=pairs)
