"""Masks as COCO annotations write them: polygons, or run lengths down the columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3l_core.errors import DatasetError

_MOST_CORNERS = 100_000
"""Of a polygon: every one is compared with every row."""


def draw_segmentation(size: tuple[int, int], segmentation: Any) -> NDArray[np.bool_]:
    """(H, W) bool of one object.

    Args:
        size: (H, W) of the image.
        segmentation: a list of polygons ``[x, y, x, y, ...]`` in pixels, or ``{"size": [H, W], "counts": ...}`` with
            run lengths as a list of numbers or as COCO's text.

    Raises:
        DatasetError: it is neither.
    """
    try:
        if isinstance(segmentation, dict):
            return _from_runs(size, segmentation)
        mask = np.zeros(size, np.bool_)
        for polygon in segmentation:
            corners = np.asarray(polygon, np.float64).reshape(-1, 2)
            if len(corners) > _MOST_CORNERS:
                raise ValueError(f"a polygon has {len(corners)} corners, expected {_MOST_CORNERS} at most")
            if not np.isfinite(corners).all():
                raise ValueError("a corner has no finite coordinates")
            mask |= _filled(size, corners)
        return mask
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise DatasetError(f"a segmentation is neither polygons nor run lengths of {size}: {error}") from error


def _filled(size: tuple[int, int], corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Pixels whose centres lie inside, by the even-odd rule; a coordinate counts from the image's corner."""
    (x, y), (next_x, next_y) = corners.T, np.roll(corners, -1, axis=0).T
    centres = np.arange(size[0])[:, None] + 0.5
    rows, edges = np.nonzero((y <= centres) != (next_y <= centres))
    slope = (next_x[edges] - x[edges]) / (next_y[edges] - y[edges])
    crossing = x[edges] + (centres[rows, 0] - y[edges]) * slope
    turns = np.zeros((size[0], size[1] + 1), np.int32)
    np.add.at(turns, (rows, np.ceil(crossing - 0.5).clip(0, size[1]).astype(np.intp)), 1)
    inside: NDArray[np.bool_] = turns.cumsum(axis=1)[:, :-1] % 2 == 1
    return inside


def _from_runs(size: tuple[int, int], segmentation: dict[str, Any]) -> NDArray[np.bool_]:
    if list(segmentation["size"]) != list(size):
        raise ValueError(f"it is for {segmentation['size']}")
    counts = segmentation["counts"]
    runs = decode_counts(counts) if isinstance(counts, str) else [int(count) for count in counts]
    if sum(runs) != size[0] * size[1]:
        raise ValueError(f"its runs are {sum(runs)} pixels long")
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(size[::-1]).T


def mask_runs(mask: NDArray[np.bool_]) -> list[int]:
    """Run lengths of an (H, W) bool mask down the columns, beginning with what is outside."""
    flat = mask.T.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs: list[int] = np.diff([0, *changes, flat.size]).tolist()
    return [0, *runs] if flat[:1].any() else runs


def decode_counts(text: str) -> list[int]:
    """Run lengths of COCO's text: five bits a character, least first; from the fourth on, less the last but one.

    Raises:
        ValueError: the text ends within a number or has another character.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"'{character}' is no character of run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("run lengths end within a number")
    return runs
