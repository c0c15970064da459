"""Limits on figures: read, checked before the work, applied after it."""

from __future__ import annotations

import numpy as np
import pytest

from m3l_core.replay.faults.scenario import Scenario
from m3l_core.replay.measures.label_scores import LabelScores
from m3l_core.replay.measures.measures import LiveMeasures, Measures, merged
from m3l_core.replay.measures.timing import Delivery
from m3l_core.replay.report.figures import (
    FIGURES,
    Limit,
    check_limits,
    failures,
    figures_of,
    mm_robust_of,
    parse_limits,
)

NONE = Scenario(name="none", faults=())
LOST = {
    name: Scenario.model_validate({"name": f"no_{name}", "faults": [{"kind": "gone", "modality": name}]})
    for name in ("color", "depth")
}
ALL = [NONE, *LOST.values()]


def measures(right: int = 0, of: int = 0, gap_s: float = 0.1) -> Measures:
    scores = LabelScores(2)
    if of:
        truth, ids = np.zeros(of, np.uint8), np.ones(of, np.uint8)
        ids[:right] = 0
        scores.compare_with_truth(ids[None], truth[None])
    return Measures(scores, {}, Delivery(11, 10, 10**9, round(gap_s * 1e9)))


def test_limits_are_read() -> None:
    assert parse_limits("miou=0.4,no_color:gap=2e-1, rate=10") == (
        Limit("", "miou", 0.4),
        Limit("no_color", "gap", 0.2),
        Limit("", "rate", 10.0),
    )
    assert parse_limits("mm_robust=0.3") == (Limit("", "mm_robust", 0.3),)


@pytest.mark.parametrize("text", ["speed=3", "none:mm_robust=1", "miou", "miou=", "miou=high", "miou=nan", ""])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"unknown figure|expected NAME=NUMBER"):
        parse_limits(text)


@pytest.mark.parametrize(
    ("text", "scenarios", "why"),
    [
        ("miou=0.4", ALL, "needs ground truth"),
        ("mm_robust=0.4", ALL, "needs ground truth"),
        ("dark:gap=1", ALL, "dark:gap: the scenario is not among those replayed: no_color, no_depth, none"),
        ("mm_robust=0.4", ALL[:2], "needs the scenarios none, no_color, no_depth"),
        ("agreement=0.4", ALL[1:], "needs a scenario with faults, and one without"),
        ("agreement=0.4", ALL[:1], "needs a scenario with faults, and one without"),
        ("none:agreement=0.4", ALL, "needs a scenario with faults, and one without"),
        ("latency_p99=0.1", ALL, "latency_p99 needs --live"),
    ],
)
def test_what_will_not_be_measured_is_refused_before_the_work(text: str, scenarios: list[Scenario], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_limits(parse_limits(text), scenarios, has_truth=False)


@pytest.mark.parametrize("is_live", [False, True])
def test_what_will_be_measured_is_not_refused(is_live: bool) -> None:
    other = "offline" if is_live else "live"
    names = [name for name, figure in FIGURES.items() if figure.needs != other]
    limits = parse_limits(",".join(f"{name}=1" for name in (*names, "mm_robust", "no_depth:agreement")))
    check_limits(limits, ALL, has_truth=True, is_live=is_live)
    for name in FIGURES.keys() - set(names):
        with pytest.raises(ValueError, match=f"{name} needs"):
            check_limits(parse_limits(f"{name}=1"), ALL, has_truth=True, is_live=is_live)


def test_figures_fail_on_the_wrong_side_of_their_limit() -> None:
    totals = {"none": measures(8, 10, gap_s=0.1), "no_color": measures(4, 10, gap_s=0.5)}
    assert figures_of(totals["none"])["miou"] == pytest.approx(0.4)  # 0.8 and 0
    scenarios = ALL[:2]
    assert failures(parse_limits("miou=0.2,gap=0.5,rate=10"), scenarios, totals) == []
    assert failures(parse_limits("miou=0.3,gap=0.3,rate=11"), scenarios, totals) == [
        "no_color: miou is 0.2, expected at least 0.3",
        "no_color: gap is 0.5, expected at most 0.3",
        "none: rate is 10, expected at least 11",
        "no_color: rate is 10, expected at least 11",
    ]


def test_a_scenario_s_own_limit_takes_the_place_of_the_general_one() -> None:
    totals = {"none": measures(gap_s=0.1), "no_color": measures(gap_s=0.5)}
    assert failures(parse_limits("gap=0.2,no_color:gap=0.5"), ALL[:2], totals) == []
    assert len(failures(parse_limits("gap=0.05,no_color:gap=0.4"), ALL[:2], totals)) == 2


def test_what_could_not_be_measured_fails() -> None:
    totals = {scenario.name: measures() for scenario in ALL}
    assert failures(parse_limits("miou=0"), ALL[:1], totals) == ["none: miou could not be measured, expected 0"]
    assert failures(parse_limits("mm_robust=0"), ALL, totals) == ["mm_robust could not be measured, expected 0"]
    # The run without faults is what the others are compared with.
    assert failures(parse_limits("agreement=0.5"), ALL[:2], totals) == [
        "no_color: agreement could not be measured, expected 0.5"
    ]


def test_mm_robust_is_the_mean_over_the_subsets_of_the_sensors() -> None:
    totals = {"none": measures(10, 10), "no_color": measures(0, 10), "no_depth": measures(5, 10)}
    found = mm_robust_of(totals)
    assert found is not None
    assert found[1] == pytest.approx({"color+depth": 1.0, "depth": 0.0, "color": 0.25})
    assert found[0] == pytest.approx(1.25 / 3)
    assert mm_robust_of({name: totals[name] for name in ("none", "no_color")}) is None
    assert failures(parse_limits("mm_robust=0.5"), ALL, totals) == ["mm_robust is 0.4167, expected at least 0.5"]


def test_figures_of_live_replays_are_of_their_sum() -> None:
    parts = [measures(), measures()]
    assert figures_of(parts[0])["latency_p50"] is figures_of(parts[0])["equal"] is None
    for part, latencies_ms in zip(parts, ((20, 30), (40, 50, 60)), strict=True):
        part.live = LiveMeasures(replaced_sets=1, compared=10, equal=8, other_images=1)
        for latency in latencies_ms:
            part.live.latency.add(latency * 10**6)
    total = merged(parts, 2)
    assert total.live is not None and total.live.replaced_sets == 2
    found = figures_of(total)
    assert (found["latency_p50"], found["latency_p99"]) == (0.04, 0.06)
    assert found["equal"] == 16 / 18
    assert parts[0].live is not None and parts[0].live.compared == 10
