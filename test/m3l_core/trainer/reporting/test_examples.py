"""Sample pictures show the frame, its truth, and what the network makes of it."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from support.rooms import SIZE, recipe, write_rooms

from m3l_core.datasets.folder import read_sample
from m3l_core.labels import LabelSet
from m3l_core.metrics import ConfusionMatrix
from m3l_core.trainer.data import read_data
from m3l_core.trainer.evaluator import evaluate
from m3l_core.trainer.reporting.examples import TRUTH, examples, strip
from m3l_core.trainer.trainer import Trainer

pytestmark = [pytest.mark.needs("torch"), pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """At its start; what the network says is as good as any other answer."""
    folder = tmp_path_factory.mktemp("run")
    write_rooms(folder / "rooms", validation=3)
    index = folder / "rooms" / "val.json"
    entries = json.loads(index.read_text())
    entries[1]["depth"] = None
    index.write_text(json.dumps(entries))
    return Trainer(recipe(), read_data(recipe(), folder / "rooms"), folder, workers=0)


def classes(picture: np.ndarray, labels: LabelSet) -> np.ndarray:
    """(H, W) uint8 class ids of a picture of labels, 255 where it is black."""
    ids = np.full(picture.shape[:2], 255, np.uint8)
    for index, entry in enumerate(labels.classes):
        ids[(picture == entry.color).all(axis=2)] = index
    return ids


def test_the_pictures_are_the_frame_its_truth_and_the_labels_of_every_subset(trainer: Trainer) -> None:
    names = ["color", "depth", TRUTH, "labels: color+depth", "labels: color", "labels: depth"]
    whole, without_depth, _ = examples(trainer)
    assert [*whole] == names
    assert [*without_depth] == ["color", TRUTH, "labels: color+depth", "labels: color"]
    assert all(picture.shape == (*SIZE, 3) and picture.dtype == np.uint8 for picture in whole.values())
    images, label = read_sample(trainer.data.validation[0])
    assert np.array_equal(whole["color"], images["color"])
    assert label is not None
    assert np.array_equal(classes(whole[TRUTH], trainer.recipe.labels), label)


def test_the_labels_are_those_that_are_evaluated(trainer: Trainer) -> None:
    made = trainer.recipe
    measured = evaluate(
        trainer.averaged_network, trainer.data.validation, made.modalities, (made.input_height, made.input_width)
    )
    shown = {name: ConfusionMatrix(len(made.labels)) for name in measured}
    for example in examples(trainer):
        truth = classes(example[TRUTH], made.labels)
        for name, matrix in shown.items():
            if (picture := example.get(f"labels: {name}")) is not None:
                matrix.add(truth, classes(picture, made.labels))
    assert {name: matrix.counts.tolist() for name, matrix in shown.items()} == {
        name: matrix.counts.tolist() for name, matrix in measured.items()
    }


def test_large_frames_are_shown_smaller_and_few_frames_once(trainer: Trainer) -> None:
    shown = examples(trainer, count=9, width=48)
    assert len(shown) == 3
    assert {picture.shape for picture in shown[0].values()} == {(32, 48, 3)}
    assert len(examples(trainer, count=2)) == 2


def test_the_network_goes_on_as_it_was(trainer: Trainer) -> None:
    network = trainer.averaged_network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for training in (True, False):
        network.train(training)
        examples(trainer, count=1)
        assert network.training == training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_strip_shows_all_pictures_under_their_names() -> None:
    red, blue = np.full((40, 60, 3), (200, 0, 0), np.uint8), np.full((40, 60, 3), (0, 0, 200), np.uint8)
    whole = strip({"left": red, "right": blue})
    assert whole.shape == (40 + 22, 120, 3)
    assert np.array_equal(whole[22:, :60], red)
    assert np.array_equal(whole[22:, 60:], blue)
    captions = cv2.cvtColor(whole[:22], cv2.COLOR_RGB2GRAY)
    assert captions[:, :60].max() > 128
    assert captions[:, 60:].max() > 128
