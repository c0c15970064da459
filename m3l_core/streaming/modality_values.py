"""What /diagnostics says of a modality."""

from __future__ import annotations

from m3l_core.streaming.modality_report import ModalityReport, ModalityState

LEVELS = {ModalityState.OK: 0, ModalityState.STALE: 1, ModalityState.LOST: 2}
"""OK, WARN and ERROR of diagnostic_msgs/DiagnosticStatus."""


def modality_values(report: ModalityReport) -> dict[str, str]:
    """State, rate, age, drops, and what keeps its frames from being used."""
    stale_after_ns, period_ns = report.stale_after_ns, report.period_ns
    values = {
        "state": report.state.value,
        "remark": report.remark or "none",
        "rate [Hz]": f"{report.rate_hz:.2f}",
        "period of the stamps [s]": f"{period_ns / 1e9:.6f}" if period_ns is not None else "unknown",
        "age [s]": f"{report.age_ns / 1e9:.2f}" if report.age_ns is not None else "never seen",
        "STALE after [s]": f"{stale_after_ns / 1e9:.3f}" if stale_after_ns is not None else "never",
        "LOST after [s]": f"{report.lost_after_ns / 1e9:.3f}",
        "frames in": report.received,
        "in complete sets": report.in_complete_sets,
        "in partial sets": report.in_partial_sets,
        "waiting": report.waiting,
        "served again": report.reused,
        "last reason": report.last_reason or "none",
    }
    values |= {f"dropped: {reason}": count for reason, count in sorted(report.dropped.items())}
    return {name: str(value) for name, value in values.items()}
