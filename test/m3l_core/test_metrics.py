"""IoU and calibration against pixels counted one at a time; what means over subsets must obey."""

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
from m3l_core.metrics import (
    CalibrationError,
    ConfusionMatrix,
    expected_miou,
    mm_robust,
    subset_key,
    subset_weights,
    subsets,
    worst_subset,
)

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


@given(PAIRS, st.sets(st.integers(0, K - 1)))
def test_a_class_that_is_not_measured_has_no_iou_and_changes_no_other(pair: Pair, measured: set[int]) -> None:
    whole, part = matrix_of(pair), ConfusionMatrix(K, measured)
    part.add(*pair)
    np.testing.assert_array_equal(part.counts, whole.counts)
    expected = [value if number in measured else math.nan for number, value in enumerate(whole.iou())]
    np.testing.assert_array_equal(part.iou(), expected)
    known = [value for value in expected if math.isfinite(value)]
    np.testing.assert_allclose(part.mean_iou(), np.mean(known) if known else math.nan)


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
    ],
)
def test_images_that_do_not_fit_are_refused_and_count_nothing(
    truth: list[list[int]], labels: list[list[int]], reason: str
) -> None:
    matrix = ConfusionMatrix(K)
    with pytest.raises(ValueError, match=reason):
        matrix.add(np.array(truth, np.uint8), np.array(labels, np.uint8))
    assert matrix.counts.sum() == 0


def test_pixels_without_a_label_or_without_a_truth_are_left_out() -> None:
    matrix = ConfusionMatrix(K)
    matrix.add(np.array([[0, 1, IGNORE, 2]], np.uint8), np.array([[0, IGNORE, 1, 1]], np.uint8))
    assert matrix.counts.sum() == 2 and matrix.counts[0, 0] == matrix.counts[2, 1] == 1


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


# --- means over subsets ---

MODALITIES = st.sampled_from([("color",), ("color", "depth"), ("color", "depth", "thermal", "lidar")])
PROBABILITIES = st.floats(0.0, 0.99)


@st.composite
def measured(draw: st.DrawFn) -> tuple[tuple[str, ...], dict[str, float]]:
    modalities = draw(MODALITIES)
    return modalities, {subset_key(names): draw(st.floats(0.0, 1.0)) for names in subsets(modalities)}


def test_expected_miou_of_two_sensors_by_hand() -> None:
    miou = {"color+depth": 0.6, "color": 0.4, "depth": 0.5}
    assert mm_robust(miou) == pytest.approx(0.5)
    assert worst_subset(miou) == "color"
    # 0.81 for both, 0.09 for each alone.
    expected = (0.81 * 0.6 + 0.09 * 0.4 + 0.09 * 0.5) / 0.99
    assert expected_miou(miou, ("color", "depth"), 0.1) == pytest.approx(expected)


@given(MODALITIES, PROBABILITIES)
def test_weights_of_the_subsets_sum_to_one(modalities: tuple[str, ...], p: float) -> None:
    weights = subset_weights(modalities, p)
    assert list(weights) == [subset_key(names) for names in subsets(modalities)]
    assert sum(weights.values()) == pytest.approx(1.0)
    assert min(weights.values()) >= 0.0


@given(measured(), PROBABILITIES)
def test_means_lie_between_the_worst_and_the_best_subset(
    found: tuple[tuple[str, ...], dict[str, float]], p: float
) -> None:
    modalities, miou = found
    worst, best = min(miou.values()), max(miou.values())
    assert miou[worst_subset(miou)] == worst
    for mean in (mm_robust(miou), expected_miou(miou, modalities, p)):
        assert worst - 1e-9 <= mean <= best + 1e-9


@given(measured())
def test_where_nothing_fails_the_full_subset_is_expected(found: tuple[tuple[str, ...], dict[str, float]]) -> None:
    modalities, miou = found
    full = miou[subset_key(modalities)]
    assert expected_miou(miou, modalities, 0.0) == full
    assert expected_miou(miou, modalities, 1e-9) == pytest.approx(full, abs=1e-6)


@given(measured())
def test_with_even_chances_every_subset_weighs_the_same(found: tuple[tuple[str, ...], dict[str, float]]) -> None:
    modalities, miou = found
    assert expected_miou(miou, modalities, 0.5) == pytest.approx(mm_robust(miou))


def test_a_subset_that_could_not_be_measured_spoils_the_means() -> None:
    miou = {"color+depth": 0.6, "color": 0.4, "depth": math.nan}
    assert worst_subset(miou) == "depth"
    assert math.isnan(mm_robust(miou))
    assert math.isnan(expected_miou(miou, ("color", "depth"), 0.1))


