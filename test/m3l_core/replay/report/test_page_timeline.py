"""A timeline shows each state where and as long as it was."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3l_core.replay.report.page_timeline import TimelineRow, timeline, timeline_legend

WIDTH = 838
STATES = ("OK", "STALE", "LOST")
CHANGES = st.lists(st.tuples(st.floats(0, 60), st.sampled_from(STATES)), min_size=1, max_size=40).map(
    lambda changes: [[0.0, "STALE"], *map(list, sorted(changes))]
)


def run(changes: list[list[Any]], length_s: float, gaps: tuple[tuple[float, float], ...] = (), further: int = 0) -> Any:
    lengths_s = dict.fromkeys(STATES, 0.0)
    for (start_s, state), (end_s, _) in zip(changes, [*changes[1:], [length_s, ""]], strict=True):
        lengths_s[state] += end_s - start_s
    return {
        "length_s": length_s,
        "gaps": list(map(list, gaps)),
        "states": {"color": {"changes": changes, "further_changes": further}},
        "measures": {
            "modalities": {"color": {"states_s": {state: length for state, length in lengths_s.items() if length}}},
            "delivery": {"rate_hz": 9.96, "longest_gap_s": 0.5},
        },
    }


def spans(drawn: str) -> list[tuple[list[tuple[str, float, float]], list[str]]]:
    """Of each lane: state, start and length of what is drawn, from left to right; then its texts."""
    svg = ElementTree.fromstring(f"<main>{drawn}</main>").find("div/svg[@class='spans']")
    assert svg is not None
    lanes = []
    for group in svg.findall("g"):
        found = [
            (path.attrib["class"].removeprefix("span "), float(start), float(length))
            for path in group.findall("path")
            for start, length in re.findall(r"M(\S+) 0h([^M]+)", path.attrib["d"])
        ]
        lanes.append((sorted(found, key=lambda span: span[1]), [text.text or "" for text in group.findall("text")]))
    return lanes


def test_states_and_gaps_lie_where_they_were() -> None:
    changes = [[0.0, "OK"], [2.0, "STALE"], [3.0, "LOST"], [5.0, "OK"]]
    drawn = timeline([TimelineRow("<a>", "b & c", run(changes, 10.0, ((6.0, 8.5),)))])
    (color, _), (labels, texts) = spans(drawn)
    expected = [("ok", 0, 0.2), ("stale", 0.2, 0.1), ("lost", 0.3, 0.2), ("ok", 0.5, 0.5)]
    assert color == [
        (state, pytest.approx(at * WIDTH, abs=1), pytest.approx(w * WIDTH, abs=1)) for state, at, w in expected
    ]
    assert [(css, round(start / WIDTH, 2), round(length / WIDTH, 2)) for css, start, length in labels] == [
        ("labels", 0, 0.6),
        ("gap", 0.6, 0.25),
        ("labels", 0.85, 0.15),
    ]
    assert texts == ["2.50 s"]
    words = list(ElementTree.fromstring(f"<main>{drawn}</main>").itertext())
    assert "<a>" in words
    assert "OK 70%, STALE 10%, LOST 20%" in words
    assert "10.0 Hz, longest gap 0.500 s" in words
    assert "no labels from 6.000 to 8.500 s, 2.500 s" in words


@given(CHANGES)
def test_a_lane_is_covered_once_and_no_loss_is_too_short_to_be_seen(changes: list[list[Any]]) -> None:
    (color, _), _ = spans(timeline([TimelineRow("a", "", run(changes, 61.0))]))
    ends = [0.0]
    for _, start, length in color:
        assert start == ends[-1]
        ends.append(start + length)
    assert ends[-1] == WIDTH
    lengths = {state: sum(length for css, _, length in color if css == state.lower()) for state in STATES}
    for (start_s, state), (end_s, _) in zip(changes, [*changes[1:], [61.0, ""]], strict=True):
        if state == "LOST":
            middle = min(int(start_s / 61 * WIDTH), WIDTH - 1) + 0.5
            assert any(css == "lost" and start < middle < start + length for css, start, length in color), start_s
        assert lengths["LOST"] >= (end_s - start_s) / 61 * WIDTH - 1 if state == "LOST" else True


def test_runs_of_a_bag_share_an_axis() -> None:
    short, long = run([[0.0, "OK"]], 5.0), run([[0.0, "OK"]], 20.0)
    (first, _), _, (second, _), _ = spans(timeline([TimelineRow("a", "", short), TimelineRow("b", "", long)]))
    assert second[0][2] == WIDTH
    assert first[0][2] == pytest.approx(WIDTH / 4, abs=1)


def test_what_is_not_known_is_not_drawn() -> None:
    (color, _), _ = spans(timeline([TimelineRow("a", "", run([[0.0, "OK"], [2.0, "LOST"]], 10.0, further=7))]))
    assert color[-1][1] + color[-1][2] <= 0.2 * WIDTH + 2


def test_a_recording_of_one_message_has_a_timeline() -> None:
    assert spans(timeline([TimelineRow("a", "", run([[0.0, "OK"]], 0.0))]))


def test_the_legend_names_all_that_is_drawn() -> None:
    entries = ElementTree.fromstring(timeline_legend())
    assert [(entry.attrib["class"], (entry.text or "").split(",")[0]) for entry in entries] == [
        ("ok", "OK"),
        ("stale", "STALE"),
        ("lost", "LOST"),
        ("labels", "labels"),
        ("gap", "no labels"),
    ]
