#!/usr/bin/env python3
"""Holes and noise of depth images beside each other: of a sensor, and of what the depth sensor model makes of a set.

    python training/experiments/depth_holes.py robot_lab/frames.json nyuv2/val.json

Of every index the frames are taken as they are if they have holes, else as the model gives them at --strength. Prints
how many pixels are holes, how large holes are, where they are, and how rough the rest is, all at 240x320.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from m3l_core.command_line import number_between, positive, run
from m3l_core.datasets.folder import Sample, evenly_spread, read_index, read_sample
from m3l_core.modalities import ColorModality, DepthModality
from m3l_core.preprocessing import metric_depth, resize
from m3l_core.trainer.depth_sensor import comes_from_a_sensor, sense

SIZE = (240, 320)
AREAS = (20, 200, 2000)
"""Holes are counted by these bounds of their area [pixels]."""
DISTANCES_M = (0.5, 1.0, 2.0, 4.0, 8.0)
Row = tuple[str, float]


def look_at(depth_m: NDArray[np.float32], color: NDArray[np.uint8]) -> list[Row]:
    """Figures of one frame; NaN where it has none of what is asked for.

    Args:
        depth_m: (H, W) float32 [m], 0 = invalid.
        color: (H, W, 3) uint8 RGB.
    """
    hole = depth_m == 0
    filled = _filled(depth_m)
    gray = cv2.cvtColor(color, cv2.COLOR_RGB2GRAY)
    window = np.ones((15, 15), np.uint8)
    column = np.minimum(np.arange(SIZE[1]), np.arange(SIZE[1])[::-1])[None].repeat(SIZE[0], 0)
    places = {
        "near an edge of depth": cv2.dilate(filled, window) > 1.25 * cv2.erode(filled, window),
        "within 16 columns of a side": column < 16,
        "dark, below 50": gray < 50,
        "bright, above 220": gray > 220,
        "nearer than 1 m": filled < 1,
        "1 to 4 m": (filled >= 1) & (filled < 4),
        "farther than 4 m": filled >= 4,
    }
    places["elsewhere, 1 to 4 m"] = (
        places["1 to 4 m"] & ~places["near an edge of depth"] & (column >= 16) & (gray >= 50)
    )
    rows = [("holes, share of all pixels", hole.mean()), *_by_size(hole)]
    rows += [
        (f"holes, of the pixels {place}", hole[where].mean() if where.sum() > 100 else np.nan)
        for place, where in places.items()
    ]
    rows += [(f"pixels beyond {far} m", (depth_m > far).mean()) for far in (8, 10)]
    smooth = cv2.GaussianBlur(filled, (0, 0), 3)
    rough = np.abs(filled - smooth) / filled
    for near, far in pairwise(DISTANCES_M):
        where = (filled >= near) & (filled < far) & ~hole & ~places["near an edge of depth"]
        rows.append(
            (f"roughness, {near:g} to {far:g} m", float(np.median(rough[where])) if where.sum() > 100 else np.nan)
        )
    return rows


def _filled(depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
    """Every hole has the depth of the nearest pixel that has one."""
    hole = (depth_m == 0).astype(np.uint8)
    _, nearest = cv2.distanceTransformWithLabels(hole, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    value = np.zeros(nearest.max() + 1, np.float32)
    value[nearest[hole == 0]] = depth_m[hole == 0]
    return value[nearest]


def _by_size(hole: NDArray[np.bool_]) -> list[Row]:
    _, _, found, _ = cv2.connectedComponentsWithStats(hole.astype(np.uint8))
    areas = found[1:, cv2.CC_STAT_AREA]
    bounds = (0, *AREAS, hole.size + 1)
    rows = [("holes, number", float(len(areas)))]
    for least, most in pairwise(bounds):
        part = areas[(areas >= least) & (areas < most)].sum() / hole.size
        name = f"below {most}" if not least else f"{least} to {most}" if most <= hole.size else f"from {least}"
        rows.append((f"holes of {name} pixels, share of all", part))
    return rows


def measure(samples: list[Sample], strength: float) -> tuple[list[Row], float | None]:
    """Means over frames, and the seconds of CPU that the model took for one; None where it was not needed."""
    cv2.setNumThreads(1)
    modalities = (ColorModality(), DepthModality())
    frames, spent_s = [], []
    for number, sample in enumerate(samples):
        images, _ = read_sample(sample, modalities)
        color, depth = (resize(modality, images[modality.name], SIZE) for modality in modalities)
        depth_m, _ = metric_depth(depth)
        if not comes_from_a_sensor(depth_m):
            start = time.process_time()
            depth_m = sense(depth_m, color, SIZE[1], strength, np.random.default_rng([0, number]))
            spent_s.append(time.process_time() - start)
        frames.append(look_at(depth_m, color.astype(np.uint8)))
    names = [name for name, _ in frames[0]]
    values = np.nanmean([[value for _, value in frame] for frame in frames], axis=0)
    return list(zip(names, values.tolist(), strict=True)), float(np.median(spent_s)) if spent_s else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path, nargs="+")
    parser.add_argument("--strength", type=number_between(0, 2), default=1.0, help="of the model (default: 1)")
    parser.add_argument("--limit", type=positive, default=120, help="frames of each index, evenly spread")
    arguments = parser.parse_args()
    table = Table(title="Means over frames", title_justify="left")
    table.add_column("")
    columns = []
    for index in arguments.index:
        samples = [sample for sample in read_index(index) if {"color", "depth"} <= sample.images.keys()]
        rows, spent_s = measure(evenly_spread(samples, arguments.limit), arguments.strength)
        how = "as it is" if spent_s is None else f"model at {arguments.strength:g}, {1e3 * spent_s:.1f} ms"
        table.add_column(f"{index.parent.name}, {how}", justify="right")
        columns.append(rows)
    for lines in zip(*columns, strict=True):
        table.add_row(lines[0][0], *(f"{value:.1f}" if "number" in name else f"{value:.2%}" for name, value in lines))
    Console(width=140).print(table)


if __name__ == "__main__":
    run(main)
