"""A histogram holds every duration it is given, at its place."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3l_core.reporting.histogram import histogram

DURATIONS_S = st.integers(0, 100_000).map(lambda steps: steps / 10_000)
COUNTS = st.lists(st.tuples(DURATIONS_S, st.integers(1, 10**6)), min_size=1, max_size=50)


def bars(text: str) -> list[tuple[float, float, str]]:
    """Left edge, height and words of each."""
    return [
        (float(bar.attrib["x"]), float(bar.attrib["height"]), bar.findtext("title") or "")
        for bar in ElementTree.fromstring(text).findall("rect")
    ]


@given(COUNTS, st.none() | DURATIONS_S)
def test_no_duration_is_lost_and_all_lies_within(counts: list[tuple[float, int]], until_s: float | None) -> None:
    text = histogram(counts, "wait", until_s=until_s, divisions_s=[counts[0][0]])
    total = sum(count for _, count in counts)
    found = bars(text)
    assert sum(int(told.split(": ")[1].split(" of ")[0]) for _, _, told in found) == total
    chart = ElementTree.fromstring(text)
    _, _, width, height = map(float, chart.attrib["viewBox"].split())
    for bar in chart.findall("rect"):
        x, y, wide, tall = (float(bar.attrib[name]) for name in ("x", "y", "width", "height"))
        assert x >= 0
        assert x + wide <= width
        assert wide > 0
        assert y >= 0
        assert tall >= 2
        assert y + tall <= height
    (division,) = (line for line in chart.findall("line") if line.attrib["class"] == "division")
    assert 0 <= float(division.attrib["x1"]) <= width


def test_bars_stand_where_their_durations_lie() -> None:
    (x0, tall, first), (x1, half, second), (x2, _, third) = bars(histogram([(0, 6), (0.25, 3), (0.5, 1)], "wait"))
    assert (first, second) == ("0 to 10 ms: 6 of 10, 60%", "250 to 260 ms: 3 of 10, 30%")
    assert third == "490 ms or more: 1 of 10, 10%"
    assert tall == pytest.approx(2 * half, abs=0.2)
    assert x1 - x0 == pytest.approx((x2 - x0) * 25 / 49, abs=0.2)


def test_one_of_a_million_is_seen() -> None:
    (_, _, _), (_, height, told) = bars(histogram([(0, 999_999), (0.4, 1)], "wait"))
    assert height == 2
    assert "1 of 1000000" in told


def test_several_share_an_axis() -> None:
    texts = [
        [text.text for text in ElementTree.fromstring(histogram(counts, "<wait>", until_s=0.4)).findall("text")][-6:]
        for counts in ([(0, 1)], [(0.4, 1)], [(9, 1)])
    ]
    assert texts[0] == texts[1] == texts[2] == ["0", "100", "200", "300", "400", "<wait> [ms]"]
