"""Shares of pixels labelled alike, as counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3l_core.replay.measures.label_scores import LabelScores, Share, resized

IDS = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).integers(0, 4, (6, 8), np.uint8))


@given(st.lists(st.tuples(IDS, IDS, IDS), max_size=6), st.integers(0, 6))
def test_parts_add_up_exactly(images: list[tuple[np.ndarray, np.ndarray, np.ndarray]], cut: int) -> None:
    whole, one, other = (LabelScores(4) for _ in range(3))
    for number, (ids, truth, before) in enumerate(images):
        for scores in (whole, one if number < cut else other):
            scores.compare_with_truth(ids, truth)
            scores.compare_with_full(ids, before)
            scores.compare_with_previous(ids, before, 5)
    one.merge(other)
    assert (one.confusion.counts == whole.confusion.counts).all()
    assert (one.accuracy, one.agreement, one.consistency) == (whole.accuracy, whole.agreement, whole.consistency)


@given(IDS, IDS)
def test_each_comparison_gives_the_frame_s_own_share(ids: np.ndarray, truth: np.ndarray) -> None:
    scores = LabelScores(4)
    scores.compare_with_truth(truth, truth)
    known = truth.copy()
    known[0] = 255
    assert scores.compare_with_truth(ids, known) == pytest.approx((ids[1:] == truth[1:]).mean())
    assert scores.compare_with_full(ids, truth) == pytest.approx((ids == truth).mean())


def test_what_cannot_be_compared_counts_for_nothing() -> None:
    ids, scores = np.zeros((2, 2), np.uint8), LabelScores(4)
    assert scores.compare_with_truth(ids, np.full((2, 2), 255, np.uint8)) is None
    assert scores.compare_with_previous(ids, ids, -1_000_000_001) is None
    assert scores.compare_with_previous(ids, np.zeros((2, 3), np.uint8), 0) is None
    assert scores.consistency == Share()
    assert scores.agreement.value is None
    assert scores.compare_with_previous(ids, ids, -1_000_000_000) == 1


def test_ids_are_resized_by_the_nearest_pixel() -> None:
    ids = np.array([[1, 9]], np.uint8)
    assert resized(ids, (2, 4)).tolist() == [[1, 1, 9, 9]] * 2
    assert resized(ids, (1, 2)) is ids


@given(IDS, IDS, IDS)
def test_pixels_without_a_label_are_counted_and_compared_with_nothing(
    ids: np.ndarray, other: np.ndarray, unsure: np.ndarray
) -> None:
    scores, sure = LabelScores(4), unsure > 0
    careful = np.where(sure, ids, np.uint8(255))
    assert scores.count(careful) == sure.mean()
    expected = (ids == other)[sure].mean() if sure.any() else None
    assert scores.compare_with_truth(careful, other) == expected
    assert scores.compare_with_full(careful, other) == expected
    assert scores.compare_with_previous(other, careful, 0) == expected
    assert scores.confusion.counts.sum() == sure.sum()
