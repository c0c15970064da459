"""What /diagnostics says of a modality."""

from __future__ import annotations

from m3l_core.streaming.modality_report import ModalityReport, ModalityState
from m3l_core.streaming.modality_values import LEVELS, modality_values


def test_rate_age_and_drops_are_told() -> None:
    report = ModalityReport(
        state=ModalityState.OK,
        age_ns=20_000_000,
        period_ns=33_333_333,
        rate_hz=29.97,
        stale_after_ns=100_000_000,
        lost_after_ns=500_000_000,
        received=9,
        in_complete_sets=5,
        in_partial_sets=1,
        dropped={"late": 2, "duplicate": 1},
        waiting=1,
        reused=3,
        last_reason="",
        remark="depth's stamps never meet color's",
    )
    assert modality_values(report) == {
        "state": "OK",
        "remark": "depth's stamps never meet color's",
        "rate [Hz]": "29.97",
        "period of the stamps [s]": "0.033333",
        "age [s]": "0.02",
        "STALE after [s]": "0.100",
        "LOST after [s]": "0.500",
        "frames in": "9",
        "in complete sets": "5",
        "in partial sets": "1",
        "waiting": "1",
        "served again": "3",
        "last reason": "none",
        "dropped: duplicate": "1",
        "dropped: late": "2",
    }


def test_what_is_not_known_yet_is_said_so() -> None:
    report = ModalityReport(ModalityState.LOST, None, None, 0.0, None, 5 * 10**8, 0, 0, 0, {}, 0, 0, "black image")
    values = modality_values(report)
    assert (values["rate [Hz]"], values["age [s]"], values["last reason"]) == ("0.00", "never seen", "black image")
    assert (values["period of the stamps [s]"], values["STALE after [s]"]) == ("unknown", "never")
    assert values["remark"] == "none"


def test_times_of_years_are_told_to_the_digit() -> None:
    years = 17 * 10**17
    values = modality_values(
        ModalityReport(ModalityState.OK, years, years, 0.0, years, years, 0, 0, 0, {}, 0, 0, "", "")
    )
    assert values["period of the stamps [s]"] == "1700000000.000000"
    assert values["age [s]"] == "1700000000.00"
    assert values["STALE after [s]"] == values["LOST after [s]"] == "1700000000.000"


def test_every_state_has_a_level() -> None:
    assert [LEVELS[state] for state in ModalityState] == [0, 1, 2]
