"""Counts over frames of which every figure is known by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.half_scenes import CONFIDENCE, IOU, SumEngine, describe, write_frames

from m3l_core.datasets.folder import Sample, evenly_spread
from m3l_core.errors import DatasetError
from m3l_core.evaluation.conditions import MISSING, Missing, Subset, standard_conditions
from m3l_core.evaluation.robustness import (
    RobustnessEvaluator,
    RobustnessResult,
    labelled_samples,
)
from m3l_core.modalities import DepthModality

SUBSETS = standard_conditions(("color", "depth"), ())
ALL = standard_conditions(("color", "depth"))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Four frames, for reading only."""
    return write_frames(tmp_path_factory.mktemp("halves"), 4)


def evaluator(missing: Missing = "token") -> RobustnessEvaluator:
    return RobustnessEvaluator(SumEngine(), describe(), missing)


def counts(result: RobustnessResult) -> dict[str, tuple[list[list[int]], list[list[int]], int]]:
    return {
        condition.name: (score.confusion.counts.tolist(), score.calibration.counts.tolist(), score.frames)
        for condition, score in result.scores.items()
    }


@pytest.mark.parametrize("missing", ["token", "zero"])
@pytest.mark.parametrize("size", [(64, 96), (128, 192), (32, 48)])
def test_iou_of_every_subset_at_the_size_of_the_label(tmp_path: Path, size: tuple[int, int], missing: Missing) -> None:
    result = evaluator(missing).measure(write_frames(tmp_path, 2, size), SUBSETS)
    assert list(result.of_subsets()) == list(IOU)
    for key, score in result.of_subsets().items():
        np.testing.assert_allclose(score.confusion.iou(), (*IOU[key], np.nan))
        assert score.confusion.counts.sum() == score.calibration.counts.sum() == 2 * size[0] * size[1]
        accuracy = np.trace(score.confusion.counts) / score.confusion.counts.sum()
        assert score.calibration.ece() == pytest.approx(abs(accuracy - CONFIDENCE / 255))
        assert score.frames == 2


def test_a_black_image_said_to_be_present_is_seen(samples: list[Sample]) -> None:
    result = evaluator("black").measure(samples, SUBSETS)
    # Black is class 0 to this engine, and louder than depth.
    np.testing.assert_allclose(result.of_subsets()["depth"].confusion.iou(), (0.5, 0.0, np.nan))
    np.testing.assert_allclose(result.of_subsets()["color"].confusion.iou(), (1.0, 1.0, np.nan))


@pytest.mark.parametrize("missing", MISSING)
def test_the_engine_is_told_what_is_missing_only_with_the_token(samples: list[Sample], missing: Missing) -> None:
    engine = SumEngine()
    RobustnessEvaluator(engine, describe(), missing).measure(samples[:1], SUBSETS)
    told = [model_input.present[0].tolist() for model_input in engine.inputs]
    assert told == ([[True, True], [True, False], [False, True]] if missing == "token" else [[True, True]] * 3)


def test_damage_makes_it_worse_and_the_full_subset_is_part_of_rmm(samples: list[Sample]) -> None:
    result = evaluator().measure(samples, ALL)
    full = result.of_subsets()["color+depth"]
    rates = result.of_random_missing()
    assert list(rates) == [0.25, 0.5, 0.75]
    for scores in rates.values():
        assert list(scores) == ["color+depth", "color", "depth"]
        assert scores["color+depth"] is full
    color_hit = [scores["depth"].confusion.mean_iou() for scores in rates.values()]
    assert [*color_hit] == sorted(color_hit, reverse=True)
    assert color_hit[0] < 1.0
    noise = [score.confusion.mean_iou() for score in result.of_noise().values()]
    assert list(result.of_noise()) == ["low", "mid", "high"]
    assert noise == sorted(noise, reverse=True)
    assert noise[0] < 1.0


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(4)), cut=st.integers(0, 4))
def test_parts_in_any_order_merge_to_the_whole(samples: list[Sample], order: list[int], cut: int) -> None:
    whole = evaluator().measure(samples, ALL)
    shuffled = [samples[index] for index in order]
    first, second = (evaluator().measure(part, ALL[::-1]) for part in (shuffled[:cut], shuffled[cut:]))
    first.merge(second)
    assert counts(first) == counts(whole)


def test_damage_does_not_depend_on_what_else_is_measured(samples: list[Sample]) -> None:
    whole, alone = evaluator().measure(samples, ALL), evaluator().measure(samples, ALL[-1:])
    assert counts(alone) == {ALL[-1].name: counts(whole)[ALL[-1].name]}


