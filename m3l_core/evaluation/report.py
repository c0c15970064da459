"""What an evaluation has found, for files and for the console."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from m3l_core.evaluation.conditions import NOISE_LEVELS
from m3l_core.evaluation.robustness import RobustnessResult, Score
from m3l_core.files import replacing_file
from m3l_core.metrics import expected_miou, mm_robust, worst_subset
from m3l_core.reporting.json_values import without_nan

FAILURE_PROBABILITIES = (0.05, 0.1, 0.2)


@dataclass(frozen=True, slots=True)
class Subject:
    """What was measured, and on what."""

    bundle: str
    weights_sha256: str
    engine: str
    precision: str
    index: str
    frames: int
    labelled: int
    """Frames of the index that have a label; ``frames`` of them were measured."""
    unlabelled: int
    """Frames of the index that have none."""
    class_map: str | None = None
    """Where the map from the labels' classes was read."""
    bundle_map: str | None = None
    """Where the map from the bundle's classes was read."""

    @property
    def title(self) -> str:
        left_out = f" ({self.unlabelled} more have no label)" if self.unlabelled else ""
        frames = f"{self.frames} of {self.labelled} frames of {self.index}{left_out}"
        maps = " and ".join(Path(each).name for each in (self.class_map, self.bundle_map) if each)
        return f"{self.bundle}, {self.engine} {self.precision}, {frames}{f', classes by {maps}' if maps else ''}"


def to_dict(subject: Subject, classes: Sequence[str], result: RobustnessResult) -> dict[str, Any]:
    """Everything that was measured, ready for JSON; null where a figure does not exist."""
    subsets, miou = result.of_subsets(), _mious(result.of_subsets())
    worst = worst_subset(miou)
    content = {
        "subject": asdict(subject),
        "missing": {"fed_as": result.missing, "meaning": result.fed_as},
        "modalities": list(result.modalities),
        "subsets": {
            key: {"frames": score.frames, **_figures(score, classes), "reliability": _reliability(score)}
            for key, score in subsets.items()
        },
        "mm_robust": mm_robust(miou),
        "worst": {"subset": worst, "miou": miou[worst]},
        "emm": _averages(miou, result.modalities),
        "rmm": {
            f"{rate:g}": _averages(_mious(scores), result.modalities)
            | {"intact": {key: _figures(score, classes) for key, score in scores.items()}}
            for rate, scores in result.of_random_missing().items()
        },
        "nm": {level: _figures(score, classes) for level, score in result.of_noise().items()},
    }
    known: dict[str, Any] = without_nan(content, digits=6)
    return known


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    with replacing_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def tables(subject: Subject, classes: Sequence[str], result: RobustnessResult) -> list[Table]:
    """The results for the console."""
    fed = f"a missing modality is fed as: {result.fed_as}"
    return [
        _subset_table(subject, result, fed),
        _class_table(classes, result, fed),
        _failure_table(result, fed),
        *([_noise_table(result, fed)] if result.of_noise() else []),
    ]


def _subset_table(subject: Subject, result: RobustnessResult, fed: str) -> Table:
    scores, miou = result.of_subsets(), _mious(result.of_subsets())
    table = _table(subject.title, fed, ("sensors present", "frames", "mIoU", "ECE"))
    for key, score in scores.items():
        table.add_row(key, str(score.frames), _text(miou[key]), _text(score.calibration.ece()))
    table.add_section()
    worst = worst_subset(miou)
    table.add_row("MM-Robust (mean)", "", _text(mm_robust(miou)), "")
    table.add_row(f"worst: {worst}", "", _text(miou[worst]), "")
    return table


def _class_table(classes: Sequence[str], result: RobustnessResult, fed: str) -> Table:
    scores = result.of_subsets()
    table = _table("IoU per class", fed, ("class", *(key.replace("+", "\n+") for key in scores)))
    for name, *values in zip(classes, *(score.confusion.iou() for score in scores.values()), strict=True):
        table.add_row(name, *map(_text, values))
    return table


def _failure_table(result: RobustnessResult, fed: str) -> Table:
    columns = ("modality failed", "mean", *(f"p = {p:g}" for p in FAILURE_PROBABILITIES))
    table = _table("mIoU expected where each modality fails with probability p", fed, columns)
    rows = {"EMM: all of it is missing": result.of_subsets()}
    rows |= {f"RMM: {rate:.0%} of its values are 0": scores for rate, scores in result.of_random_missing().items()}
    for name, scores in rows.items():
        averages = _averages(_mious(scores), result.modalities)
        table.add_row(name, _text(averages["mean"]), *map(_text, averages["expected"].values()))
    return table


def _noise_table(result: RobustnessResult, fed: str) -> Table:
    columns = ("NM", "salt and pepper", "sigma", "mIoU", "ECE")
    table = _table("Noise on all modalities at once", fed, columns)
    for level, score in result.of_noise().items():
        share, sigma = NOISE_LEVELS[level]
        row = (f"{share:.0%}", f"{sigma:g}", _text(score.confusion.mean_iou()), _text(score.calibration.ece()))
        table.add_row(level, *row)
    return table


def _table(title: str, caption: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, caption=caption, min_width=max(len(title), len(caption)) + 2)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    return table


def _mious(scores: Mapping[str, Score]) -> dict[str, float]:
    return {key: score.confusion.mean_iou() for key, score in scores.items()}


def _averages(miou: Mapping[str, float], modalities: Sequence[str]) -> dict[str, Any]:
    expected = {f"{p:g}": expected_miou(miou, modalities, p) for p in FAILURE_PROBABILITIES}
    return {"mean": mm_robust(miou), "expected": expected}


def _figures(score: Score, classes: Sequence[str]) -> dict[str, Any]:
    return {
        "miou": score.confusion.mean_iou(),
        "ece": score.calibration.ece(),
        "iou": dict(zip(classes, score.confusion.iou(), strict=True)),
    }


def _reliability(score: Score) -> dict[str, Any]:
    return {name: values.tolist() for name, values in asdict(score.calibration.reliability()).items()}


def _text(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "-"
