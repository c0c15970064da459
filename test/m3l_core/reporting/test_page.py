"""The frame of all reports takes any text as text, and the tests' browser sees what is wrong with a page."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from support.browser import browse
from support.pages import Page, assert_needs_nothing_else

from m3l_core.reporting.charts import Bars, bar_chart
from m3l_core.reporting.page import (
    card,
    class_legend,
    folded,
    html_page,
    named_rows,
    table,
    tiles,
    yaml_text,
)

TEXTS = st.text(st.characters(exclude_categories=("C",)), max_size=20)


@given(TEXTS)
def test_any_text_is_shown_as_it_is(text: str) -> None:
    told = f"<i>{text}&"
    parts = {
        card(told, "", told): 2,
        folded(told, "", told): 2,
        tiles([(told, told, told)]): 3,
        named_rows({told: told}): 2,
        table([told], [[told]]): 2,
        class_legend([{"name": told, "color": [1, 2, 3]}]): 1,
    }
    for part, times in parts.items():
        page = Page(part)
        assert page.open == []
        assert page.text.count(told) == times
    whole = html_page(told, [*parts, ""])
    assert_needs_nothing_else(whole)
    assert Page(whole).text.count(told) == 1 + sum(parts.values())


def test_settings_are_shown_as_yaml() -> None:
    assert Page(yaml_text({"faults": [{"kind": "<gone>"}]})).text.strip() == "faults:\n- {kind: <gone>}"


def test_numbers_stand_right_of_names() -> None:
    text = table(["a", "b", "c"], [["1", "2", "3"]], num_names=2)
    assert "<td>1</td><td>2</td><td class=number>3</td>" in text


def test_the_browser_of_the_tests_sees_what_is_wrong(tmp_path: Path) -> None:
    figures = [
        bar_chart([Bars("one", [0.5])], ["mIoU"]),
        '<svg viewBox="0 0 10 5"><rect width="-1"/></svg>',
        '<img alt="" src="data:image/png;base64,AAAA">',
        folded("more", bar_chart([Bars("two", [0.5])], ["mIoU"])),
        '<div style="width: 1500px; height: 1px"></div><script>nothing()</script>',
    ]
    (tmp_path / "page.html").write_text(html_page("wrong", figures))
    seen = browse(tmp_path / "page.html", tmp_path, height=1500)
    assert any("negative value" in message for message in seen.console)
    assert any("nothing is not defined" in message for message in seen.console)
    assert seen.width > 1200
    shown, blank, broken, unfolded = seen.figures
    assert seen.contrast(shown) > 5
    assert seen.contrast(blank) == 0
    assert broken.natural_width == 0
    assert unfolded.width == shown.width > 500


def test_axe_finds_what_keeps_readers_out(tmp_path: Path, axe: Path) -> None:
    wrong = '<div style="color: #999; background: #fff">pale</div><svg role="img" width="9" height="9"></svg>'
    (tmp_path / "page.html").write_text(html_page("wrong", ["<h1>wrong</h1>", wrong]))
    seen = browse(tmp_path / "page.html", tmp_path, 400, 300, axe=axe)
    assert [finding.split(": ")[1] for finding in seen.findings] == ["color-contrast", "svg-img-alt"]
