"""What /diagnostics says of a modality."""

from __future__ import annotations

from m3l_core.streaming.modality_stream import ModalityReport, ModalityState
from m3l_core.streaming.modality_values import LEVELS, modality_values


def test_rate_age_and_drops_are_told() -> None:
    report = ModalityReport(ModalityState.OK, 20_000_000, 33_333_333, 9, 5, 1, {"late": 2, "duplicate": 1}, 1, 3, "")
    assert modality_values(report) == {
        "state": "OK",
        "rate [Hz]": "30.0",
        "age [s]": "0.02",
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
    values = modality_values(ModalityReport(ModalityState.LOST, None, None, 0, 0, 0, {}, 0, 0, "black image"))
    assert (values["rate [Hz]"], values["age [s]"], values["last reason"]) == ("unknown", "never seen", "black image")


def test_every_state_has_a_level() -> None:
    assert [LEVELS[state] for state in ModalityState] == [0, 1, 2]
