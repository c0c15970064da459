"""TensorBoard reads back what a training wrote, each point once, however often it was started."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.rooms import SIZE, recipe, write_rooms
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from m3l_core.installation import install_command
from m3l_core.trainer.data import read_data
from m3l_core.trainer.recipe import Recipe
from m3l_core.trainer.reporting.tensorboard import TensorBoardMonitor, tensorboard_monitors
from m3l_core.trainer.trainer import Monitor, Trainer

pytestmark = [pytest.mark.needs("torch", "tensorboard"), pytest.mark.usefixtures("one_thread")]


class Killed(Exception):
    """Between two checkpoints."""


class Kill:
    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def step(self, trainer: Trainer) -> None:
        if trainer.iteration == self.iteration:
            raise Killed

    def evaluation(self, trainer: Trainer) -> None:
        pass


def tiny(**changes: Any) -> Recipe:
    data = {"labelled": "train.json", "validation": "val.json", "label_fraction": 0.4}
    return recipe(method={"pseudo_labels": "mean_teacher"}, data=data, **changes)


def train(folder: Path, *others: Monitor, made: Recipe | None = None) -> Trainer:
    made = made or tiny()
    if not (folder / "rooms").exists():
        write_rooms(folder / "rooms")
    monitors = (TensorBoardMonitor(folder / "tensorboard"), *others)
    trainer = Trainer(made, read_data(made, folder / "rooms"), folder, workers=0, monitors=monitors)
    trainer.run()
    return trainer


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    return events.Reload()


def points(events: EventAccumulator, tag: str) -> dict[int, float]:
    found = events.Scalars(tag)
    assert len({point.step for point in found}) == len(found), f"{tag} has points twice"
    return {point.step: point.value for point in found}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Trainer:
    return train(tmp_path_factory.mktemp("whole"))


def test_loss_and_miou_come_first_and_single_classes_last(run: Trainer) -> None:
    headings = dict.fromkeys(tag.split("/")[0] for tag in sorted(read(run.output).Tags()["scalars"]))
    assert [*headings] == ["loss", "miou", "pace", "per_class"]


def test_curves_are_the_figures_of_the_training(run: Trainer) -> None:
    events = read(run.output)
    for name in ("loss", "supervised", "pseudo"):
        mean = np.mean([losses[name] for losses in run.losses])
        assert points(events, f"loss/{name}") == {10: pytest.approx(mean, rel=1e-5)}
    for subset in ("color+depth", "color", "depth"):
        expected = {entry["iteration"]: pytest.approx(entry["miou"][subset]) for entry in run.history}
        assert points(events, f"miou/{subset}") == expected
        for index, name in enumerate(run.recipe.labels.names):
            known = {entry["iteration"]: entry["iou"][subset][index] for entry in run.history}
            expected = {step: pytest.approx(value) for step, value in known.items() if value is not None}
            assert points(events, f"per_class/iou_{subset}/{name}") == expected
    means = {entry["iteration"]: pytest.approx(np.mean([*entry["miou"].values()])) for entry in run.history}
    assert points(events, "miou/mm_robust") == means
    assert points(events, "pace/learning_rate") == {10: 0.0}
    assert 0.0 <= points(events, "pace/waiting_for_data")[10] <= 1.0
    kept = [tag for tag in events.Tags()["scalars"] if tag.startswith("per_class/pseudo_labels_kept/")]
    assert kept
    assert {value for tag in kept for value in points(events, tag).values()} == {1.0}


def test_each_evaluation_shows_frames_with_the_labels_of_every_subset(run: Trainer) -> None:
    events = read(run.output)
    assert events.Tags()["images"] == ["validation/1", "validation/2"]
    shown = events.Images("validation/2")
    assert [image.step for image in shown] == [4, 8, 10]
    picture = cv2.imdecode(np.frombuffer(shown[-1].encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape[1] == 6 * SIZE[1]  # color, depth, truth, three subsets
    assert picture.shape[0] > SIZE[0]


@pytest.mark.parametrize("killed_at", [2, 7, 9])  # checkpoints at 3, 6 and 9, evaluations at 4, 8 and 10
def test_a_training_that_goes_on_writes_no_point_twice(tmp_path: Path, run: Trainer, killed_at: int) -> None:
    with pytest.raises(Killed):
        train(tmp_path, Kill(killed_at))
    train(tmp_path)
    events, whole = read(tmp_path), read(run.output)
    assert events.Tags()["scalars"] == whole.Tags()["scalars"]
    for tag in whole.Tags()["scalars"]:
        expected = points(whole, tag)
        if tag.startswith("pace/") and tag != "pace/learning_rate":
            assert points(events, tag).keys() == expected.keys()
        else:
            assert points(events, tag) == pytest.approx(expected, rel=1e-5)
    assert [image.step for image in events.Images("validation/1")] == [4, 8, 10]


def test_a_finished_training_started_again_adds_nothing(run: Trainer) -> None:
    files = sorted((run.output / "tensorboard").iterdir())
    again = train(run.output)
    assert again.iteration == 10
    assert sorted((run.output / "tensorboard").iterdir()) == files


def test_without_tensorboard_a_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert tensorboard_monitors(tmp_path) == ()
    assert install_command("train") in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_with_tensorboard_there_is_a_monitor(tmp_path: Path) -> None:
    assert [type(monitor) for monitor in tensorboard_monitors(tmp_path)] == [TensorBoardMonitor]


def test_a_disk_that_cannot_be_written_to_does_not_end_the_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tensorboard").write_text("a file where the folder should be")
    with caplog.at_level(logging.ERROR):
        assert train(tmp_path, made=tiny(phases=[tiny().phases[0].model_dump()])).iteration == 5
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == [
        "nothing more is written for TensorBoard"
    ]
