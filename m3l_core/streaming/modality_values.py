"""What /diagnostics says of a modality."""

from __future__ import annotations

from m3l_core.streaming.modality_stream import ModalityReport, ModalityState

LEVELS = {ModalityState.OK: 0, ModalityState.STALE: 1, ModalityState.LOST: 2}
"""OK, WARN and ERROR of diagnostic_msgs/DiagnosticStatus."""


def modality_values(report: ModalityReport) -> dict[str, str]:
    """State, rate, age and drops."""
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
    return {name: str(value) for name, value in values.items()}
