"""An evaluation at a glance: bars for the conditions, and what the network makes of a few frames.

Drawn by OpenCV alone; images are (H, W, 3) uint8 RGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.evaluation.report import Subject
from m3l_core.evaluation.robustness import Example, RobustnessResult, Score
from m3l_core.false_color import false_color
from m3l_core.files import replacing_file
from m3l_core.labels import LabelSet
from m3l_core.metrics import mm_robust, subset_key, subsets
from m3l_core.modalities import Modality
from m3l_core.overlay import class_legend

Image = NDArray[np.uint8]
Color = tuple[int, int, int]
Bar = tuple[str, float, float | None, Color]
"""Name, mIoU, ECE, color."""

BACKGROUND, TRACK, WHITE, GRAY = (32, 32, 32), (48, 48, 48), (240, 240, 240), (160, 160, 160)
SUBSET, MEAN, RMM, NM = (90, 150, 230), (250, 200, 70), (110, 190, 120), (200, 120, 190)
LINE, MARGIN, GAP = 26, 16, 4


def write_picture(
    path: Path,
    subject: Subject,
    labels: LabelSet,
    modalities: Sequence[Modality],
    result: RobustnessResult,
    examples: Sequence[Example],
) -> None:
    """Draw an evaluation as PNG: what was measured, bars, a row per example, and the classes' colors."""
    keys = [subset_key(names) for names in subsets(result.modalities)]
    columns = len(modalities) + 1 + len(keys)
    width = columns * min(300, max(110, 1600 // columns))
    parts = [_heading(subject, result, width), _charts(result, width)]
    if examples:
        parts.append(_titles([*result.modalities, "ground truth", *(f"labels from {key}" for key in keys)], width))
        parts += [_row(example, modalities, labels, keys, width) for example in examples]
    parts.append(class_legend(labels, width))
    picture = cv2.cvtColor(np.vstack(parts), cv2.COLOR_RGB2BGR)
    with replacing_file(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", picture, (cv2.IMWRITE_PNG_COMPRESSION, 9))[1].tobytes())


def _heading(subject: Subject, result: RobustnessResult, width: int) -> Image:
    heading = _canvas(2 * LINE + MARGIN, width)
    _write(heading, subject.title, MARGIN, MARGIN + 12, scale=0.7)
    _write(heading, f"a missing modality is fed as: {result.fed_as}", MARGIN, MARGIN + 12 + LINE, GRAY)
    return heading


def _charts(result: RobustnessResult, width: int) -> Image:
    def bar(name: str, score: Score, color: Color) -> Bar:
        return name, score.confusion.mean_iou(), score.calibration.ece(), color

    def mean(name: str, scores: dict[str, Score], color: Color) -> Bar:
        return name, mm_robust({key: score.confusion.mean_iou() for key, score in scores.items()}), None, color

    present = [bar(key, score, SUBSET) for key, score in result.of_subsets().items()]
    present.append(mean("MM-Robust", result.of_subsets(), MEAN))
    rates = result.of_random_missing().items()
    damaged = [mean(f"RMM {rate:.0%} zeros, mean", scores, RMM) for rate, scores in rates]
    damaged += [bar(f"NM {level}", score, NM) for level, score in result.of_noise().items()]
    charts = {"mIoU by sensors present": present} | ({"mIoU with damaged sensors": damaged} if damaged else {})
    height = (2 + max(map(len, charts.values()))) * LINE
    edges = np.linspace(0, width, len(charts) + 1).astype(int)
    drawn = [
        _chart(title, bars, height, right - left)
        for (title, bars), left, right in zip(charts.items(), edges, edges[1:], strict=False)
    ]
    return np.hstack(drawn)


def _chart(title: str, bars: Sequence[Bar], height: int, width: int) -> Image:
    chart = _canvas(height, width)
    _write(chart, title, MARGIN, LINE - 6)
    first = 2 * MARGIN + max(_text_width(name) for name, *_ in bars)
    last = width - MARGIN - _text_width("ECE 0.000") - MARGIN
    _write(chart, "ECE", last + MARGIN, LINE - 6, GRAY)
    for number, (name, miou, ece, color) in enumerate(bars, start=1):
        top, bottom = number * LINE + GAP, (number + 1) * LINE - GAP
        baseline = bottom - 4
        _write(chart, name, MARGIN, baseline)
        chart[top:bottom, first:last] = TRACK
        if np.isfinite(miou):
            end = first + round(miou * (last - first))
            chart[top:bottom, first:end] = color
            if end + 6 + _text_width("0.000") < last:
                _write(chart, f"{miou:.3f}", end + 6, baseline)
            else:
                _write(chart, f"{miou:.3f}", end - 6 - _text_width("0.000"), baseline, BACKGROUND)
        if ece is not None and np.isfinite(ece):
            _write(chart, f"{ece:.3f}", last + MARGIN, baseline, GRAY)
    return chart


def _titles(titles: Sequence[str], width: int) -> Image:
    tile = width // len(titles)
    lines = [_broken(title, tile - 12) for title in titles]
    strip = _canvas(max(map(len, lines)) * 18 + 12, width)
    for index, parts in enumerate(lines):
        for number, part in enumerate(parts):
            _write(strip, part, index * tile + 6, 18 * (number + 1))
    return strip


def _broken(title: str, width: int) -> list[str]:
    """The title in lines, of a modality each where it is too long."""
    return [title] if _text_width(title) < width else title.replace("from ", "from\n").replace("+", "\n+").split("\n")


def _row(example: Example, modalities: Sequence[Modality], labels: LabelSet, keys: Sequence[str], width: int) -> Image:
    tile = width // (len(modalities) + 1 + len(keys))
    size = round(tile * example.truth.shape[0] / example.truth.shape[1]), tile
    seen = [(modality, example.images.get(modality.name)) for modality in modalities]
    tiles = [_resized(None if image is None else false_color(modality, image), size) for modality, image in seen]
    labelled = [example.truth, *(example.labels.get(key) for key in keys)]
    tiles += [
        _resized(None if found is None else labels.colorize(found), size, cv2.INTER_NEAREST) for found in labelled
    ]
    return np.hstack(tiles)


def _resized(image: Image | None, size: tuple[int, int], interpolation: int = cv2.INTER_AREA) -> Image:
    """An image at (H, W) = ``size`` less a rim, or the word that there is none."""
    tile = _canvas(*size)
    if image is None:
        _write(tile, "none", (size[1] - _text_width("none")) // 2, size[0] // 2, GRAY)
    else:
        inner = size[1] - GAP, size[0] - GAP
        tile[:-GAP, :-GAP] = cv2.resize(image, inner, interpolation=interpolation)
    return tile


def _canvas(height: int, width: int) -> Image:
    return np.full((height, width, 3), BACKGROUND, np.uint8)


def _write(image: Image, text: str, x: int, y: int, color: Color = WHITE, scale: float = 0.5) -> None:
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, color, 1, cv2.LINE_AA)


def _text_width(text: str) -> int:
    return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)[0][0]
