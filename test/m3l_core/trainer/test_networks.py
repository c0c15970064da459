"""All networks of a recipe: who trains where, what goes on, and which of them answers for which sensors."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support.networks import TINY_EFFICIENTNET
from support.rooms import recipe, training_data

from m3l_core.datasets.folder import Sample
from m3l_core.trainer.networks import measure_networks, summary, train_networks
from m3l_core.trainer.recipe import Recipe

pytestmark = [pytest.mark.needs("torch"), pytest.mark.usefixtures("one_thread")]
Rooms = tuple[list[Sample], list[Sample]]
PHASES: list[dict[str, Any]] = [{"iterations": 4, "batch": 2, "crop": [32, 48], "scale": [0.4, 1.0]}]


def with_subsets() -> Recipe:
    settings = {
        "subsets": [["color"], ["depth"]],
        "phases": [PHASES[0] | {"iterations": 2}],
        "optimizer": {"learning_rate": 1e-3, "warmup_iterations": 1},
    }
    return recipe(encoder=TINY_EFFICIENTNET.model_dump(), phases=PHASES, evaluate_every=4, subset_networks=settings)


def test_the_network_for_a_sensor_answers_for_it(rooms: Rooms, tmp_path: Path) -> None:
    data = training_data(rooms)
    networks = train_networks(with_subsets(), data, tmp_path)
    assert [each.network.config.num_modalities for each in networks] == [2, 1, 1]
    found = measure_networks(networks, data.validation)
    alone = [measure_networks([each], data.validation) for each in networks]
    assert list(found) == list(alone[0]) == ["color+depth", "color", "depth"]
    assert found == {"color+depth": alone[0]["color+depth"], **alone[1], **alone[2]}
    told = summary(networks, data)
    assert told["iterations"] == 4 + 2 + 2
    assert told["validation"][-1]["miou"] == alone[0]
    assert {key: history[-1]["miou"] for key, history in told["subset_networks"].items()} == {
        "color": alone[1],
        "depth": alone[2],
    }


def test_what_is_trained_is_not_trained_again(rooms: Rooms, tmp_path: Path) -> None:
    data = training_data(rooms)
    first = train_networks(with_subsets(), data, tmp_path)
    shutil.rmtree(tmp_path / "depth")
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("checkpoint.pt")}
    assert len(kept) == 2
    again = train_networks(with_subsets(), data, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert [each.history for each in again] == [each.history for each in first]
    for before, after in zip(first, again, strict=True):
        for name, value in before.network.state_dict().items():
            assert torch.equal(value, after.network.state_dict()[name])
