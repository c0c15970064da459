"""Bundles and labels with other classes are measured in those that both can be mapped to."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from support.half_scenes import IOU, SumEngine, describe, write_frames

from m3l_core.datasets.folder import Sample
from m3l_core.errors import DatasetError
from m3l_core.evaluation.conditions import standard_conditions
from m3l_core.evaluation.evaluated_classes import EvaluatedClasses
from m3l_core.evaluation.robustness import RobustnessEvaluator, RobustnessResult

SUBSETS = standard_conditions(("color", "depth"), ())
LABELS = describe().labels
FIRST, SECOND, THIRD = LABELS.names


def relabelled(samples: list[Sample], ids: dict[int, int]) -> list[Sample]:
    for sample in samples:
        label = cv2.imread(str(sample.label), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(sample.label), np.vectorize(ids.get)(label).astype(np.uint8))
    return samples


def measure(samples: list[Sample], classes: EvaluatedClasses) -> RobustnessResult:
    return RobustnessEvaluator(SumEngine(), describe(), classes=classes).measure(samples, SUBSETS)


def test_labels_in_another_order_measure_the_same(tmp_path: Path) -> None:
    samples = relabelled(write_frames(tmp_path, 2), {0: 2, 1: 0})
    classes = EvaluatedClasses.mapped(LABELS, {"x": SECOND, "y": None, "z": FIRST}, None)
    assert classes.measured == {0, 1}
    result = measure(samples, classes)
    for key, score in result.of_subsets().items():
        np.testing.assert_allclose(score.confusion.iou(), (*IOU[key], np.nan))


def test_a_class_that_the_labels_do_not_have_is_wrong_but_not_in_the_mean(tmp_path: Path) -> None:
    # All that is labelled is class 0; what the engine calls class 1 is no class of the labels.
    samples = relabelled(write_frames(tmp_path, 2), {0: 0, 1: 0})
    plain = measure(samples, EvaluatedClasses(LABELS)).of_subsets()["color+depth"].confusion
    mapped = measure(samples, EvaluatedClasses.mapped(LABELS, {"x": FIRST}, None)).of_subsets()["color+depth"].confusion
    np.testing.assert_array_equal(mapped.counts, plain.counts)
    assert plain.counts[0, 1] > 0
    assert plain.iou()[1] == 0
    assert np.isnan(mapped.iou()[1])
    assert mapped.iou()[0] == plain.iou()[0] < 1
    assert mapped.mean_iou() == mapped.iou()[0]
    assert plain.mean_iou() == mapped.iou()[0] / 2


def test_bundle_and_labels_are_both_mapped_to_a_third_set_of_classes(tmp_path: Path) -> None:
    samples = write_frames(tmp_path, 2)
    classes = EvaluatedClasses.mapped(LABELS, {"x": "room", "y": "room"}, {FIRST: "room", SECOND: "room", THIRD: "bed"})
    assert classes.labels.names == ("room", "bed")
    assert classes.labels.classes[0].color == LABELS.classes[0].color
    for score in measure(samples, classes).of_subsets().values():
        np.testing.assert_allclose(score.confusion.iou(), (1.0, np.nan))


def test_classes_that_only_the_labels_have_are_gray() -> None:
    classes = EvaluatedClasses.mapped(LABELS, {"x": "room", "y": "bed"}, dict.fromkeys(LABELS.names, "room"))
    assert [entry.color for entry in classes.labels.classes] == [LABELS.classes[0].color, (128, 128, 128)]


@pytest.mark.parametrize(
    "mapping", [{FIRST: "room", SECOND: "room"}, {FIRST: "a", SECOND: "b", THIRD: None}, {"x": "a", "y": "b", "z": "c"}]
)
def test_every_class_of_the_bundle_must_become_one(mapping: dict[str, str | None]) -> None:
    with pytest.raises(DatasetError, match="needs a class for each of its own"):
        EvaluatedClasses.mapped(LABELS, None, mapping)
