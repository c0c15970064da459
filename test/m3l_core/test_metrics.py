"""IoU against sets of pixels counted one class at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from m3l_core.labels import IGNORE
from m3l_core.metrics import ConfusionMatrix, subset_key, subsets

K = 4
SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, max_side=6)
Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def truths(shape: tuple[int, ...]) -> st.SearchStrategy[NDArray[Any]]:
    return arrays.arrays(np.uint8, shape, elements=st.sampled_from([*range(K), IGNORE]))


def predictions(shape: tuple[int, ...]) -> st.SearchStrategy[NDArray[Any]]:
    return arrays.arrays(np.uint8, shape, elements=st.integers(0, K - 1))


PAIRS = SHAPES.flatmap(lambda shape: st.tuples(truths(shape), predictions(shape)))


def matrix_of(*pairs: Pair) -> ConfusionMatrix:
    matrix = ConfusionMatrix(K)
    for truth, labels in pairs:
        matrix.add(truth, labels)
    return matrix


def naive_iou(truth: NDArray[np.uint8], labels: NDArray[np.uint8], number: int) -> float:
    counted = {index for index, value in enumerate(truth.flat) if value != IGNORE}
    true = {index for index in counted if truth.flat[index] == number}
    found = {index for index in counted if labels.flat[index] == number}
    return len(true & found) / len(true | found) if true | found else math.nan


@given(PAIRS)
def test_iou_is_that_of_sets_of_pixels(pair: Pair) -> None:
    expected = [naive_iou(*pair, number) for number in range(K)]
    matrix = matrix_of(pair)
    np.testing.assert_allclose(matrix.iou(), expected)
    occurring = [value for value in expected if not math.isnan(value)]
    mean = sum(occurring) / len(occurring) if occurring else math.nan
    assert matrix.mean_iou() == pytest.approx(mean, nan_ok=True)


@given(PAIRS, PAIRS)
def test_parts_merged_are_the_whole(first: Pair, second: Pair) -> None:
    merged = matrix_of(first)
    merged.merge(matrix_of(second))
    together = (
        np.concatenate([first[0].ravel(), second[0].ravel()])[None],
        np.concatenate([first[1].ravel(), second[1].ravel()])[None],
    )
    assert np.array_equal(merged.counts, matrix_of(together).counts)
    assert np.array_equal(merged.counts, matrix_of(first, second).counts)


@given(PAIRS, st.integers(0, 255))
def test_what_is_predicted_on_an_unlabelled_pixel_does_not_matter(pair: Pair, other: int) -> None:
    truth, labels = pair
    changed = np.where(truth == IGNORE, other, labels).astype(np.uint8)
    assert np.array_equal(matrix_of(pair).counts, matrix_of((truth, changed)).counts)


@given(PAIRS)
def test_every_labelled_pixel_is_counted_once(pair: Pair) -> None:
    assert matrix_of(pair).counts.sum() == (pair[0] != IGNORE).sum()


def test_truth_against_itself_is_perfect_over_the_classes_that_occur() -> None:
    truth = np.array([[0, 0, 2], [2, 255, 0]], np.uint8)
    matrix = matrix_of((truth, np.where(truth == IGNORE, 0, truth).astype(np.uint8)))
    np.testing.assert_array_equal(matrix.iou(), [1.0, math.nan, 1.0, math.nan])
    assert matrix.mean_iou() == 1.0


def test_nothing_counted_gives_nan_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    assert math.isnan(ConfusionMatrix(K).mean_iou())
    assert not recwarn.list


@pytest.mark.parametrize(
    ("truth", "labels", "reason"),
    [
        ([[0, 1]], [[0], [1]], "differ in shape"),
        ([[0, K]], [[0, 0]], f"below {K}"),
        ([[0, 0]], [[0, K]], f"below {K}"),
        ([[0, 0]], [[0, IGNORE]], f"below {K}"),
    ],
)
def test_images_that_do_not_fit_are_refused_and_count_nothing(
    truth: list[list[int]], labels: list[list[int]], reason: str
) -> None:
    matrix = ConfusionMatrix(K)
    with pytest.raises(ValueError, match=reason):
        matrix.add(np.array(truth, np.uint8), np.array(labels, np.uint8))
    assert matrix.counts.sum() == 0


def test_subsets_start_with_all_and_keep_the_order_of_the_modalities() -> None:
    assert [subset_key(names) for names in subsets(("color", "depth", "thermal"))] == [
        "color+depth+thermal",
        "color+depth",
        "color+thermal",
        "depth+thermal",
        "color",
        "depth",
        "thermal",
    ]


@given(st.integers(1, 5))
def test_there_are_two_to_the_n_less_one_subsets(number: int) -> None:
    found = subsets([f"sensor_{index}" for index in range(number)])
    assert len(set(found)) == len(found) == 2**number - 1
