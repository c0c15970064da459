"""The node's diagnostics are read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3l_core.streaming.modality_report import Drop, ModalityReport, ModalityState
from m3l_core.streaming.modality_values import modality_values
from m3l_ros.live_replay.accounts import Accounts, report_of
from m3l_ros.node_client import NodeStatus

pytestmark = pytest.mark.needs("rclpy")
NUMBER = st.integers(0, 10**6)
REPORTS = st.builds(
    ModalityReport,
    st.sampled_from(ModalityState),
    st.none() | st.integers(0, 10**12),
    st.none() | st.integers(10**6, 10**10),
    st.floats(0, 1000),
    st.none() | st.integers(10**6, 10**10),
    st.integers(10**6, 10**10),
    NUMBER,
    NUMBER,
    NUMBER,
    st.dictionaries(st.sampled_from([drop.value for drop in Drop]), NUMBER),
    NUMBER,
    NUMBER,
    st.sampled_from(["", "black image"]),
    st.sampled_from(["", "depth's stamps never meet color's"]),
)


@given(REPORTS)
def test_a_report_is_what_its_diagnostics_were_made_of(report: ModalityReport) -> None:
    found = report_of(NodeStatus("", modality_values(report)))
    assert modality_values(found).keys() == modality_values(report).keys()
    for name in ("state", "received", "in_complete_sets", "in_partial_sets", "dropped", "waiting", "reused"):
        assert getattr(found, name) == getattr(report, name)
    assert found.last_reason == report.last_reason
    assert (found.age_ns is None) == (report.age_ns is None)
    assert abs((found.age_ns or 0) - (report.age_ns or 0)) <= 5_000_000
    assert found.remark == report.remark
    assert found.rate_hz == pytest.approx(report.rate_hz, abs=0.006)
    for name, step_ns in (("period_ns", 1000), ("stale_after_ns", 10**6), ("lost_after_ns", 10**6)):
        assert (getattr(found, name) is None) == (getattr(report, name) is None)
        assert (getattr(found, name) or 0) == pytest.approx(getattr(report, name) or 0, abs=step_ns)


def diagnostics(received: int, complete: int, partial: int, published: int, **dropped: int) -> dict[str, NodeStatus]:
    times = {"age_ns": 0, "period_ns": 10**8, "rate_hz": 10.0, "stale_after_ns": 3 * 10**8, "lost_after_ns": 5 * 10**8}
    report = ModalityReport(
        state=ModalityState.OK,
        **times,
        received=received,
        in_complete_sets=complete,
        in_partial_sets=partial - 1,
        dropped=dropped,
        waiting=1,
        reused=0,
        last_reason="",
    )
    whole = {
        "bundle": "tiny",
        "sets complete": str(complete),
        "sets partial": str(partial),
        "sets replaced by newer ones": "1",
        "sets published": str(published),
        "errors": "0",
    }
    return {"color": NodeStatus("OK", modality_values(report)), "segmentation": NodeStatus("labelling", whole)}


def test_what_was_before_does_not_count() -> None:
    before, after = diagnostics(10, 5, 2, 5, late=2), diagnostics(30, 20, 5, 23, late=3, duplicate=1)
    accounts = Accounts(before, after)
    assert (accounts.num_sets, accounts.num_unsettled(), accounts.num_waiting()) == (18, 0, 1)
    counts = accounts.modality("color", recorded=25, arrived=22, unreadable=4)
    assert (counts.recorded, counts.arrived, counts.in_complete_sets, counts.in_partial_sets) == (25, 22, 15, 3)
    assert counts.missing == 0
    assert counts.dropped == {
        "late": 1,
        "duplicate": 1,
        "not a message of its type": 4,
        "lost on the way to the node": 2,
    }


def test_without_what_was_before_everything_counts() -> None:
    accounts = Accounts({}, diagnostics(10, 5, 3, 5, late=2))
    assert (accounts.num_sets, accounts.num_unsettled()) == (8, 2)
    counts = accounts.modality("color", recorded=10, arrived=10, unreadable=0)
    assert counts.missing == 1
    assert counts.dropped == {"late": 2, "still waiting at the end": 1}
