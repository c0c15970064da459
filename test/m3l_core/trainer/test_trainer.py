"""A training learns, tells what happens, and stops when it diverges."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from support.rooms import METHODS, RECIPE, recipe, training_data

from m3l_core.datasets.folder import Sample
from m3l_core.errors import M3LError, RecipeError
from m3l_core.trainer.batches import Batch
from m3l_core.trainer.distributed import Ranks
from m3l_core.trainer.evaluator import evaluate
from m3l_core.trainer.trainer import Trainer

pytestmark = [pytest.mark.needs("torch"), pytest.mark.usefixtures("one_thread")]
Rooms = tuple[list[Sample], list[Sample]]


def new_trainer(rooms: Rooms, output: Path, kind: type[Trainer] = Trainer, **changes: Any) -> Trainer:
    return kind(recipe(**changes), training_data(rooms), output, workers=0)


def same_state(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][key], states[1][key]) for key in states[0]
    )


class Recorder:
    """Notes what it is told, and what is known at that time."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, int, int, int]] = []

    def step(self, trainer: Trainer) -> None:
        self._note("step", trainer)

    def evaluation(self, trainer: Trainer) -> None:
        self._note("evaluation", trainer)

    def _note(self, what: str, trainer: Trainer) -> None:
        self.notes.append((what, trainer.iteration, len(trainer.losses), len(trainer.history)))


