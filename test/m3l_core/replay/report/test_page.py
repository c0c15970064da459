"""The page of replays shows what report.json holds, to the reader and to a real browser."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.bags import LABEL, CompressionMode, break_chunk, frames, write_bag
from support.browser import browse
from support.pages import Page, assert_needs_nothing_else
from support.replays import InstantSegmenter, describe, labelled_frames

from m3l_core.errors import DatasetError
from m3l_core.replay.bags import BagTask, replay_bags
from m3l_core.replay.faults.scenario import load_scenarios
from m3l_core.replay.preparation import prepare_bag
from m3l_core.replay.replay import ReplaySettings
from m3l_core.replay.report.figures import Limit
from m3l_core.replay.report.page import to_html, write_page
from m3l_core.replay.report.report import ReplayReport, to_dict

NAMES = ("none", "no_color", "no_depth", "intermittent")
UNKIND = "kit<b>chen & co"


def replayed(
    paths: list[Path], names: tuple[str, ...], label_topic: str | None = None, *limits: Limit, depth: str | None = None
) -> Any:
    """The content of report.json."""
    scenarios = load_scenarios(names)
    scenarios[0] = scenarios[0].model_copy(update={"description": "<script>"})
    bags = [prepare_bag(path, {"color": None, "depth": depth}, describe(), label_topic) for path in paths]
    tasks = [BagTask(bag, tuple(scenarios), ReplaySettings(), InstantSegmenter()) for bag in bags]
    outcomes = list(replay_bags(tasks))
    return to_dict(ReplayReport(describe(), "brightness", "fp32", ReplaySettings(), scenarios, bags, outcomes, limits))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("bags")
    path = write_bag(folder / UNKIND, labelled_frames(40))
    return replayed([path], NAMES, LABEL, Limit("", "gap", 0.2), Limit("none", "miou", 0.0))


@pytest.fixture(scope="module")
def many(report: Any) -> Any:
    """20 bags under 14 scenarios, of which one bag is damaged and another could not be replayed."""
    content = copy.deepcopy(report)
    content["bags"] = [content["bags"][0] | {"name": f"bag_{number}"} for number in range(20)]
    content["bags"][3]["damage"] = "cannot be read <here>"
    content["bags"][5] |= {"name": "bag_4", "damage": "no message"}
    scenarios = []
    for number in range(14):
        scenario = copy.deepcopy(content["scenarios"][number % len(NAMES)]) | {"name": f"scenario_{number}"}
        runs = [scenario["runs"][0] | {"bag": bag["name"], "damage": bag["damage"]} for bag in content["bags"]]
        scenarios.append(scenario | {"runs": runs[:5] + runs[6:]})
    return content | {"scenarios": scenarios}


def count_pictures(report: Any) -> int:
    return sum(len(scenario["worst_frames"]["frames"]) for scenario in report["scenarios"])


def test_a_browser_shows_all_figures_and_complains_of_nothing(report: Any, tmp_path: Path) -> None:
    write_page(tmp_path / "report.html", report)
    seen = browse(tmp_path / "report.html", tmp_path)
    assert seen.console == []
    assert seen.width <= 1200
    pictures = ["img"] * count_pictures(report)
    assert [figure.kind for figure in seen.figures] == ["svg", "svg", *pictures, *["svg"] * len(NAMES)]
    for figure in seen.figures:
        assert figure.width > 200
        assert figure.height > 50
        assert figure.natural_width in (-1, 800)
        assert seen.contrast(figure) > 5


@pytest.mark.parametrize(("width", "dark"), [(400, True), (1200, False)])
def test_no_reader_is_kept_out(report: Any, tmp_path: Path, axe: Path, width: int, dark: bool) -> None:
    write_page(tmp_path / "report.html", report)
    seen = browse(tmp_path / "report.html", tmp_path, width, dark=dark, axe=axe)
    assert seen.findings == []
    assert seen.width <= width
    assert seen.least_text >= 10


def test_a_browser_copes_with_many_bags_and_scenarios(many: Any, tmp_path: Path) -> None:
    write_page(tmp_path / "report.html", many)
    seen = browse(tmp_path / "report.html", tmp_path)
    assert seen.console == []
    assert seen.width <= 1200
    assert len(seen.figures) == 19 + 1 + count_pictures(many) + 14


def test_the_page_needs_nothing_else_and_shows_any_text_as_text(report: Any) -> None:
    text = to_html(report)
    assert_needs_nothing_else(text)
    assert "prefers-color-scheme: dark" in text
    assert "<b>chen" not in text
    assert f"Replay of {UNKIND}" in Page(text).text


def test_a_page_can_be_made_again_from_the_file(report: Any, tmp_path: Path) -> None:
    write_page(tmp_path / "report.html", report)
    again = json.loads(json.dumps(report, allow_nan=False))
    assert to_html(again) == (tmp_path / "report.html").read_text(encoding="utf-8")


def rows_of(text: str) -> dict[str, list[str]]:
    """First word of each row of the table of figures -> its cells."""
    body = text[text.index("<tbody>") : text.index("</tbody>")]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in body.split("</tr>")[:-1]]
    return {cells[0].split("<")[0]: [re.sub("<.*?>", "", cell) for cell in cells[1:]] for cells in rows}


def test_figures_are_rounded_as_on_the_console(report: Any) -> None:
    rows = rows_of(to_html(report))
    assert [*rows] == [*NAMES]
    for scenario in report["scenarios"]:
        figures, stock = scenario["figures"], scenario["measures"]["stock_synchronizer"]
        assert rows[scenario["name"]] == [
            str(scenario["measures"]["delivery"]["number"]),
            *(f"{figures['rate']:.1f}", f"{stock['rate_hz']:.1f}"),
            *(f"{figures['gap']:.3f}", f"{stock['longest_gap_s']:.3f}"),
            *(f"{figures[f'wait_p{percent}'] * 1e3:.0f}" for percent in (50, 95, 99)),
            *("-" if (v := figures[name]) is None else f"{v:.3f}" for name in ("complete", "miou", "agreement")),
            f"{figures['consistency']:.3f}",
        ]
    assert '<td class="number"><b>0.502</b></td><td class="number">3.902</td>' in to_html(report)


def test_a_live_replay_has_latencies_in_place_of_waits(report: Any) -> None:
    live = copy.deepcopy(report)
    for scenario in live["scenarios"]:
        measures = scenario["measures"]
        measures |= {"latency_histogram": measures["wait_histogram"], "wait_histogram": []}
        for percent in (50, 95, 99):
            scenario["figures"] |= {f"wait_p{percent}": None, f"latency_p{percent}": percent / 1000}
    page = to_html(live)
    assert "latency [ms]" in page
    assert "sync wait [ms]" not in page
    assert all(cells[5:8] == ["50", "95", "99"] for cells in rows_of(page).values())


def test_headlines_limits_and_origin_are_told(report: Any) -> None:
    text = Page(to_html(report)).text
    assert "0.502 s longest time without labels in no_color; stock synchronizer: 3.902 s in no_color" in text
    assert f"{report['mm_robust']['value']:.3f} MM-Robust" in text
    assert "Limits: gap=0.2, none:miou=0. Not held: no_color: gap is 0.502, expected at most 0.2" in text
    for told in ("brightness fp32", report["bundle"]["weights_sha256"], "sync_timeout: 0.05", "every_s: 5.0", LABEL):
        assert told in text
    held = report | {"limits": {"asked": ["gap=1"], "failed": []}}
    assert "Limits: gap=1: all held" in Page(to_html(held)).text
    assert "Limits" not in Page(to_html(report | {"limits": {"asked": [], "failed": []}})).text


def test_worst_frames_tell_what_their_tiles_show(report: Any) -> None:
    text = Page(to_html(report)).text
    frame = report["scenarios"][1]["worst_frames"]["frames"][0]
    assert "color depth labels ground truth" in " ".join(text.split())
    told = f"{100 * frame['score']:.1f}% alike, without color; {UNKIND} {frame['since_start_s']:.2f} s"
    assert told in text
    assert f"stamp {frame['stamp_ns'] // 10**9}.{frame['stamp_ns'] % 10**9:09d}" in text


def test_several_bags_are_folded_with_their_own_figures(many: Any) -> None:
    text = to_html(many)
    over_time = text[text.index("Sensors and labels over time") : text.index("mIoU by scenario")]
    assert re.findall(r"<details( open)? class=\"\"><summary>(\w+)", over_time) == [
        (" open" if number == 0 else "", f"bag_{number}") for number in range(20) if number != 5
    ]
    assert over_time.count("<tbody>") == 19
    shown = Page(text).text
    assert "2 of 20 bags could not be read to the end" in shown
    assert "bag_3: cannot be read <here>" in shown
    assert "bag_4: no message" in shown
    assert len(re.sub(r"base64,[\w+/=]+", "", text)) < 2_000_000


def test_without_ground_truth_agreement_is_shown(tmp_path: Path) -> None:
    report = replayed([write_bag(tmp_path / "kitchen", frames(12))], ("none", "no_color"))
    text = to_html(report)
    assert_needs_nothing_else(text)
    shown = Page(text).text
    assert "Agreement with the run without faults" in shown
    assert "as in labels of the run without faults" in shown
    for absent in ("mIoU by scenario", "IoU by class", "Confusion", "MM-Robust"):
        assert absent not in shown
    assert len(rows_of(text)["none"]) == 11


def test_one_run_of_one_sensor_has_a_page(tmp_path: Path) -> None:
    color_alone = [recorded for recorded in frames(12) if "color" in recorded.topic]
    report = replayed([write_bag(tmp_path / "kitchen", color_alone)], ("none",), depth="none")
    text = to_html(report)
    assert_needs_nothing_else(text)
    assert rows_of(text)["none"][1:5] == [rows_of(text)["none"][1], "-", rows_of(text)["none"][3], "-"]
    assert "Agreement" not in Page(text).text


def test_bags_that_could_not_be_replayed_have_a_page(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "kitchen", frames(600), compression=CompressionMode.STORAGE)
    break_chunk(path, 1)
    assert "kitchen cannot be read" in Page(to_html(replayed([path], ("none",)))).text
    bag = prepare_bag(write_bag(tmp_path / "hall", frames(2)), {"color": None, "depth": None}, describe())
    outcome = DatasetError("no <message>")
    nothing = ReplayReport(describe(), "x", "fp32", ReplaySettings(), load_scenarios(["none"]), [bag], [outcome])
    text = to_html(to_dict(nothing))
    assert_needs_nothing_else(text)
    assert "hall: no <message>" in Page(text).text
    assert "Figures by scenario" not in text
