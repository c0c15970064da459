"""Networks for the sensors that are left: what they start from, who teaches them, and what they take."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support.bundles import write_bundle
from support.networks import TINY_EFFICIENTNET, tiny_network
from support.rooms import recipe, training_data

from m3l_core.bundle import ModelBundle
from m3l_core.datasets.folder import Sample
from m3l_core.errors import RecipeError
from m3l_core.model.network import LinearFusionSegFormer
from m3l_core.trainer.optimization import new_networks
from m3l_core.trainer.recipe import Recipe
from m3l_core.trainer.trainer import Trainer

pytestmark = [pytest.mark.needs("torch"), pytest.mark.usefixtures("one_thread")]
Rooms = tuple[list[Sample], list[Sample]]
PHASES: list[dict[str, Any]] = [{"iterations": 4, "batch": 2, "crop": [32, 48], "scale": [0.4, 1.0]}]
SUBSETS = {
    "subsets": [["color"], ["depth"]],
    "phases": PHASES,
    "optimizer": {"learning_rate": 1e-3, "warmup_iterations": 1},
}
LITE = TINY_EFFICIENTNET.model_dump()


def with_subsets(**changes: Any) -> Recipe:
    settings = {"encoder": LITE, "phases": PHASES, "evaluate_every": 4, "subset_networks": SUBSETS}
    return recipe(**settings | changes)


def full_network(of: Recipe, seed: int = 5) -> LinearFusionSegFormer:
    return tiny_network(
        len(of.modalities), encoder=of.encoder, num_classes=len(of.labels), head_width=of.head_width, seed=seed
    )


@pytest.mark.parametrize("place", [0, 1])
def test_a_network_for_one_sensor_is_the_full_one_s_stream_of_it(place: int) -> None:
    full = tiny_network(encoder=TINY_EFFICIENTNET, missing="no_stream")
    alone = tiny_network(1, encoder=TINY_EFFICIENTNET, seed=99)
    alone.load_state_dict(full.state_of([place]))
    images = torch.randn(2, 2, 3, 64, 96)
    present = torch.tensor([[index == place for index in range(2)]] * 2)
    with torch.no_grad():
        expected = full.ensemble(full(images, present), present)
        here = torch.ones(2, 1, dtype=torch.bool)
        found = alone.ensemble(alone(images[:, place : place + 1], here), here)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_it_trains_and_leaves_its_teacher_as_it_was(rooms: Rooms, tmp_path: Path) -> None:
    whole = with_subsets()
    full = full_network(whole)
    before = {name: value.clone() for name, value in full.state_dict().items()}
    data = training_data(rooms)
    for subset in (("color",), ("depth",)):
        trainer = Trainer(whole.of_subset(subset), data, tmp_path / subset[0], workers=0, full=full)
        trainer.run()
        assert len(trainer.losses) == 4
        for losses in trainer.losses:
            assert list(losses) == ["loss", "supervised", "pseudo", "distillation"]
            assert all(math.isfinite(loss) for loss in losses.values()) and losses["distillation"] > 0
        assert list(trainer.history[-1]["miou"]) == [subset[0]]
        assert trainer.averaged_network.config.num_modalities == 1
        changed = [
            name
            for name, value in trainer.students[0].state_dict().items()
            if not torch.equal(value, full.state_of(trainer.recipe.network_streams)[name])
        ]
        assert any(name.startswith("encoder.groups") for name in changed)
    assert all(torch.equal(value, before[name]) for name, value in full.state_dict().items())


def test_with_labels_everywhere_the_full_network_still_teaches(rooms: Rooms, tmp_path: Path) -> None:
    whole = with_subsets()
    data = training_data(rooms)
    trainer = Trainer(
        whole.of_subset(("depth",)),
        type(data)(data.labelled, [], data.validation, data.folder),
        tmp_path,
        workers=0,
        full=full_network(whole),
    )
    trainer.run()
    assert all(losses["distillation"] > 0 for losses in trainer.losses)


def test_it_goes_on_to_the_same_losses_after_an_interruption(rooms: Rooms, tmp_path: Path) -> None:
    whole, data = with_subsets(checkpoint_every=2), training_data(rooms)
    of_color = whole.of_subset(("color",))
    through = Trainer(of_color, data, tmp_path / "through", workers=0, full=full_network(whole))
    through.run()

    class Stop(Exception):
        pass

    class Stopper:
        def step(self, trainer: Trainer) -> None:
            if trainer.iteration == 3:
                raise Stop

        def evaluation(self, trainer: Trainer) -> None:
            pass

    stopped = Trainer(of_color, data, tmp_path / "stopped", workers=0, full=full_network(whole), monitors=(Stopper(),))
    with pytest.raises(Stop):
        stopped.run()
    resumed = Trainer(of_color, data, tmp_path / "stopped", workers=0, full=full_network(whole))
    assert resumed.iteration == 2
    resumed.run()
    assert resumed.losses == through.losses


def test_another_teacher_is_another_training(rooms: Rooms, tmp_path: Path) -> None:
    whole, data = with_subsets(), training_data(rooms)
    of_color = whole.of_subset(("color",))
    Trainer(of_color, data, tmp_path, workers=0, full=full_network(whole)).run()
    with pytest.raises(RecipeError):
        Trainer(of_color, data, tmp_path, workers=0, full=full_network(whole, seed=6))


def test_the_teacher_and_its_student_belong_together(rooms: Rooms, tmp_path: Path) -> None:
    whole, data = with_subsets(), training_data(rooms)
    with pytest.raises(RecipeError, match="the network of all sensors teaches"):
        Trainer(whole.of_subset(("color",)), data, tmp_path, workers=0)
    with pytest.raises(RecipeError, match="the network of all sensors teaches"):
        Trainer(whole, data, tmp_path, workers=0, full=full_network(whole))


def test_a_network_of_one_sensor_may_be_disturbed_otherwise() -> None:
    own = {"failing_sensor": 0.0, "flip": 0.25}
    whole = with_subsets(augmentation={"failing_sensor": 0.5}, subset_networks=SUBSETS | {"augmentation": own})
    assert whole.of_subset(("color",)).augmentation.model_dump() == whole.augmentation.model_dump() | own
    assert with_subsets(augmentation=own).of_subset(("color",)).augmentation.flip == 0.25


def test_a_joint_head_and_its_subsets_learn(rooms: Rooms, tmp_path: Path) -> None:
    whole, data = with_subsets(head="joint"), training_data(rooms)
    full = Trainer(whole, data, tmp_path / "full", workers=0).run()
    trainer = Trainer(whole.of_subset(("depth",)), data, tmp_path / "depth", workers=0, full=full)
    trainer.run()
    assert list(trainer.history[-1]["miou"]) == ["depth"]
    assert all(math.isfinite(losses["loss"]) for losses in trainer.losses)


def test_a_student_of_one_sensor_can_also_learn_by_itself(rooms: Rooms, tmp_path: Path) -> None:
    trainer = Trainer(recipe(student=["depth"]), training_data(rooms), tmp_path, workers=0)
    trainer.run()
    assert list(trainer.history[-1]["miou"]) == ["depth"]
    assert [modality.name for modality in trainer.recipe.network_modalities] == ["depth"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"subset_networks": SUBSETS | {"subsets": [["color", "depth"]]}}, "is the full network itself"),
        ({"subset_networks": SUBSETS | {"subsets": [["thermal"]]}}, "expected some of"),
        ({"subset_networks": SUBSETS | {"subsets": [["color"], ["color"]]}}, "stands twice"),
        ({"subset_networks": SUBSETS | {"method": {"pseudo_labels": "none"}}}, "must be full"),
        ({"student": ["color"]}, "leave student out"),
        ({"subset_networks": None, "student": ["depth", "color"]}, "in this order"),
        ({"subset_networks": None, "method": {"pseudo_labels": "full"}}, "alone"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        with_subsets(**changes)


@pytest.mark.parametrize("head", ["streams", "joint"])
def test_start_weights_of_the_full_network_are_told_of_its_subsets_too(tmp_path: Path, head: str) -> None:
    described = ModelBundle.load(write_bundle(tmp_path / "start", seed=4)).description
    whole = with_subsets(
        encoder=described.network.encoder.model_dump(),
        head_width=described.network.head_width,
        labels=described.labels.model_dump(),
        start_weights=str(tmp_path / "start"),
        head=head,
    )
    [full], start = new_networks(whole)
    assert full.joins == (head == "joint")
    [network], of_subset = new_networks(whole.of_subset(("depth",)), full)
    assert of_subset == start and start.source == "bundle tiny"
    for name, value in full.state_of([1]).items():
        torch.testing.assert_close(network.state_dict()[name], value)
