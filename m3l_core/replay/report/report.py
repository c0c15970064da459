"""What replays have found, as report.json: all that a page about it needs.

Of replays offline nothing in it depends on their speed.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from m3l_core.bundle import BundleDescription
from m3l_core.errors import DatasetError
from m3l_core.files import replacing_file
from m3l_core.replay.bags import Outcome
from m3l_core.replay.faults.scenario import Scenario
from m3l_core.replay.measures.comparisons import Yardstick
from m3l_core.replay.measures.measures import LiveMeasures, Measures, ModalityCounts, merged
from m3l_core.replay.measures.timing import Delivery, DurationHistogram
from m3l_core.replay.measures.worst_frames import WorstFrame, worst_of
from m3l_core.replay.preparation import PreparedBag
from m3l_core.replay.replay import ReplayResult, ReplaySettings
from m3l_core.replay.report.figures import FIGURES, Limit, failures, figures_of, mm_robust_of

_COMPARED_WITH: dict[Yardstick, str] = {
    "accuracy": "ground truth",
    "agreement": "labels of the run without faults",
    "consistency": "labels of the frame before",
}


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """Bags times scenarios."""

    bundle: BundleDescription
    engine: str
    precision: str
    settings: ReplaySettings
    scenarios: Sequence[Scenario]
    bags: Sequence[PreparedBag]
    outcomes: Sequence[Outcome]
    """Of each bag."""
    limits: Sequence[Limit] = ()

    def of_scenario(self, number: int) -> list[ReplayResult]:
        return [outcome[number] for outcome in self.outcomes if not isinstance(outcome, DatasetError)]

    @property
    def totals(self) -> dict[str, Measures]:
        """Scenario -> the sum over all bags."""
        num_classes = len(self.bundle.labels)
        return {
            scenario.name: merged([result.measures for result in self.of_scenario(number)], num_classes)
            for number, scenario in enumerate(self.scenarios)
        }

    @property
    def failures(self) -> list[str]:
        """What is beyond its limit."""
        return failures(self.limits, self.scenarios, self.totals)

    @property
    def damages(self) -> list[str]:
        """Why bags were not read to their end."""
        return [damage for outcome in self.outcomes if (damage := _damage(outcome)) is not None]


def to_dict(report: ReplayReport) -> dict[str, Any]:
    """Everything that was measured, ready for JSON; null where a figure does not exist. Times are in seconds."""
    totals = report.totals
    robust = mm_robust_of(totals)
    described = report.bundle
    sync = asdict(report.settings.sync)
    offsets = sync.pop("stamp_offsets_ns")
    return {
        "format": 1,
        "bundle": {
            "name": described.name,
            "weights_sha256": described.weights_sha256,
            "modalities": list(described.modality_names),
            "classes": [{"name": entry.name, "color": list(entry.color)} for entry in described.labels.classes],
        },
        "engine": {"name": report.engine, "precision": report.precision},
        "settings": {
            "stamps": report.settings.stamps,
            "synchronizer": {
                name.removesuffix("_ns"): value / 1e9 if name.endswith("_ns") else value for name, value in sync.items()
            }
            | {"stamp_offsets": {name: value / 1e9 for name, value in offsets.items()}},
            "health": asdict(report.settings.health),
        },
        "figures": {name: figure.meaning for name, figure in FIGURES.items()},
        "bags": [_bag(bag, outcome) for bag, outcome in zip(report.bags, report.outcomes, strict=True)],
        "scenarios": [
            _scenario(scenario, totals[scenario.name], report.of_scenario(number), report)
            for number, scenario in enumerate(report.scenarios)
        ],
        "mm_robust": None if robust is None else {"value": robust[0], "miou": robust[1]},
        "limits": {"asked": [f"{limit}={limit.value:g}" for limit in report.limits], "failed": report.failures},
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    with replacing_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _bag(bag: PreparedBag, outcome: Outcome) -> dict[str, Any]:
    return {
        "name": bag.name,
        "path": str(bag.path),
        "topics": dict(bag.topics),
        "ground_truth": bag.ground_truth,
        "warning": bag.warning,
        "damage": _damage(outcome),
    }


def _damage(outcome: Outcome) -> str | None:
    return str(outcome) if isinstance(outcome, DatasetError) else outcome[0].damage


def _scenario(
    scenario: Scenario, total: Measures, results: Sequence[ReplayResult], report: ReplayReport
) -> dict[str, Any]:
    by: Yardstick = results[0].worst_by if results else "consistency"
    return {
        "name": scenario.name,
        "description": scenario.description,
        "seed": scenario.seed,
        "faults": [fault.model_dump(mode="json") for fault in scenario.faults],
        "figures": figures_of(total),
        "measures": _measures(total, report.bundle),
        "worst_frames": {
            "by": by,
            "tiles": [*report.bundle.modality_names, "labels", _COMPARED_WITH[by]],
            "frames": [_worst(frame) for frame in worst_of(frame for result in results for frame in result.worst)],
        },
        "runs": [_run(result, report.bundle) for result in results],
    }


def _run(result: ReplayResult, described: BundleDescription) -> dict[str, Any]:
    start_ns = result.start_ns
    return {
        "bag": result.bag,
        "damage": result.damage,
        "start_ns": start_ns,
        "length_s": (result.end_ns - start_ns) / 1e9,
        "labels_sha256": result.digest,
        "figures": figures_of(result.measures),
        "measures": _measures(result.measures, described),
        "gaps": [[(gap.start_ns - start_ns) / 1e9, (gap.end_ns - start_ns) / 1e9] for gap in result.gaps],
        "states": {
            name: {
                "changes": [[(since_ns - start_ns) / 1e9, state.value] for since_ns, state in timeline.changes],
                "further_changes": timeline.further_changes,
            }
            for name, timeline in result.timelines.items()
        },
    }


def _measures(measures: Measures, described: BundleDescription) -> dict[str, Any]:
    scores, live = measures.scores, measures.live
    known = scores.accuracy.frames > 0
    iou = zip(described.labels.names, scores.confusion.iou().tolist(), strict=True)
    return {
        "delivery": _delivery(measures.delivery),
        "stock_synchronizer": None if measures.stock is None else _delivery(measures.stock),
        "sets": {
            "complete": measures.complete_sets,
            "partial": measures.partial_sets,
            "unlabelled": measures.unlabelled_sets,
        },
        "synchronizer_resets": measures.resets,
        "wait_histogram": _histogram(measures.waits),
        "latency_histogram": [] if live is None else _histogram(live.latency),
        "live": None if live is None else _live(live),
        "modalities": {name: _modality(counts) for name, counts in measures.modalities.items()},
        "frames_compared": {
            "truth": scores.accuracy.frames,
            "run_without_faults": scores.agreement.frames,
            "frame_before": scores.consistency.frames,
        },
        "iou": {name: None if math.isnan(value) else value for name, value in iou} if known else None,
        "confusion_matrix": scores.confusion.counts.tolist() if known else None,
    }


def _histogram(durations: DurationHistogram) -> list[list[float]]:
    return [[step * durations.STEP_NS / 1e9, durations.counts[step]] for step in sorted(durations.counts)]


def _live(live: LiveMeasures) -> dict[str, float]:
    return {
        "replaced_sets": live.replaced_sets,
        "frames_labelled_offline_too": live.compared,
        "equal": live.equal,
        "from_other_images": live.other_images,
        "longest_lag_s": live.longest_lag_ns / 1e9,
    }


def _delivery(delivery: Delivery) -> dict[str, Any]:
    return {
        "number": delivery.number,
        "rate_hz": delivery.rate_hz,
        "longest_gap_s": delivery.longest_gap_ns / 1e9,
        "run_s": delivery.run_ns / 1e9,
    }


def _modality(counts: ModalityCounts) -> dict[str, Any]:
    return {
        "recorded": counts.recorded,
        "arrived": counts.arrived,
        "in_complete_sets": counts.in_complete_sets,
        "in_partial_sets": counts.in_partial_sets,
        "missing_in_sets": counts.missing,
        "dropped": dict(sorted(counts.dropped.items())),
        "states_s": {state.value: length_ns / 1e9 for state, length_ns in counts.states_ns.items() if length_ns},
    }


def _worst(frame: WorstFrame) -> dict[str, Any]:
    return {
        "bag": frame.bag,
        "since_start_s": frame.since_start_ns / 1e9,
        "stamp_ns": frame.stamp_ns,
        "score": frame.score,
        "missing": list(frame.missing),
        "jpeg": base64.b64encode(frame.jpeg).decode("ascii"),
    }
