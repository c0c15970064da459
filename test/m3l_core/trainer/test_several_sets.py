"""Several data sets in one training: each with its folder, its classes and its share, each measured by itself."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.rooms import METHODS, SEVERAL_SETS, recipe, write_several_sets

from m3l_core.datasets.folder import read_sample
from m3l_core.errors import DatasetError
from m3l_core.trainer.batches import training_batches
from m3l_core.trainer.data import TrainingData, read_data, validation_index
from m3l_core.trainer.distributed import Ranks
from m3l_core.trainer.evaluator import evaluate
from m3l_core.trainer.export import export_bundle
from m3l_core.trainer.provenance import Provenance
from m3l_core.trainer.recipe import Recipe
from m3l_core.trainer.reporting.report import to_dict
from m3l_core.trainer.reporting.report_page import to_html
from m3l_core.trainer.trainer import Trainer

pytestmark = [pytest.mark.needs("torch"), pytest.mark.usefixtures("one_thread")]
FLOOR, WALL, CHAIR = range(3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_several_sets(tmp_path_factory.mktemp("sets"))


def several(**changes: Any) -> Recipe:
    return recipe(**{"data": SEVERAL_SETS, "method": METHODS["mean teacher"]} | changes)


@pytest.fixture(scope="module")
def data(folder: Path) -> TrainingData:
    return read_data(several(), folder)


@pytest.fixture(scope="module")
def trained(folder: Path, data: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    trainer = Trainer(several(), data, tmp_path_factory.mktemp("run"), workers=0)
    trainer.run()
    return trainer


def test_every_set_gives_its_lists(data: TrainingData, folder: Path) -> None:
    def sets(samples: Any) -> dict[str, int]:
        names = [sample.data_set for sample in samples]
        return {name: names.count(name) for name in sorted({*names})}

    assert sets(data.labelled) == {"flats": 4, "rooms": 6}
    assert sets(data.unlabelled) == {"flats": 4, "lab": 2}
    assert sets(data.validation) == {"flats": 2, "rooms": 2}
    assert validation_index(several(), folder) == folder / "rooms/val.json"


def test_labels_of_all_sets_are_in_the_classes_of_the_recipe(data: TrainingData) -> None:
    found: dict[str, set[int]] = {}
    for sample in data.labelled:
        _, label = read_sample(sample, num_classes=3)
        found.setdefault(sample.data_set, set()).update(np.unique(label).tolist())
    assert found == {"rooms": {FLOOR, WALL, CHAIR, 255}, "flats": {FLOOR, CHAIR, 255}}


def test_two_sets_may_have_recordings_of_one_name_but_one_set_may_not_measure_what_it_trains(folder: Path) -> None:
    assert {sample.recording for sample in read_data(several(), folder).labelled} == {"train_0", "train_1", "train_2"}
    broken = [SEVERAL_SETS[0] | {"validation": "train.json"}, *SEVERAL_SETS[1:]]
    with pytest.raises(DatasetError, match=r"rooms/train\.json shares recordings with the training"):
        read_data(several(data=broken), folder)


def test_batches_have_each_set_by_its_share(data: TrainingData, folder: Path) -> None:
    made = several(phases=[{"iterations": 100, "batch": 4, "crop": [32, 48], "scale": [1, 1]}])
    lists = (data.labelled, data.unlabelled)
    batches = list(training_batches(lists, made, 0, 0, Ranks(), 2**28))
    shown = [(stream, place) for batch in batches for stream, place in batch.source.tolist()]
    came = Counter((stream, lists[stream][place].data_set) for stream, place in shown)
    assert came == {(0, "rooms"): 300, (0, "flats"): 100, (1, "flats"): 200, (1, "lab"): 200}
    tail = list(training_batches(lists, made, 97, 0, Ranks(), 2**28))
    for one, other in zip(batches[97:], tail, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_figures_are_those_of_each_set_and_their_mean(trained: Trainer, data: TrainingData) -> None:
    last = trained.history[-1]
    assert [*last["sets"]] == ["rooms", "flats"]
    made = trained.recipe
    for name, of_set in last["sets"].items():
        samples = [sample for sample in data.validation if sample.data_set == name]
        size = (made.input_height, made.input_width)
        matrices = evaluate(trained.averaged_network, samples, made.modalities, size)
        for subset, matrix in matrices.items():
            assert of_set["miou"][subset] == pytest.approx(matrix.mean_iou(), abs=1e-4)
    for subset, value in last["miou"].items():
        of_sets = [last["sets"][name]["miou"][subset] for name in ("rooms", "flats")]
        assert value == pytest.approx(np.mean(of_sets), abs=1e-4)
        rooms, flats = (last["sets"][name]["iou"][subset] for name in ("rooms", "flats"))
        assert flats[WALL] is None, "flats know no wall"
        assert last["iou"][subset][WALL] == rooms[WALL]
        assert last["iou"][subset][FLOOR] == pytest.approx(np.mean([rooms[FLOOR], flats[FLOOR]]), abs=1e-4)


def test_a_training_that_goes_on_gives_the_same(trained: Trainer, data: TrainingData, tmp_path: Path) -> None:
    class StopAt6:
        def step(self, trainer: Trainer) -> None:
            if trainer.iteration == 7:
                raise KeyboardInterrupt

        def evaluation(self, trainer: Trainer) -> None:
            pass

    with pytest.raises(KeyboardInterrupt):
        Trainer(several(), data, tmp_path, workers=0, monitors=(StopAt6(),)).run()
    again = Trainer(several(), data, tmp_path, workers=0)
    assert again.iteration == 6
    again.run()
    assert again.losses == trained.losses
    assert again.history == trained.history


def test_a_set_that_measures_nothing_of_a_subset_is_left_out_of_its_mean(folder: Path, tmp_path: Path) -> None:
    blind = shutil.copytree(folder, tmp_path / "blind")
    index = blind / "elsewhere/flats/val.json"
    index.write_text(json.dumps([entry | {"depth": None} for entry in json.loads(index.read_text())]))
    trainer = Trainer(several(), read_data(several(), blind), tmp_path / "run", workers=0)
    trainer.run()
    last = trainer.history[-1]
    assert last["miou"]["depth"] == last["sets"]["rooms"]["miou"]["depth"]
    assert np.isnan(last["sets"]["flats"]["miou"]["depth"])
    assert "none" in to_html(to_dict(trainer, Provenance.of(trainer.recipe, trainer.data, "train")), [])


def test_report_and_card_tell_of_each_set(trained: Trainer, tmp_path: Path) -> None:
    provenance = Provenance.of(trained.recipe, trained.data, "train")
    report = to_dict(trained, provenance)
    assert report["data"]["labelled"] == {"frames": 10, "recordings": 5}
    assert "Validation mIoU by data set" in to_html(report, [])
    bundle = export_bundle(trained.averaged_network, trained.recipe, trained.history, provenance, tmp_path / "bundle")
    card = (bundle.folder / "README.md").read_text()
    assert "| labelled frames | 6 of rooms/train.json, 60% of each batch; 4 of flats/train.json, 0.5 of the" in card
    assert "Mean IoU on `rooms/val.json` and `flats/val.json`" in card
