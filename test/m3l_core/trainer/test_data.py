"""Which frames teach with labels, which without, and which measure."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.rooms import recipe, write_rooms

from m3l_core.errors import DatasetError
from m3l_core.trainer.data import TrainingData, read_data

LISTS = {"labelled": "train.json", "validation": "val.json"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three recordings of two frames to train on, one to validate with, and two more frames in extra.json."""
    write_rooms(tmp_path)
    entries = read(tmp_path, "train.json")
    write(tmp_path, "extra.json", [entry | {"recording": "extra"} for entry in entries[:2]])
    return tmp_path


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = json.loads((folder / name).read_text())
    return content


def write(folder: Path, name: str, entries: list[dict[str, Any]]) -> None:
    (folder / name).write_text(json.dumps(entries))


def data(folder: Path, **lists: object) -> TrainingData:
    return read_data(recipe(data=LISTS | lists), folder)


def recordings(samples: Any) -> list[str]:
    return sorted(sample.recording for sample in samples)


def test_all_recordings_keep_their_labels_unless_the_recipe_says_otherwise(folder: Path) -> None:
    found = data(folder)
    assert recordings(found.labelled) == ["train_0", "train_0", "train_1", "train_1", "train_2", "train_2"]
    assert found.unlabelled == []
    assert recordings(found.validation) == ["val_0", "val_0"]
    assert all(sample.label for sample in (*found.labelled, *found.validation))


def test_a_fraction_of_the_recordings_keeps_its_labels_and_the_others_are_unlabelled(folder: Path) -> None:
    found = data(folder, label_fraction=0.34)
    assert len(found.labelled) == 2
    assert len(set(recordings(found.labelled))) == 1
    assert len(found.unlabelled) == 4
    assert not set(recordings(found.labelled)) & set(recordings(found.unlabelled))
    others = {recordings(data(folder, label_fraction=0.34, label_seed=seed).labelled)[0] for seed in range(20)}
    assert others == {"train_0", "train_1", "train_2"}


def test_unlabelled_frames_join_and_none_of_them_brings_a_label(folder: Path) -> None:
    entries = read(folder, "train.json")
    del entries[1]["label"]
    entries[4]["label"] = None
    write(folder, "train.json", entries)
    found = data(folder, unlabelled="extra.json")
    assert recordings(found.labelled) == ["train_0", "train_1", "train_1", "train_2"]
    assert recordings(found.unlabelled) == ["extra", "extra", "train_0", "train_2"]
    assert [sample.label for sample in found.unlabelled] == [None] * 4
    assert all(sample.label for sample in found.labelled)


@pytest.mark.parametrize("shared", ["train.json", "extra.json"])
def test_a_recording_that_is_trained_on_cannot_measure(folder: Path, shared: str) -> None:
    entries = read(folder, "val.json")
    entries[0]["recording"] = read(folder, shared)[0]["recording"]
    write(folder, "val.json", entries)
    message = rf"val\.json shares recordings with the training \({entries[0]['recording']}\): split by recording"
    with pytest.raises(DatasetError, match=message):
        data(folder, unlabelled="extra.json", label_fraction=0.34)


def test_validation_needs_labels(folder: Path) -> None:
    entries = read(folder, "val.json")
    del entries[1]["label"]
    write(folder, "val.json", entries)
    with pytest.raises(DatasetError, match=r"val\.json: 1 frames have no label to measure against"):
        data(folder)


@pytest.mark.parametrize("lists", [{}, {"label_fraction": 0.34}, {"unlabelled": "extra.json"}])
def test_pseudo_labels_need_frames_without_a_label(folder: Path, lists: dict[str, Any]) -> None:
    made = recipe(data=LISTS | lists, method={"pseudo_labels": "mean_teacher"})
    if lists:
        assert read_data(made, folder).unlabelled
        return
    message = r"label_fraction below 1, name a list in data\.unlabelled, or take the recipe paper_supervised_dropout"
    with pytest.raises(DatasetError, match=message):
        read_data(made, folder)


def test_sums_tell_which_list_changed_but_not_where_it_lies(folder: Path, tmp_path_factory: Any) -> None:
    moved = shutil.copytree(folder, tmp_path_factory.mktemp("moved") / "rooms")
    before = data(folder).sha256()
    assert data(moved).sha256() == before
    write(moved, "train.json", read(moved, "train.json")[::-1])
    after = data(moved).sha256()
    assert [name for name in before if after[name] != before[name]] == ["labelled"]


def test_sums_tell_of_a_label_that_was_redrawn_and_an_image_that_was_replaced(folder: Path) -> None:
    before = data(folder)
    sums = before.sha256()
    label, image = before.validation[0].label, before.labelled[0].images["color"]
    assert label is not None
    ids = cv2.imread(str(label), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(label), np.where(ids == 0, 1, ids))
    assert [name for name, after in before.sha256().items() if after != sums[name]] == ["validation"]
    image.write_bytes(image.read_bytes() + b"\0")
    assert [name for name, after in before.sha256().items() if after != sums[name]] == ["labelled", "validation"]
    image.unlink()
    with pytest.raises(DatasetError, match=rf"{image.name}.*check_dataset\.py finds all"):
        before.sha256()


def test_training_needs_a_label(folder: Path) -> None:
    write(folder, "train.json", [entry | {"label": None} for entry in read(folder, "train.json")])
    with pytest.raises(DatasetError, match=r"train\.json: no frame of the drawn recordings has a label"):
        data(folder)


@pytest.mark.parametrize("field", ["labelled", "validation", "unlabelled"])
def test_a_list_that_is_not_there_is_named(folder: Path, field: str) -> None:
    with pytest.raises(DatasetError, match=r"none\.json cannot be read"):
        data(folder, **{field: "none.json"})


def test_a_modality_that_the_recipe_does_not_ask_for_is_left_aside(folder: Path) -> None:
    found = read_data(recipe(modalities=[{"kind": "depth"}]), folder)
    assert {name for sample in found.labelled for name in sample.images} == {"depth"}


def test_another_focal_length_is_other_data(folder: Path) -> None:
    before = data(folder).sha256()
    write(folder, "train.json", [entry | {"fx": 80.0} for entry in read(folder, "train.json")])
    after = data(folder).sha256()
    assert (after["labelled"] != before["labelled"], after["validation"] == before["validation"]) == (True, True)


def test_frames_of_unknown_cameras_are_told_where_that_matters(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    geometry = [{"kind": "color"}, {"kind": "depth", "normalization": "geometry", "horizontal_fov_deg": 70}]
    data(folder)
    assert not caplog.messages
    write(folder, "train.json", [entry | {"fx": 80.0} for entry in read(folder, "train.json")])
    read_data(recipe(data=LISTS, modalities=geometry), folder)
    assert caplog.messages == ["2 of 8 frames have no fx, the focal length: their cameras are taken to see 70 degrees"]