@pytest.mark.parametrize("p", [-0.1, 1.0, math.nan])
def test_a_probability_that_is_none_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="must be in"):
        subset_weights(("color", "depth"), p)


# --- calibration ---

CONFIDENT = SHAPES.flatmap(
    lambda shape: st.tuples(
        truths(shape), predictions(shape), arrays.arrays(np.uint8, shape, elements=st.integers(0, 255))
    )
)
Images = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]


def calibration_of(*images: Images) -> CalibrationError:
    calibration = CalibrationError()
    for truth, labels, confidence in images:
        calibration.add(truth, labels, confidence)
    return calibration


def naive_ece(images: Images, bins: int) -> float:
    truth, labels, confidence = (image.ravel() for image in images)
    members: dict[int, list[tuple[float, bool]]] = {}
    for true, label, value in zip(truth, labels, confidence.astype(int), strict=True):
        if true != IGNORE:
            number = next(index for index in range(bins) if value * bins <= (index + 1) * 255)
            members.setdefault(number, []).append((value / 255, bool(true == label)))
    pixels = sum(map(len, members.values()))
    gaps = [abs(sum(right - value for value, right in pairs)) for pairs in members.values()]
    return sum(gaps) / pixels if pixels else math.nan


@given(CONFIDENT, st.integers(1, 40))
def test_ece_is_that_of_pixels_sorted_into_bins(images: Images, bins: int) -> None:
    assert calibration_of(images).ece(bins) == pytest.approx(naive_ece(images, bins), nan_ok=True)


@given(CONFIDENT, CONFIDENT)
def test_calibration_of_merged_parts_is_that_of_the_whole(first: Images, second: Images) -> None:
    merged = calibration_of(first)
    merged.merge(calibration_of(second))
    assert np.array_equal(merged.counts, calibration_of(first, second).counts)
    together = tuple(np.concatenate([one.ravel(), other.ravel()]) for one, other in zip(first, second, strict=True))
    assert merged.ece() == pytest.approx(calibration_of(together).ece(), nan_ok=True)


def test_labels_as_often_right_as_they_are_confident_have_no_calibration_error() -> None:
    random = np.random.default_rng(0)
    confidence = random.integers(0, 256, (400, 500)).astype(np.uint8)
    labels = (random.random(confidence.shape) * 255 < confidence).astype(np.uint8)
    truth = np.ones_like(labels)
    calibration = calibration_of((truth, labels, confidence))
    assert calibration.ece() < 0.01
    curve = calibration.reliability()
    assert curve.pixels.sum() == truth.size
    np.testing.assert_allclose(curve.accuracy, curve.confidence, atol=0.03)
    assert calibration_of((truth, 1 - labels, confidence)).ece() > 0.3


def test_certainty_that_is_always_wrong_is_the_largest_error_and_empty_bins_are_told() -> None:
    wrong = np.zeros((2, 3), np.uint8)
    calibration = calibration_of((wrong + 1, wrong, wrong + 255))
    assert calibration.ece() == 1.0
    curve = calibration.reliability(5)
    assert curve.pixels.tolist() == [0, 0, 0, 0, 6]
    assert curve.accuracy[-1] == 0.0
    assert np.isnan(curve.accuracy[:-1]).all()


def test_no_pixel_has_no_calibration_error(recwarn: pytest.WarningsRecorder) -> None:
    assert math.isnan(CalibrationError().ece())
    assert not recwarn.list


@pytest.mark.parametrize("other", range(3), ids=["truth", "labels", "confidence"])
@pytest.mark.parametrize("shape", [(1, 3), (3, 3)])
def test_an_image_of_another_shape_is_refused_and_counts_nothing(other: int, shape: tuple[int, int]) -> None:
    calibration, images = CalibrationError(), [np.zeros((2, 3), np.uint8)] * 3
    images[other] = np.zeros(shape, np.uint8)
    with pytest.raises(ValueError, match="differ in shape"):
        calibration.add(*images)
    assert calibration.counts.sum() == 0


def test_as_in_the_paper_there_are_fifteen_bins_if_nothing_else_is_said() -> None:
    calibration = CalibrationError()
    calibration.counts[:, 0], calibration.counts[::3, 1] = 1, 2
    assert len(calibration.reliability().pixels) == 15
    assert calibration.ece() == calibration.ece(15)
    assert len({calibration.ece(bins) for bins in (14, 15, 16)}) == 3
