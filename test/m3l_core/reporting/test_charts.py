"""Charts are well-formed SVG, whatever they show, and show it at the right place."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3l_core.reporting.charts import Bars, Line, bar_chart, legend, line_chart, ticks

SHARES = st.floats(0, 1)
NAMES = st.text(st.characters(exclude_categories=("C",)), min_size=1, max_size=120)
POINTS = st.lists(st.tuples(st.integers(1, 10**6), st.floats(0, 1e4)), min_size=1, max_size=20)


def numbers(element: ElementTree.Element, *names: str) -> list[float]:
    return [float(element.attrib[name]) for name in names]


@given(st.floats(1e-6, 1e6), st.integers(3, 8))
def test_ticks_are_few_and_reach_just_over_the_largest_value(high: float, count: int) -> None:
    found = ticks(high, count)
    assert found[0] == 0
    assert found == sorted(set(found))
    assert len(found) <= count + 1
    assert found[-1] >= high * (1 - 1e-6)
    assert found[-2] < high


@pytest.mark.parametrize(
    ("high", "expected"), [(0.126, [0, 0.05, 0.1, 0.15]), (1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (3.6, [0, 1, 2, 3, 4])]
)
def test_ticks_are_round(high: float, expected: list[float]) -> None:
    assert ticks(high) == expected


@given(st.lists(st.tuples(NAMES, POINTS), min_size=1, max_size=4), NAMES)
def test_any_lines_are_drawn_within_the_chart(lines: list[tuple[str, list[tuple[int, float]]]], x_label: str) -> None:
    chart = ElementTree.fromstring(line_chart([Line(*line) for line in lines], x_label, marks=True, divisions=[3]))
    _, _, width, height = map(float, chart.attrib["viewBox"].split())
    dots = chart.findall("circle")
    assert len(dots) == sum(len(points) for _, points in lines)
    for x, y in (numbers(dot, "cx", "cy") for dot in dots):
        assert 0 <= x <= width
        assert 0 <= y <= height


def test_higher_is_higher_and_later_is_further_right() -> None:
    chart = ElementTree.fromstring(line_chart([Line("a", [(1, 0.0), (2, 0.5), (3, 1.0)])], "iteration", marks=True))
    places = [numbers(dot, "cx", "cy") for dot in chart.findall("circle")]
    (x0, y0), (x1, y1), (x2, y2) = places
    assert x1 - x0 == pytest.approx(x2 - x1)
    assert y1 - y0 == pytest.approx(y2 - y1)
    assert x0 < x1
    assert y0 > y1
    titles = [element.text for element in chart.iter("title")]
    assert titles == ["a, iteration 1: 0.000", "a, iteration 2: 0.500", "a, iteration 3: 1.000"]


def test_single_losses_above_their_mean_do_not_flatten_the_chart() -> None:
    calm = line_chart([Line("loss", [(1, 1.0), (2, 0.9)])], "iteration")
    wild = line_chart([Line("loss", [(1, 1.0), (2, 0.9)], [(1, 90.0), (2, 0.9)])], "iteration")
    assert [text.text for text in ElementTree.fromstring(calm).iter("text")] == [
        text.text for text in ElementTree.fromstring(wild).iter("text")
    ]
    assert 'class="faint c0"' in wild
    assert 'class="faint' not in calm


@given(st.lists(st.tuples(NAMES, st.tuples(SHARES, st.none() | SHARES)), min_size=1, max_size=20))
def test_bars_are_as_long_as_their_values(rows: list[tuple[str, tuple[float, float | None]]]) -> None:
    text = bar_chart([Bars(name, values, (1, 2, 3)) for name, values in rows], ["one", "<two>"])
    chart = ElementTree.fromstring(text)
    bars = [bar for bar in chart.findall("rect") if "bar" in bar.attrib.get("class", "")]
    whole = 640 - 44 - numbers(bars[0], "x")[0]
    lengths = [numbers(bar, "width")[0] / whole for bar in bars]
    assert lengths == pytest.approx([value or 0.0 for _, values in rows for value in values], abs=0.001)
    told = [element.text for element in chart.iter("title")]
    assert sum(text.endswith(": none") for text in told if text) == sum(values[1] is None for _, values in rows)
    bottoms = [sum(numbers(bar, "y", "height")) for bar in bars]
    assert max(bottoms) <= float(chart.attrib["viewBox"].split()[3])


def test_bars_are_compared_with_marked_values() -> None:
    chart = ElementTree.fromstring(bar_chart([Bars("one", [0.25])], ["mIoU"], divisions=[0.5]))
    (bar,) = chart.findall("rect")
    (division,) = (line for line in chart.findall("line") if line.attrib["class"] == "division")
    left, length = numbers(bar, "x", "width")
    assert numbers(division, "x1", "x2") == pytest.approx([left + 2 * length] * 2, abs=0.2)


def test_the_legend_escapes_names_and_numbers_its_series() -> None:
    shown = ElementTree.fromstring(legend(["a<b", *"cdefghi"], [*"12345678"]))
    assert [entry.attrib["class"] for entry in shown] == [f"c{number}" for number in range(8)]
    assert shown[0].text == "a<b "
    assert shown[0].findtext("b") == "1"
