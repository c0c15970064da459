"""Bundle and report tell what a training was made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.rooms import recipe

from m3l_core.datasets.folder import Sample, Teacher
from m3l_core.model.start_weights import StartWeights
from m3l_core.trainer.data import TrainingData
from m3l_core.trainer.method import Method
from m3l_core.trainer.provenance import Provenance, method_names

pytestmark = pytest.mark.needs("torch")
FRAME = Sample({"color": Path("color.jpg")}, Path("label.png"), "a")


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ({}, ("supervised",)),
        ({"modality_dropout": {}}, ("supervised", "modality dropout")),
        ({"pseudo_labels": "cross", "cutmix": 0.5}, ("cross pseudo supervision", "CutMix")),
        (
            {
                "pseudo_labels": "mean_teacher",
                "confidence": "threshold",
                "confidence_threshold": 0.9,
                "strong_view": {},
            },
            ("mean teacher", "pseudo labels above 0.9", "strong view"),
        ),
        (
            {
                "pseudo_labels": "mean_teacher",
                "confidence": "weight",
                "distillation_weight": 0.5,
                "modality_dropout": {"partial": 0.5},
                "noise": 0.1,
            },
            (
                "mean teacher",
                "pseudo labels weighted by confidence",
                "distillation",
                "modality dropout",
                "partial token masking",
                "noise",
            ),
        ),
    ],
)
def test_a_method_is_told_by_the_names_of_its_parts(method: dict[str, Any], names: tuple[str, ...]) -> None:
    assert method_names(Method.model_validate(method)) == names


def test_a_supervised_training_on_a_whole_list() -> None:
    rows = Provenance.of(recipe(seed=3), TrainingData([FRAME] * 4, [], [FRAME] * 2), "train").rows()
    assert rows == {
        "method": "supervised",
        "labelled frames": "4 of train.json",
        "unlabelled frames": "none",
        "validation frames": "2 of val.json",
        "iterations": "10, seed 3",
        "start weights": "random, Apache-2.0",
    }


def test_a_training_on_part_of_the_labels_and_frames_of_another_list() -> None:
    lists = {"labelled": "train.json", "validation": "val.json", "unlabelled": "more.json"}
    made = recipe(
        data=lists | {"label_fraction": 0.25, "label_seed": 7},
        method={"pseudo_labels": "mean_teacher"},
        source={"dataset": "sun_rgbd", "classes": 37},
    )
    terms = StartWeights(source="hub/encoder", licence="Some-1.0", commercial=False, notice="Not for sale.")
    told = Provenance.of(made, TrainingData([FRAME], [FRAME] * 9, [FRAME]), "train", terms)
    rows = told.rows()
    assert rows["data set"] == "dataset sun_rgbd, classes 37"
    assert rows["labelled frames"] == "1 of train.json, 0.25 of the recordings, drawn with seed 7"
    assert rows["unlabelled frames"] == "9 of train.json and more.json"
    assert rows["start weights"] == "hub/encoder, Some-1.0"
    assert Provenance.model_validate(told.model_dump(mode="json")) == told


def test_a_training_on_several_sets_tells_each() -> None:
    of_rooms = {"name": "rooms", "root": "r", "labelled": "train.json", "validation": "val.json", "share": 3}
    more = {"root": "lab", "unlabelled": "frames.json"}
    made = recipe(data=[of_rooms, more], method={"pseudo_labels": "mean_teacher"})
    rooms, lab = replace(FRAME, data_set="rooms"), replace(FRAME, data_set="lab", label=None)
    told = Provenance.of(made, TrainingData([rooms] * 3, [rooms, lab, lab], [rooms]), "train")
    rows = told.rows()
    assert rows["labelled frames"] == "3 of rooms/train.json, 75% of each batch"
    assert rows["unlabelled frames"] == "1 of rooms/train.json; 2 of lab/frames.json"
    assert rows["validation frames"] == "1 of rooms/val.json"
    assert Provenance.model_validate(told.model_dump(mode="json")) == told


def test_models_that_labelled_are_told_with_their_licence() -> None:
    sam, other = (replace(FRAME, teacher=Teacher(name, f"{name} License")) for name in ("SAM 3", "Other"))
    told = Provenance.of(recipe(), TrainingData([FRAME, sam, sam, other], [sam], [FRAME, sam]), "train")
    assert told.rows()["labels of"] == (
        "SAM 3 (SAM 3 License): 2 labelled, 1 validation; Other (Other License): 1 labelled, 0 validation"
    )
    assert Provenance.model_validate(told.model_dump(mode="json")) == told


def test_frames_that_nobody_uses_are_told_as_such() -> None:
    told = Provenance.of(recipe(), TrainingData([FRAME], [FRAME] * 9, [FRAME]), "train")
    assert told.rows()["unlabelled frames"] == "9 of train.json, not used"