def test_results_of_other_conditions_are_not_merged(samples: list[Sample]) -> None:
    result = evaluator().measure(samples[:1], SUBSETS)
    before = counts(result)
    others = (evaluator().measure(samples[:1], ALL), evaluator("zero").measure(samples[:1], SUBSETS))
    for other in others:
        with pytest.raises(ValueError, match="can be merged"):
            result.merge(other)
    assert counts(result) == before


def test_what_a_frame_lacks_is_missing_under_every_condition(samples: list[Sample]) -> None:
    blind = replace(samples[0], images={"depth": samples[0].images["depth"]})
    engine = SumEngine()
    result = RobustnessEvaluator(engine, describe(), "token").measure([blind, samples[1]], ALL)
    frames = {condition.name: score.frames for condition, score in result.scores.items()}
    assert frames.pop("color") == 1
    assert set(frames.values()) == {2}
    np.testing.assert_allclose(result.of_subsets()["color"].confusion.iou(), (*IOU["color"], np.nan))
    of_blind = engine.inputs[: len(ALL) - 1]
    assert [model_input.present[0].tolist() for model_input in of_blind] == [[False, True]] * len(of_blind)
    assert list(evaluator().example(blind).labels) == ["color+depth", "depth"]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_one_to_four_modalities(tmp_path: Path, count: int) -> None:
    modalities = tuple(DepthModality(name=f"depth_{number}") for number in range(count))
    described = describe(modalities)
    frames = write_frames(tmp_path, 1, modalities=described.modality_names)
    conditions = standard_conditions(described.modality_names)
    result = RobustnessEvaluator(SumEngine(), described).measure(frames, conditions)
    assert len(result.of_subsets()) == 2**count - 1
    for score in result.of_subsets().values():
        np.testing.assert_allclose(score.confusion.iou(), (*IOU["depth"], np.nan))
    assert len(result.of_random_missing()) == (3 if count > 1 else 0)


def test_an_example_shows_what_was_read_and_what_is_made_of_it(samples: list[Sample]) -> None:
    example = evaluator().example(samples[0])
    assert example.images["color"].shape == (64, 96, 3)
    assert example.images["depth"].dtype == np.uint16
    assert list(example.labels) == list(IOU)
    assert np.array_equal(example.labels["color"], example.truth)
    assert not example.labels["depth"][32:].any()


def test_ignored_pixels_are_left_out(tmp_path: Path) -> None:
    sample = write_frames(tmp_path, 1)[0]
    label = np.full((64, 96), 255, np.uint8)
    label[40:50, 60:70] = 1
    cv2.imwrite(str(sample.label), label)
    result = evaluator().measure([sample], SUBSETS)
    assert {int(score.confusion.counts.sum()) for score in result.scores.values()} == {100}
    np.testing.assert_allclose(result.of_subsets()["depth"].confusion.iou(), (0.0, 0.0, np.nan))


def test_a_class_that_the_bundle_does_not_know_is_told(tmp_path: Path) -> None:
    sample = write_frames(tmp_path, 1)[0]
    cv2.imwrite(str(sample.label), np.full((64, 96), 3, np.uint8))
    with pytest.raises(DatasetError, match=r"has the class id 3, but there are 3 classes: expected 0 to 2"):
        evaluator().measure([sample], SUBSETS)


def test_frames_without_a_label_are_set_aside(samples: list[Sample]) -> None:
    unlabelled = replace(samples[1], label=None)
    assert labelled_samples([samples[0], unlabelled, samples[2]], Path("val.json")) == [samples[0], samples[2]]
    with pytest.raises(DatasetError, match=r"val.json: none of its 2 frames has a label"):
        labelled_samples([unlabelled, unlabelled], Path("val.json"))
    with pytest.raises(DatasetError, match="has no label"):
        evaluator().measure([unlabelled], SUBSETS)


@given(st.integers(1, 50), st.integers(1, 60))
def test_a_limit_takes_different_frames_from_the_whole_range(count: int, limit: int) -> None:
    numbered = [Sample({}, None, f"{number:02d}") for number in range(count)]
    chosen = [sample.recording for sample in evenly_spread(numbered, limit)]
    assert len(set(chosen)) == len(chosen) == min(count, limit)
    assert chosen == sorted(chosen)
    assert chosen[0] == "00"
    if len(chosen) > 1:
        assert chosen[-1] == numbered[-1].recording
    assert evenly_spread(numbered, None) == numbered


def test_no_frame_has_no_figures() -> None:
    result = evaluator().measure([], [Subset(("color",))])
    assert np.isnan(result.of_subsets()["color"].confusion.mean_iou())
