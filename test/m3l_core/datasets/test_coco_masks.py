"""Polygons and both kinds of run lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from m3l_core.datasets.coco_masks import decode_counts, draw_segmentation, mask_runs
from m3l_core.errors import DatasetError

MASKS = arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, max_side=40))


def runs_of(mask: NDArray[np.bool_]) -> list[int]:
    """Down the columns, beginning with what is outside."""
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(flat.astype(int), prepend=0))
    return np.diff([0, *changes, flat.size]).tolist()


def text_of(runs: list[int]) -> str:
    """COCO's text: signed numbers of five bits a character, from the fourth on less the last but one."""
    text = ""
    for number, run in enumerate(runs):
        value = run - runs[number - 2] if number > 2 else run
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text += chr((bits | 32 if more else bits) + 48)
    return text


@settings(deadline=None)
@given(MASKS)
def test_run_lengths_give_the_mask_back(mask: NDArray[np.bool_]) -> None:
    runs = runs_of(mask)
    assert mask_runs(mask) == runs
    for counts in (runs, text_of(runs)):
        drawn = draw_segmentation(mask.shape, {"size": list(mask.shape), "counts": counts})
        np.testing.assert_array_equal(drawn, mask)


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**6), max_size=30))
def test_text_gives_the_run_lengths_back(runs: list[int]) -> None:
    assert decode_counts(text_of(runs)) == runs


def test_text_by_hand() -> None:
    # 3, 5, 40 (two characters), 6 = 5 + 1.
    assert decode_counts("35X11") == [3, 5, 40, 6]


@settings(deadline=None)
@given(st.integers(0, 8), st.integers(1, 8), st.integers(0, 8), st.integers(1, 8))
def test_a_rectangle_holds_its_pixels(top: int, height: int, left: int, width: int) -> None:
    bottom, right = top + height, left + width
    mask = draw_segmentation((20, 20), [[left, top, right, top, right, bottom, left, bottom]])
    assert mask[top:bottom, left:right].all()
    assert mask.sum() == height * width


POINTS = st.tuples(st.floats(-5, 15), st.floats(-5, 15))


@settings(deadline=None)
@given(POINTS, POINTS, POINTS)
def test_a_triangle_holds_the_pixels_whose_centres_lie_inside(
    a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]
) -> None:
    mask = draw_segmentation((10, 12), [[*a, *b, *c]])
    rows, columns = np.mgrid[:10, :12] + 0.5

    def side(p: tuple[float, float], q: tuple[float, float]) -> NDArray[np.float64]:
        return (q[0] - p[0]) * (rows - p[1]) - (q[1] - p[1]) * (columns - p[0])

    sides = np.stack([side(a, b), side(b, c), side(c, a)])
    clear = (abs(sides) > 1e-6).all(axis=0)
    inside = (sides > 0).all(axis=0) | (sides < 0).all(axis=0)
    np.testing.assert_array_equal(mask[clear], inside[clear])


def test_polygons_of_one_object_are_drawn_together() -> None:
    mask = draw_segmentation((4, 12), [[0, 0, 2, 0, 2, 2, 0, 2], [9, 1, 11, 1, 11, 3, 9, 3]])
    assert mask[0, 0]
    assert mask[2, 10]
    assert not mask[:, 5].any()


@pytest.mark.parametrize(
    "segmentation",
    [
        [[1, 2, 3]],
        [["a", "b"]],
        7,
        None,
        {"counts": [4]},
        {"size": [2, 3], "counts": [6]},
        {"size": [2, 2], "counts": [5]},
        {"size": [2, 2], "counts": "4 "},
        {"size": [2, 2], "counts": "P"},
        {"size": [2, 2], "counts": [-1, 5]},
        {"size": [2, 2], "counts": [10**30, 4 - 10**30]},
        [[10**400, 0, 1, 0, 1, 1]],
        [[float("nan"), 0, 1, 0, 1, 1]],
    ],
)
def test_anything_else_is_refused(segmentation: Any) -> None:
    with pytest.raises(DatasetError, match=r"neither polygons nor run lengths of \(2, 2\)"):
        draw_segmentation((2, 2), segmentation)