@pytest.fixture(scope="module")
def finished(rooms: Rooms, one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    trainer = new_trainer(rooms, tmp_path_factory.mktemp("finished"), method=METHODS["mean teacher"])
    trainer.run()
    return trainer


def test_the_loss_goes_down(rooms: Rooms, tmp_path: Path) -> None:
    phase = {"iterations": 40, "batch": 4, "crop": [32, 48], "scale": [0.5, 1.0]}
    trainer = new_trainer(rooms, tmp_path, phases=[phase], ohem_threshold=1.0, evaluate_every=1000)
    network = trainer.run()
    assert network is trainer.averaged_network
    assert not network.training
    losses = [entry["loss"] for entry in trainer.losses]
    assert len(losses) == 40
    assert sum(losses[-8:]) < 0.7 * sum(losses[:8])
    assert trainer.history[-1]["miou"]["color+depth"] > 0.3


def test_history_is_what_the_averaged_network_reaches_when_the_recipe_says(finished: Trainer) -> None:
    assert [entry["iteration"] for entry in finished.history] == [4, 8, 10]
    assert json.loads(json.dumps(finished.history)) == finished.history
    made, last = finished.recipe, finished.history[-1]
    size = made.input_height, made.input_width
    matrices = evaluate(finished.averaged_network, finished.data.validation, made.modalities, size)
    assert list(last["miou"]) == ["color+depth", "color", "depth"]
    for subset, matrix in matrices.items():
        assert last["miou"][subset] == pytest.approx(matrix.mean_iou(), abs=1e-4)
        known = [math.nan if value is None else value for value in last["iou"][subset]]
        assert known == pytest.approx(matrix.iou().tolist(), abs=1e-4, nan_ok=True)


@pytest.mark.parametrize(
    ("option", "least", "most"),
    [
        ({"confidence": "none"}, 1.0, 1.0),
        ({"confidence": "threshold", "confidence_threshold": 1.0}, 0.0, 0.0),
        ({"confidence": "weight"}, 0.33, 0.99),
    ],
)
def test_the_share_of_pseudo_labels_that_count_is_told_by_class_since_the_last_time(
    rooms: Rooms, tmp_path: Path, option: dict[str, Any], least: float, most: float
) -> None:
    trainer = new_trainer(rooms, tmp_path, method=METHODS["mean teacher"] | option)
    trainer.run()
    for entry in trainer.history:
        shares = [share for share in entry["kept"] if share is not None]
        assert shares
        assert all(least <= share <= most for share in shares)
    assert not trainer.kept.any()


def test_time_is_counted(finished: Trainer) -> None:
    assert 0 < finished.waited < finished.seconds


def test_monitors_are_told_of_every_step_and_evaluation_in_turn(rooms: Rooms, tmp_path: Path) -> None:
    one, other = Recorder(), Recorder()
    Trainer(recipe(), training_data(rooms), tmp_path, workers=0, monitors=(one, other)).run()
    expected = []
    for iteration in range(1, 11):
        evaluations = sum(iteration > evaluated for evaluated in (4, 8))
        expected.append(("step", iteration, iteration, evaluations))
        if iteration in (4, 8, 10):
            expected.append(("evaluation", iteration, iteration, evaluations + 1))
    assert one.notes == other.notes == expected


def test_a_finished_run_does_nothing_more(rooms: Rooms, finished: Trainer) -> None:
    checkpoint = finished.output / "checkpoint.pt"
    written = checkpoint.stat().st_mtime_ns
    again = new_trainer(rooms, finished.output, method=METHODS["mean teacher"])
    network = again.run()
    assert not network.training
    assert again.losses == finished.losses
    assert again.history == finished.history
    assert same_state(network, finished.averaged_network)
    assert checkpoint.stat().st_mtime_ns == written


def test_only_the_checkpoint_is_written(finished: Trainer) -> None:
    assert [path.name for path in finished.output.iterdir()] == ["checkpoint.pt"]


def test_a_training_in_a_thread_leaves_the_signals_alone(rooms: Rooms, tmp_path: Path) -> None:
    trainer = new_trainer(rooms, tmp_path)
    thread = threading.Thread(target=trainer.run)
    thread.start()
    thread.join(60)
    assert trainer.iteration == 10


class BadImages(Trainer):
    """The sixth batch is not a number."""

    def _step(self, batch: Batch) -> None:
        super()._step(batch._replace(strong=batch.strong * math.nan) if self.iteration == 5 else batch)


class BadGradient(Trainer):
    """The sixth loss is finite, and its gradient is not."""

    def _step(self, batch: Batch) -> None:
        if self.iteration == 5:
            self.students[0].head.classify.weight.register_hook(lambda gradient: gradient * math.inf)
        super()._step(batch)


@pytest.mark.parametrize(("kind", "what"), [(BadImages, "loss became nan"), (BadGradient, "gradient became (nan|inf)")])
def test_what_is_not_finite_stops_the_run_by_the_names_of_its_files_and_poisons_nothing(
    rooms: Rooms, tmp_path: Path, finished: Trainer, kind: type[Trainer], what: str
) -> None:
    changes: dict[str, Any] = {"method": METHODS["mean teacher"], "checkpoint_every": 1}
    trainer = new_trainer(rooms, tmp_path, kind, **changes)
    with pytest.raises(M3LError, match=rf"the {what} at iteration 5: look at the files of this batch") as failure:
        trainer.run()
    assert trainer.iteration == 5
    batch = next(iter(trainer._batches()))
    for stream, place in batch.source.tolist():
        for path in (trainer.data.labelled, trainer.data.unlabelled)[stream][place].images.values():
            assert str(path) in str(failure.value)
    assert all(parameter.isfinite().all() for parameter in trainer.averaged_network.parameters())
    again = new_trainer(rooms, tmp_path, **changes)
    assert again.iteration == 5
    assert same_state(again.averages[0], trainer.averages[0])
    again.run()
    assert again.losses == finished.losses
    assert same_state(again.averaged_network, finished.averaged_network)


@pytest.mark.parametrize(
    ("batches", "method", "count", "reason"),
    [
        ((4, 1), "supervised", 2, "a batch of 1 cannot be shared evenly by 2 processes"),
        ((4, 2), "everything", 2, "a batch of 2 over 2 is 1 each: take a larger batch"),
        ((1,), "everything", 1, "a batch of 1 over 1 is 1 each"),
    ],
)
def test_a_batch_that_cannot_be_used_is_told_before_the_first_step(
    rooms: Rooms, tmp_path: Path, batches: tuple[int, ...], method: str, count: int, reason: str
) -> None:
    made = recipe(phases=[RECIPE["phases"][0] | {"batch": batch} for batch in batches], method=METHODS[method])
    with pytest.raises(RecipeError, match=reason):
        Trainer(made, training_data(rooms), tmp_path, ranks=Ranks(0, count))


def test_a_learning_rate_that_is_too_high_is_told(rooms: Rooms, tmp_path: Path) -> None:
    trainer = new_trainer(rooms, tmp_path, optimizer={"learning_rate": 1e30, "warmup_iterations": 0})
    with pytest.raises(M3LError, match=r"became (nan|inf|-inf) at iteration \d+: .* then lower the learning rate: "):
        trainer.run()
    assert trainer.iteration < 10
    assert all(math.isfinite(value) for losses in trainer.losses for value in losses.values())
