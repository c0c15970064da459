"""A training learns, survives an interruption without a trace, and stops when it diverges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.rooms import recipe

torch = pytest.importorskip("torch", reason="needs torch: pip install 'm3l_ros[train]'")

from m3l_core.datasets.folder import Sample  # noqa: E402
from m3l_core.errors import M3LError, RecipeError  # noqa: E402
from m3l_core.trainer.batches import Batch  # noqa: E402
from m3l_core.trainer.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from m3l_core.trainer.trainer import SupervisedTrainer  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
Rooms = tuple[list[Sample], list[Sample]]


class InterruptedTrainer(SupervisedTrainer):
    """Somebody presses Ctrl-C."""

    stop_at = 0

    def _step(self, batch: Batch) -> float:
        if self.iteration == self.stop_at:
            raise KeyboardInterrupt
        return super()._step(batch)


def trainer(rooms: Rooms, output: Path, workers: int = 0, **changes: Any) -> SupervisedTrainer:
    return SupervisedTrainer(recipe(**changes), *rooms, output, workers)


def same_state(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][key], states[1][key]) for key in states[0]
    )


@pytest.fixture(scope="module")
def uninterrupted(rooms: Rooms, one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> SupervisedTrainer:
    whole = trainer(rooms, tmp_path_factory.mktemp("whole"))
    whole.run()
    return whole


def test_the_loss_goes_down(rooms: Rooms, tmp_path: Path) -> None:
    phase = {"iterations": 40, "batch": 4, "crop": [32, 48], "scale": [0.5, 1.0]}
    run = trainer(rooms, tmp_path, phases=[phase], ohem_threshold=1.0, evaluate_every=1000)
    network = run.run()
    assert not network.training
    assert len(run.losses) == 40
    assert sum(run.losses[-8:]) < 0.7 * sum(run.losses[:8])
    assert run.history[-1]["miou"]["color+depth"] > 0.3


def test_mixed_precision_learns_too(rooms: Rooms, tmp_path: Path) -> None:
    phase = {"iterations": 20, "batch": 4, "crop": [32, 48], "scale": [0.5, 1.0]}
    run = trainer(rooms, tmp_path, phases=[phase], ohem_threshold=1.0, mixed_precision=True, evaluate_every=1000)
    run.run()
    assert sum(run.losses[-5:]) < sum(run.losses[:5])


def test_the_averaged_weights_follow_those_that_are_trained(uninterrupted: SupervisedTrainer) -> None:
    assert not same_state(uninterrupted.network, uninterrupted.averaged_network)
    assert uninterrupted.averaged_network.config == uninterrupted.network.config


def test_the_mean_iou_of_every_subset_is_recorded_as_the_recipe_says(uninterrupted: SupervisedTrainer) -> None:
    assert [entry["iteration"] for entry in uninterrupted.history] == [4, 8, 10]
    assert all(set(entry["miou"]) == {"color+depth", "color", "depth"} for entry in uninterrupted.history)
    assert json.loads((uninterrupted.output / "history.json").read_text()) == uninterrupted.history


@pytest.mark.parametrize(("stop_at", "workers"), [(2, 0), (4, 0), (7, 0), (4, 1)])
def test_an_interrupted_run_ends_as_if_it_had_not_been(
    rooms: Rooms, tmp_path: Path, uninterrupted: SupervisedTrainer, stop_at: int, workers: int
) -> None:
    stopped = InterruptedTrainer(recipe(), *rooms, tmp_path, workers)
    stopped.stop_at = stop_at
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    torch.manual_seed(99)
    resumed = trainer(rooms, tmp_path, workers)
    assert resumed.iteration == stop_at // 3 * 3
    resumed.run()
    assert resumed.losses == uninterrupted.losses
    assert resumed.history == uninterrupted.history
    assert same_state(resumed.network, uninterrupted.network)
    assert same_state(resumed.averaged_network, uninterrupted.averaged_network)


def test_a_finished_run_does_nothing_more(rooms: Rooms, uninterrupted: SupervisedTrainer) -> None:
    checkpoint = uninterrupted.output / "checkpoint.pt"
    written = checkpoint.stat().st_mtime_ns
    again = trainer(rooms, uninterrupted.output)
    network = again.run()
    assert not network.training
    assert again.losses == uninterrupted.losses
    assert same_state(network, uninterrupted.averaged_network)
    assert checkpoint.stat().st_mtime_ns == written


def test_another_recipe_in_the_same_output_is_refused(rooms: Rooms, uninterrupted: SupervisedTrainer) -> None:
    with pytest.raises(RecipeError, match=r"another recipe \(differs in head_width, seed\): choose another output"):
        trainer(rooms, uninterrupted.output, seed=1, head_width=8)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    rooms: Rooms, tmp_path: Path
) -> None:
    run = trainer(rooms, tmp_path, optimizer={"learning_rate": 1e30, "warmup_iterations": 0}, checkpoint_every=1)
    with pytest.raises(M3LError, match=r"the loss became (nan|inf) at iteration \d+: lower the learning rate"):
        run.run()
    assert run.iteration < 10
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["iteration"] == run.iteration
    assert all(loss == loss for loss in state["losses"])


def test_vectors_are_not_decayed(uninterrupted: SupervisedTrainer) -> None:
    decayed, plain = uninterrupted.optimizer.param_groups
    assert decayed["weight_decay"] > 0
    assert plain["weight_decay"] == 0
    named = {id(parameter): name for name, parameter in uninterrupted.network.named_parameters()}
    assert {len(decayed["params"]) + len(plain["params"])} == {len(named)}
    names = {named[id(parameter)] for parameter in plain["params"]}
    assert {"encoder.mask_token", "alpha", "head.norm.weight", "head.classify.bias"} <= names
    assert not {name for name in names if name.endswith("projection.weight")}


def test_the_learning_rate_warms_up_and_decays(uninterrupted: SupervisedTrainer) -> None:
    factors = [uninterrupted._learning_rate_factor(iteration) for iteration in range(11)]
    assert factors[:3] == [0.5, 1.0, 1.0]
    assert factors[2:] == sorted(factors[2:], reverse=True)
    assert factors[10] == 0


def test_a_checkpoint_that_cannot_be_written_whole_never_replaces_a_good_one(tmp_path: Path) -> None:
    path = tmp_path / "output" / "checkpoint.pt"
    good = {"recipe": {"seed": 1}, "weights": torch.arange(1000.0)}
    save_checkpoint(path, good)
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(path, {"recipe": {"seed": 1}, "weights": torch.zeros(1000), "bad": (part for part in ())})
    assert torch.equal(load_checkpoint(path, {"seed": 1})["weights"], good["weights"])
    assert list(path.parent.iterdir()) == [path]
