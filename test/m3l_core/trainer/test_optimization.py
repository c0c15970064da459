"""How networks start, how their average follows, and what the optimizer does to which weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.rooms import recipe
from torch.optim.swa_utils import AveragedModel

from m3l_core.bundle import ModelBundle, save_bundle
from m3l_core.model.network import LinearFusionSegFormer
from m3l_core.trainer.optimization import (
    learning_rate_schedule,
    moving_average,
    new_networks,
    parameter_groups,
)
from m3l_core.trainer.settings import Optimizer

pytestmark = pytest.mark.needs("torch")


def method(**options: Any) -> dict[str, Any]:
    return {"method": options}


def students(**changes: Any) -> list[LinearFusionSegFormer]:
    return new_networks(recipe(**changes))[0]


def test_the_seed_decides_the_start() -> None:
    (one,), (same,), (other,) = (students(seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(tensor, same.state_dict()[name]) for name, tensor in one.state_dict().items())
    assert not torch.equal(one.head.fuse.weight, other.head.fuse.weight)


def test_students_that_label_for_each_other_start_differently() -> None:
    one, other = students(**method(pseudo_labels="cross"))
    (alone,) = students(**method(pseudo_labels="mean_teacher"))
    assert torch.equal(one.head.fuse.weight, alone.head.fuse.weight)
    matrices = [name for name, parameter in one.named_parameters() if parameter.dim() >= 2 and "norm" not in name]
    assert not any(torch.equal(one.get_parameter(name), other.get_parameter(name)) for name in matrices)


@pytest.mark.parametrize(("ensemble", "alpha"), [("availability", [1.0, 2.0]), ("equal", [0.5, 0.5])])
def test_students_that_start_from_the_same_weights_differ_in_their_classifiers(
    tiny_bundle: Path, tmp_path: Path, ensemble: str, alpha: list[float]
) -> None:
    bundle = ModelBundle.load(tiny_bundle)
    description, weights = bundle.description, bundle.read_weights()
    start = save_bundle(tmp_path / "start", description, weights | {"alpha": np.array([1, 2], np.float32)}, "card")
    one, other = students(
        encoder=description.network.encoder,
        head_width=description.network.head_width,
        labels=description.labels,
        start_weights=str(start.folder),
        **method(pseudo_labels="cross", ensemble=ensemble),
    )
    assert one.head.classify.weight.numpy(force=True) == pytest.approx(weights["head.classify.weight"])
    assert not torch.equal(one.head.classify.weight, other.head.classify.weight)
    for name, tensor in one.state_dict().items():
        if not name.startswith("head.classify"):
            assert torch.equal(tensor, other.state_dict()[name])
    assert one.alpha.tolist() == alpha


def test_a_network_is_as_the_recipe_says() -> None:
    (network,) = students(drop_path=0.3, head_dropout=0.4, head_width=8, fusion_ratio=0.6, missing="no_stream")
    assert network.training
    assert (network.config.head_width, network.config.fusion_ratio) == (8, 0.6)
    assert network.config.missing == "no_stream"
    assert network.config.num_classes == 3
    assert network.config.num_modalities == 2
    assert network.encoder.stages[3].blocks[0].drop_path.rate == pytest.approx(0.3)
    assert network.head.dropout.p == 0.4


@pytest.mark.parametrize(("ensemble", "weight"), [("availability", 0.0), ("equal", 1.0)])
def test_an_equal_ensemble_counts_missing_streams_and_is_not_learnt(ensemble: str, weight: float) -> None:
    (network,) = students(**method(ensemble=ensemble))
    assert network.config.missing_stream_weight == weight
    assert network.alpha.requires_grad == (ensemble == "availability")
    groups = parameter_groups([network], Optimizer())
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    assert (id(network.alpha) in trained) == (ensemble == "availability")


def test_the_average_is_the_plain_mean_at_first_and_then_forgets() -> None:
    model = torch.nn.BatchNorm1d(1)
    average = AveragedModel(model, multi_avg_fn=moving_average(0.75), use_buffers=True)
    expected = 0.0
    for step in range(8):
        value = float(step**2 + 1)
        with torch.no_grad():
            model.weight.fill_(value)
        model.running_mean.fill_(-value)
        model.num_batches_tracked.fill_(step + 1)
        average.update_parameters(model)
        decay = min(1 - 1 / (step + 1), 0.75)
        expected = decay * expected + (1 - decay) * value
        if step < 4:
            assert expected == pytest.approx(sum(each**2 + 1 for each in range(step + 1)) / (step + 1))
        assert average.module.weight.item() == pytest.approx(expected)
        assert average.module.running_mean.item() == pytest.approx(-expected)


def test_each_parameter_is_in_one_group_with_its_rate_and_decay() -> None:
    networks = students(**method(pseudo_labels="cross"))
    groups = parameter_groups(networks, Optimizer(learning_rate=1e-3, head_factor=3.0, weight_decay=0.05))
    found = [(id(parameter), group["lr"], group["weight_decay"]) for group in groups for parameter in group["params"]]
    assert len(found) == len({entry[0] for entry in found})
    settings = {key: (rate, decay) for key, rate, decay in found}
    for network in networks:
        for name, parameter in network.named_parameters():
            is_vector = parameter.dim() < 2 or "norm" in name
            rate = 3e-3 if name.startswith("head.") else 1e-3
            assert settings[id(parameter)] == (pytest.approx(rate), 0.0 if is_vector else 0.05), name
    names = {name for name, parameter in networks[0].named_parameters() if settings[id(parameter)][1] == 0}
    assert {"encoder.mask_token", "alpha", "head.norm.weight", "head.classify.bias"} <= names
    assert {"encoder.stages.0.norm.weight", "encoder.stages.0.blocks.0.attention.norm.weight"} <= names
    assert not {name for name in names if name.endswith("projection.weight")}


@pytest.mark.parametrize("power", [0.9, 2.0])
def test_the_learning_rate_warms_up_and_decays_to_nothing(power: float) -> None:
    made = recipe(optimizer={"learning_rate": 0.1, "head_factor": 10.0, "warmup_iterations": 4, "power": power})
    groups = parameter_groups(new_networks(made)[0], made.optimizer)
    optimizer = torch.optim.AdamW(groups)
    schedule = learning_rate_schedule(optimizer, made)
    rates = []
    for _ in range(11):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    largest = [group["initial_lr"] for group in optimizer.param_groups]
    assert sorted(set(largest)) == pytest.approx([0.1, 1.0])
    factors = [0.25, 0.5, 0.75, 1.0, *(((10 - iteration) / 6) ** power for iteration in range(4, 11))]
    assert rates == [pytest.approx([factor * rate for rate in largest]) for factor in factors]


def test_without_warm_up_the_rate_starts_at_its_largest() -> None:
    made = recipe(optimizer={"learning_rate": 0.1, "warmup_iterations": 0})
    optimizer = torch.optim.AdamW(parameter_groups(new_networks(made)[0], made.optimizer))
    learning_rate_schedule(optimizer, made)
    assert {group["lr"] for group in optimizer.param_groups} == {0.1}
