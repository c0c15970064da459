"""What the demo has shown: figures per phase, and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from m3l_core.false_color import false_color
from m3l_core.files import replacing_file
from m3l_core.labels import LabelSet
from m3l_core.metrics import ConfusionMatrix
from m3l_core.modalities import DepthModality
from m3l_core.overlay import BACKGROUND, class_legend, write
from m3l_core.streaming.stock_synchronizer import stock_sets
from m3l_ros.demo.recording import PHASES, SENSOR_TOPICS, Instant

Masks = Mapping[int, NDArray[np.uint8]]
STOCK_SLOP_NS = 20_000_000


@dataclass(frozen=True, slots=True)
class PhaseResult:
    """One phase in figures."""

    phase: str
    frames: int
    labelled: int
    label_rate_hz: float
    mean_iou: float
    stock_sets: int
    """Sets of a stock ApproximateTimeSynchronizer for the same messages: what a node behind it could label."""


def score(instants: Sequence[Instant], masks: Masks, num_classes: int) -> list[PhaseResult]:
    """Compare masks with the ground truth, phase by phase."""
    sent = [
        (name, instant.stamp_ns) for instant in instants for name in SENSOR_TOPICS if name not in instant.phase.silent
    ]
    stock = {made.stamp_ns for made in stock_sets(sent, list(SENSOR_TOPICS), STOCK_SLOP_NS)}
    period_s = (instants[-1].stamp_ns - instants[0].stamp_ns) / 1e9 / max(1, len(instants) - 1)
    results = []
    for phase in PHASES:
        members = [instant for instant in instants if instant.phase == phase]
        labelled = [instant for instant in members if instant.stamp_ns in masks]
        matrix = ConfusionMatrix(num_classes)
        for instant in labelled:
            matrix.add(instant.truth, masks[instant.stamp_ns])
        results.append(
            PhaseResult(
                phase=phase.name,
                frames=len(members),
                labelled=len(labelled),
                label_rate_hz=round(len(labelled) / max(1, len(members)) / period_s, 2) if period_s else 0.0,
                mean_iou=round(matrix.mean_iou(), 4),
                stock_sets=sum(instant.stamp_ns in stock for instant in members),
            )
        )
    return results


def results_table(results: Sequence[PhaseResult]) -> Table:
    """The results for the console."""
    table = Table(
        title="Labels per phase",
        caption="stock sets: what an ApproximateTimeSynchronizer would have passed on for labelling",
    )
    for column in ("phase", "frames", "labelled", "label rate", "mIoU", "stock sets"):
        table.add_column(column, justify="left" if column == "phase" else "right")
    for result in results:
        table.add_row(
            result.phase,
            str(result.frames),
            str(result.labelled),
            f"{result.label_rate_hz:.1f} Hz",
            f"{result.mean_iou:.3f}",
            str(result.stock_sets),
        )
    return table


def write_report(path: Path, results: Sequence[PhaseResult], accounts: Mapping[str, Any]) -> None:
    """Write the figures, and the node's own accounts, as JSON."""
    # JSON has no NaN: a phase without labels has no mIoU.
    phases = [{key: None if value != value else value for key, value in asdict(result).items()} for result in results]
    content = {"phases": phases, "node": dict(accounts)}
    with replacing_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False), encoding="utf-8")


def write_picture(path: Path, instants: Sequence[Instant], masks: Masks, labels: LabelSet) -> None:
    """Draw a row per phase: color, depth, labels, ground truth, in the middle of the phase."""
    rows = [_title_row(["color", "depth", "labels (m3l_ros)", "ground truth"], instants[0].truth.shape[1])]
    for phase in PHASES:
        members = [instant for instant in instants if instant.phase == phase]
        middle = members[len(members) // 2]
        # The nearest labelled instant: under load the node labels the newest frames, not every one.
        shown = min(
            (instant for instant in members if instant.stamp_ns in masks),
            key=lambda instant: abs(instant.stamp_ns - middle.stamp_ns),
            default=middle,
        )
        rows.append(_row(shown, masks.get(shown.stamp_ns), labels))
    rows.append(class_legend(labels, rows[0].shape[1]))
    picture = cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)
    with replacing_file(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", picture, (cv2.IMWRITE_PNG_COMPRESSION, 9))[1].tobytes())


def _row(instant: Instant, mask: NDArray[np.uint8] | None, labels: LabelSet) -> NDArray[np.uint8]:
    blank = np.full_like(instant.color, BACKGROUND)
    depth = false_color(DepthModality(far_m=6.0), instant.depth)
    tiles = [
        _caption(blank.copy(), "no color") if "color" in instant.phase.silent else instant.color,
        _caption(blank.copy(), "no depth") if "depth" in instant.phase.silent else depth,
        _caption(blank.copy(), "no labels") if mask is None else labels.colorize(mask),
        labels.colorize(instant.truth),
    ]
    tiles[0] = _caption(tiles[0].copy(), instant.phase.name, at=(8, 20))
    return np.hstack(tiles)


def _title_row(titles: Sequence[str], width: int) -> NDArray[np.uint8]:
    return np.hstack([_caption(np.full((28, width, 3), BACKGROUND, np.uint8), title, at=(8, 20)) for title in titles])


def _caption(image: NDArray[np.uint8], text: str, at: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    x, y = at or (image.shape[1] // 2 - 40, image.shape[0] // 2)
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
    image[max(0, y - height - 5) : y + 6, max(0, x - 5) : x + width + 5] = BACKGROUND
    write(image, text, (x, y))
    return image
