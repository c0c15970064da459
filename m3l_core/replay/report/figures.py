"""The figures by which a replay is judged, and the limits that a user sets to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from m3l_core.metrics import mm_robust, subset_key
from m3l_core.replay.faults.scenario import Scenario
from m3l_core.replay.measures.measures import Measures


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a scenario."""

    meaning: str
    of: Callable[[Measures], float | None]
    more_is_better: bool = True
    needs: str = ""
    """What there must be to measure it: ``truth``, ``full``: a run without faults beside it, ``live``: a node, or
    ``offline``: none."""


def _miou(measures: Measures) -> float | None:
    value = measures.scores.confusion.mean_iou()
    return None if math.isnan(value) else value


def _latency(percent: float) -> Callable[[Measures], float | None]:
    return lambda measures: None if measures.live is None else measures.live.latency.percentile_s(percent)


FIGURES: dict[str, Figure] = {
    "rate": Figure("labels a second: intervals between them over the length of the run", lambda m: m.delivery.rate_hz),
    "gap": Figure(
        "longest time without labels [s], from the first message recorded to the last",
        lambda m: m.delivery.longest_gap_ns / 1e9,
        more_is_better=False,
    ),
    "wait_p50": Figure(
        "wait in the synchronizer [s], median: from the arrival of a set's reference frame to the set leaving",
        lambda m: m.waits.percentile_s(50),
        more_is_better=False,
        needs="offline",
    ),
    "wait_p95": Figure(
        "the same, 95th percentile", lambda m: m.waits.percentile_s(95), more_is_better=False, needs="offline"
    ),
    "wait_p99": Figure(
        "the same, 99th percentile", lambda m: m.waits.percentile_s(99), more_is_better=False, needs="offline"
    ),
    "latency_p50": Figure(
        "latency of a live replay [s], median: from the publishing of the image whose stamp the labels bear (of color, "
        "if both do) to the arrival of the labels",
        _latency(50),
        more_is_better=False,
        needs="live",
    ),
    "latency_p95": Figure("the same, 95th percentile", _latency(95), more_is_better=False, needs="live"),
    "latency_p99": Figure("the same, 99th percentile", _latency(99), more_is_better=False, needs="live"),
    "complete": Figure("share of the frame sets that have every modality", lambda m: m.complete_share),
    "miou": Figure("mean IoU over the classes, from one confusion matrix of all labelled frames", _miou, needs="truth"),
    "accuracy": Figure(
        "share of pixels labelled as in the ground truth", lambda m: m.scores.accuracy.value, needs="truth"
    ),
    "agreement": Figure(
        "share of pixels labelled as by the run without faults at the same stamps",
        lambda m: m.scores.agreement.value,
        needs="full",
    ),
    "consistency": Figure(
        "share of pixels labelled as in the set that left before, where both are of one size and at most 1 s apart",
        lambda m: m.scores.consistency.value,
    ),
    "labelled": Figure(
        "share of the labels' pixels that are labelled, and not less confident than min_confidence",
        lambda m: m.scores.labelled.value,
    ),
    "equal": Figure(
        "share of the frames labelled by the node and offline from the same images whose labels are equal to the byte",
        lambda m: None if m.live is None else m.live.equal_share,
        needs="live",
    ),
}
MM_ROBUST = "mm_robust"
SUBSETS = {"none": ("color", "depth"), "no_color": ("depth",), "no_depth": ("color",)}
"""Scenario -> the sensors that are left."""


def figures_of(measures: Measures) -> dict[str, float | None]:
    return {name: figure.of(measures) for name, figure in FIGURES.items()}


def mm_robust_of(totals: Mapping[str, Measures]) -> tuple[float, dict[str, float]] | None:
    """MM-Robust and the mIoU of every subset of color and depth; None unless all were measured, and nothing else.

    Args:
        totals: scenario -> its measures.
    """
    if any(measures.modalities.keys() - SUBSETS["none"] for measures in totals.values()):
        return None
    miou = {subset_key(left): _miou(totals[name]) for name, left in SUBSETS.items() if name in totals}
    known = {key: value for key, value in miou.items() if value is not None}
    return (mm_robust(known), known) if len(known) == len(SUBSETS) else None


