"""Every way to teach trains: losses are finite, students move, averages follow."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from support.rooms import METHODS, recipe, training_data

from m3l_core.datasets.folder import Sample
from m3l_core.trainer.data import TrainingData
from m3l_core.trainer.optimization import new_networks
from m3l_core.trainer.trainer import Trainer

pytestmark = [pytest.mark.needs("torch"), pytest.mark.usefixtures("one_thread")]
Rooms = tuple[list[Sample], list[Sample]]
SHORT: dict[str, Any] = {
    "phases": [{"iterations": 4, "batch": 2, "crop": [32, 48], "scale": [0.4, 1.0]}],
    "evaluate_every": 100,
    "checkpoint_every": 100,
}
TERMS = {
    "supervised": ["supervised"],
    "supervised, modality dropout": ["supervised"],
    "everything": ["supervised", "pseudo", "distillation"],
}


def train(rooms: Rooms, output: Path, method: dict[str, Any], **changes: Any) -> Trainer:
    trainer = Trainer(recipe(method=method, **SHORT | changes), training_data(rooms), output, workers=0)
    trainer.run()
    return trainer


def parameters_of(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().cpu().flatten() for parameter in network.parameters()])


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        (name, missing)
        for name, method in METHODS.items()
        for missing in ("mask_token", "no_stream")
        if (method.get("ensemble"), missing) != ("equal", "no_stream")
    ],
)
def test_it_trains(rooms: Rooms, tmp_path: Path, name: str, missing: str) -> None:
    method = METHODS[name]
    trainer = train(rooms, tmp_path, method, missing=missing)
    assert len(trainer.losses) == 4
    for losses in trainer.losses:
        assert list(losses) == ["loss", *TERMS.get(name, ["supervised", "pseudo"])]
        assert all(math.isfinite(loss) for loss in losses.values())
        assert losses["loss"] == pytest.approx(sum(losses.values()) - losses["loss"])
    starts, _ = new_networks(trainer.recipe)
    for start, student, average in zip(starts, trainer.students, trainer.averages, strict=True):
        moved, behind = parameters_of(student) - parameters_of(start), parameters_of(average) - parameters_of(start)
        assert moved.abs().max() > 1e-4
        assert 0 < (moved - behind).norm() < moved.norm()
        assert torch.isfinite(parameters_of(average)).all()
    kept = trainer.history[-1]["kept"]
    assert (kept == [None] * 3) == (method.get("pseudo_labels") is None)


def test_a_compiled_network_learns_the_same(rooms: Rooms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced as always, and then run by torch's own operators: without a C++ compiler, and within seconds."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    changes = SHORT | {"drop_path": 0.0, "head_dropout": 0.0}
    eager, compiled = (
        train(rooms, tmp_path / str(flag), METHODS["everything"], compiled=flag, **changes) for flag in (False, True)
    )
    assert compiled.forwards[0] is not compiled.students[0]
    for one, other in zip(eager.losses, compiled.losses, strict=True):
        assert other == pytest.approx(one, rel=1e-4)


@pytest.mark.parametrize("missing", ["mask_token", "no_stream"])
def test_frames_that_lack_a_sensor_teach_and_measure_what_they_have(rooms: Rooms, tmp_path: Path, missing: str) -> None:
    lacking = [
        replace(sample, images={name: path for name, path in sample.images.items() if name == ("color", "depth")[odd]})
        for odd, sample in enumerate(rooms[0][:2])
    ]
    data = training_data(rooms)
    partial = TrainingData([*data.labelled[2:], *lacking], [*data.unlabelled, *lacking], lacking)
    made = recipe(method=METHODS["everything"], missing=missing, **SHORT)
    trainer = Trainer(made, partial, tmp_path, workers=0)
    trainer.run()
    assert all(math.isfinite(loss) for losses in trainer.losses for loss in losses.values())
    assert all(parameter.isfinite().all() for parameter in trainer.averaged_network.parameters())
    assert all(0 <= miou <= 1 for miou in trainer.history[-1]["miou"].values())


def test_a_mean_teacher_is_the_average_of_its_student(rooms: Rooms, tmp_path: Path) -> None:
    trainer = train(rooms, tmp_path, METHODS["mean teacher"])
    assert trainer.teachers == [trainer.averaged_network]
    assert trainer.averages[0].n_averaged == 4


def test_the_statistics_of_the_norms_are_averaged_as_well(rooms: Rooms, tmp_path: Path) -> None:
    trainer = train(rooms, tmp_path, {})
    of_student, of_average = trainer.students[0].head.norm.running_mean, trainer.averaged_network.head.norm.running_mean
    start = torch.zeros_like(of_student)
    assert 0 < (of_student - of_average).norm() < (of_student - start).norm()
    assert (of_average - start).norm() > 0.1 * (of_student - start).norm()


def test_cross_students_are_each_others_teachers_and_stay_different(rooms: Rooms, tmp_path: Path) -> None:
    trainer = train(rooms, tmp_path, METHODS["cross"])
    one, other = trainer.students
    assert trainer.teachers == [other, one]
    assert (parameters_of(one) - parameters_of(other)).norm() > 0.1
    assert trainer.averaged_network is trainer.averages[0].module
    # Both students' losses are added up: each alone would start near log 3.
    assert trainer.losses[0]["supervised"] > 1.5 * math.log(3)


def test_a_supervised_network_has_no_teacher(rooms: Rooms, tmp_path: Path) -> None:
    assert train(rooms, tmp_path, {}).teachers == [None]


def test_the_average_forgets_as_the_recipe_says(rooms: Rooms, tmp_path: Path) -> None:
    forgetful, keen = (
        train(rooms, tmp_path / str(decay), METHODS["supervised"], ema_decay=decay) for decay in (0.0, 0.9)
    )
    assert torch.equal(parameters_of(forgetful.averages[0]), parameters_of(forgetful.students[0]))
    assert not torch.equal(parameters_of(keen.averages[0]), parameters_of(keen.students[0]))


def test_the_teachers_loss_rises_over_its_ramp(rooms: Rooms, tmp_path: Path) -> None:
    flat, ramped = (
        train(rooms, tmp_path / str(ramp), METHODS["mean teacher"] | {"pseudo_ramp_iterations": ramp})
        for ramp in (0, 4)
    )
    first, second = (trainer.losses[0]["pseudo"] for trainer in (flat, ramped))
    assert first > 0
    assert second == 0
    assert all(losses["pseudo"] > 0 for losses in ramped.losses[1:])
    assert ramped.losses[0]["supervised"] == flat.losses[0]["supervised"]
    # Half of the weight after half of the ramp, from nearly the same networks.
    assert ramped.losses[2]["pseudo"] / flat.losses[2]["pseudo"] == pytest.approx(0.5, rel=0.25)


def test_gradients_are_clipped_together(rooms: Rooms, tmp_path: Path) -> None:
    norms = {}
    for clip in (None, 1e-3):
        trainer = train(rooms, tmp_path / str(clip), {}, optimizer={"warmup_iterations": 2, "gradient_clip": clip})
        gradients = [parameter.grad for parameter in trainer.students[0].parameters() if parameter.grad is not None]
        norms[clip] = torch.stack([gradient.norm() for gradient in gradients]).norm().item()
    assert norms[None] > 0.01
    assert norms[1e-3] == pytest.approx(1e-3, rel=1e-2)


def test_mixed_precision_trains_every_part(rooms: Rooms, tmp_path: Path) -> None:
    exact, mixed = (
        train(rooms, tmp_path / str(mixed), METHODS["everything"], mixed_precision=mixed) for mixed in (False, True)
    )
    assert exact.losses != mixed.losses
    for one, other in zip(exact.losses, mixed.losses, strict=True):
        assert other == pytest.approx(one, rel=0.1)
