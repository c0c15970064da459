"""An interrupted training ends as if it had not been."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from support.rooms import METHODS, recipe, training_data

from m3l_core.datasets.folder import Sample
from m3l_core.trainer.batches import Batch
from m3l_core.trainer.interruption import Interrupted, stop_on_signals
from m3l_core.trainer.trainer import Trainer

pytestmark = [pytest.mark.needs("torch"), pytest.mark.usefixtures("one_thread")]
Rooms = tuple[list[Sample], list[Sample]]
RESUMED = {
    "mean teacher with CutMix": METHODS["mean teacher"] | {"cutmix": 0.5},
    "cross": METHODS["cross"],
    "everything": METHODS["everything"],
}


class CrashingTrainer(Trainer):
    """The process dies in the middle of a step."""

    crash_at = 0

    def _step(self, batch: Batch) -> None:
        super()._step(batch)
        if self.iteration == self.crash_at:
            raise KeyboardInterrupt


class Alarm:
    """Sends a signal to this process after a step."""

    def __init__(self, iteration: int, number: int) -> None:
        self.iteration, self.number = iteration, number

    def step(self, trainer: Trainer) -> None:
        if trainer.iteration == self.iteration:
            signal.raise_signal(self.number)

    def evaluation(self, trainer: Trainer) -> None:
        pass


def new_trainer(rooms: Rooms, output: Path, name: str, kind: type[Trainer] = Trainer, **options: Any) -> Trainer:
    return kind(recipe(method=RESUMED[name]), training_data(rooms), output, **{"workers": 0} | options)


@pytest.fixture(scope="module")
def uninterrupted(rooms: Rooms, one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trainer]:
    trainers = {name: new_trainer(rooms, tmp_path_factory.mktemp("whole"), name) for name in RESUMED}
    for trainer in trainers.values():
        trainer.run()
    return trainers


def assert_ends_as(resumed: Trainer, whole: Trainer) -> None:
    assert resumed.losses == whole.losses
    assert resumed.history == whole.history
    for name, part in whole._parts().items():
        found, expected = (flat(each) for each in (resumed._parts()[name].state_dict(), part.state_dict()))
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            same = torch.equal(found[key], value) if isinstance(value, torch.Tensor) else found[key] == value
            assert same, (name, key)


def flat(state: Any, key: str = "") -> dict[str, Any]:
    """Of nested containers, the leaves by their paths."""
    if isinstance(state, dict | list | tuple):
        items = state.items() if isinstance(state, dict) else enumerate(state)
        return {path: leaf for name, value in items for path, leaf in flat(value, f"{key}.{name}").items()}
    return {key: state}


@pytest.mark.parametrize(
    ("name", "crash_at", "workers"),
    [
        ("mean teacher with CutMix", 7, 0),
        ("mean teacher with CutMix", 4, 1),
        ("cross", 5, 0),
        ("everything", 2, 0),
        ("everything", 7, 0),
        ("everything", 5, 1),
    ],
)
def test_a_crash_costs_what_came_after_the_last_checkpoint(
    rooms: Rooms, tmp_path: Path, uninterrupted: dict[str, Trainer], name: str, crash_at: int, workers: int
) -> None:
    crashed = new_trainer(rooms, tmp_path / "run", name, CrashingTrainer, workers=workers)
    assert isinstance(crashed, CrashingTrainer)
    crashed.crash_at = crash_at
    with pytest.raises(KeyboardInterrupt):
        crashed.run()
    torch.manual_seed(99)
    resumed = new_trainer(rooms, tmp_path / "run", name, workers=workers)
    assert resumed.iteration == crash_at // 3 * 3
    resumed.run()
    assert_ends_as(resumed, uninterrupted[name])


@pytest.mark.parametrize(
    ("name", "number", "at"),
    [
        ("everything", signal.SIGTERM, 1),
        ("everything", signal.SIGINT, 5),
        ("mean teacher with CutMix", signal.SIGTERM, 8),
        ("cross", signal.SIGINT, 10),
    ],
)
def test_a_signal_costs_nothing(
    rooms: Rooms, tmp_path: Path, uninterrupted: dict[str, Trainer], name: str, number: signal.Signals, at: int
) -> None:
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    told = new_trainer(rooms, tmp_path / "run", name, monitors=(Alarm(at, number),))
    with pytest.raises(Interrupted, match=rf"stopped by {number.name} after iteration {at}; the same command") as stop:
        told.run()
    assert stop.value.exit_status == 128 + number
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    resumed = new_trainer(rooms, tmp_path / "run", name)
    assert resumed.iteration == at
    resumed.run()
    assert_ends_as(resumed, uninterrupted[name])


def test_it_may_be_interrupted_again_and_again(rooms: Rooms, tmp_path: Path, uninterrupted: dict[str, Trainer]) -> None:
    for at in range(1, 11):
        told = new_trainer(rooms, tmp_path / "run", "everything", monitors=(Alarm(at, signal.SIGTERM),))
        with pytest.raises(Interrupted):
            told.run()
    assert_ends_as(new_trainer(rooms, tmp_path / "run", "everything"), uninterrupted["everything"])


def test_a_second_signal_has_its_usual_effect() -> None:
    with stop_on_signals() as stop:
        assert stop.signal_number == 0
        signal.raise_signal(signal.SIGINT)
        assert stop.signal_number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_thread_cannot_handle_signals_and_leaves_them() -> None:
    seen = []

    def run() -> None:
        with stop_on_signals() as stop:
            seen.extend([signal.getsignal(signal.SIGINT), stop.signal_number])

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT), 0]