class Limit(NamedTuple):
    """What a figure must not fall short of, or not exceed if less is better."""

    scenario: str
    """Empty = every scenario that has no limit of its own for this figure."""
    figure: str
    value: float

    def __str__(self) -> str:
        return f"{self.scenario}:{self.figure}" if self.scenario else self.figure


def parse_limits(text: str) -> tuple[Limit, ...]:
    """Read ``miou=0.4,gap=0.2,no_color:miou=0.3``.

    Raises:
        ValueError: a figure is unknown, or it is not written so.
    """
    limits = []
    for part in text.split(","):
        name, _, number = part.partition("=")
        scenario, _, figure = name.strip().rpartition(":")
        if figure not in (*FIGURES, MM_ROBUST) or (scenario and figure == MM_ROBUST):
            raise ValueError(f"unknown figure '{name.strip()}', expected one of {', '.join((*FIGURES, MM_ROBUST))}")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f"expected NAME=NUMBER, got '{part.strip()}'")
        limits.append(Limit(scenario, figure, value))
    return tuple(limits)


def check_limits(
    limits: Sequence[Limit], scenarios: Sequence[Scenario], has_truth: bool, is_live: bool = False
) -> None:
    """Find out before the work what will not be measured.

    Raises:
        ValueError: a limit is to a scenario that is not replayed, or to a figure that cannot be measured.
    """
    names = {scenario.name for scenario in scenarios}
    with_faults = {scenario.name for scenario in scenarios if scenario.faults}
    for limit in limits:
        has = {
            "": True,
            "truth": has_truth,
            "full": with_faults < names and (limit.scenario in with_faults if limit.scenario else bool(with_faults)),
            "live": is_live,
            "offline": not is_live,
        }
        if limit.scenario and limit.scenario not in names:
            raise ValueError(f"{limit}: the scenario is not among those replayed: {', '.join(sorted(names))}")
        if limit.figure == MM_ROBUST and not names >= SUBSETS.keys():
            raise ValueError(f"{limit} needs the scenarios {', '.join(SUBSETS)}")
        needs = "truth" if limit.figure == MM_ROBUST else FIGURES[limit.figure].needs
        if not has[needs]:
            wanted = {
                "truth": "ground truth (a label topic or label files)",
                "full": "a scenario with faults, and one without to compare it with",
                "live": "--live",
                "offline": "a replay offline",
            }
            raise ValueError(f"{limit} needs {wanted[needs]}")


def failures(limits: Sequence[Limit], scenarios: Sequence[Scenario], totals: Mapping[str, Measures]) -> list[str]:
    """What is beyond its limit, one line each; a figure that could not be measured is, too."""
    failed = []
    own = {(limit.scenario, limit.figure) for limit in limits if limit.scenario}
    for limit in limits:
        if limit.figure == MM_ROBUST:
            robust = mm_robust_of(totals)
            failed += _beyond(limit, limit.figure, None if robust is None else robust[0], True)
            continue
        figure = FIGURES[limit.figure]
        for scenario in scenarios:
            applies = limit.scenario == scenario.name or (
                not limit.scenario
                and (scenario.name, limit.figure) not in own
                and (figure.needs != "full" or bool(scenario.faults))
            )
            if applies:
                value = figure.of(totals[scenario.name])
                failed += _beyond(limit, f"{scenario.name}: {limit.figure}", value, figure.more_is_better)
    return failed


def _beyond(limit: Limit, name: str, value: float | None, more_is_better: bool) -> list[str]:
    if value is None:
        return [f"{name} could not be measured, expected {limit.value:g}"]
    if (value < limit.value) if more_is_better else (value > limit.value):
        return [f"{name} is {value:.4g}, expected at {'least' if more_is_better else 'most'} {limit.value:g}"]
    return []
