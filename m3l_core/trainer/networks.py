"""All networks of a recipe, trained one after the other, and what they are worth together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m3l_core.datasets.folder import Sample
from m3l_core.metrics import subset_key
from m3l_core.model.network import LinearFusionSegFormer
from m3l_core.trainer.data import TrainingData
from m3l_core.trainer.evaluator import evaluate
from m3l_core.trainer.recipe import Recipe
from m3l_core.trainer.reporting.console import LogLines
from m3l_core.trainer.trainer import Trainer

_CACHE_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """A network, in eval mode, and how it got there."""

    recipe: Recipe
    network: LinearFusionSegFormer
    history: list[dict[str, Any]]
    """As the trainer's."""
    seconds: float
    """Of its steps."""


def train_networks(recipe: Recipe, data: TrainingData, output: Path) -> list[TrainedNetwork]:
    """Train the network of all modalities in ``output``, then, in folders below, those of the recipe's subsets.

    One process without workers, told by log lines. Interrupted, the same call goes on.

    Raises:
        M3LError: as ``Trainer``.
    """

    def train(of: Recipe, folder: Path, full: LinearFusionSegFormer | None = None) -> TrainedNetwork:
        trainer = Trainer(of, data, folder, workers=0, cache_bytes=_CACHE_BYTES, monitors=(LogLines(),), full=full)
        return TrainedNetwork(of, trainer.run(), trainer.history, trainer.seconds)

    whole = train(recipe, output)
    subsets = () if recipe.subset_networks is None else recipe.subset_networks.subsets
    others = [train(recipe.of_subset(subset), output / subset_key(subset), whole.network) for subset in subsets]
    return [whole, *others]


def measure_networks(networks: Sequence[TrainedNetwork], samples: Sequence[Sample]) -> dict[str, float]:
    """MIoU of each subset of the modalities, by the network that was made for it, else by the one of all.

    Args:
        networks: as ``train_networks`` returns them.
        samples: each with a label.
    """
    miou: dict[str, float] = {}
    for each in networks:
        recipe, size = each.recipe, (each.recipe.input_height, each.recipe.input_width)
        matrices = evaluate(each.network, samples, recipe.network_modalities, size, recipe.mixed_precision)
        miou |= {subset: round(matrix.mean_iou(), 4) for subset, matrix in matrices.items()}
    return miou


def summary(networks: Sequence[TrainedNetwork], data: TrainingData) -> dict[str, Any]:
    """What a training had, took and gave, for a file of results.

    Iterations and seconds are those of all networks. ``validation`` is the history of the network of all modalities;
    ``subset_networks`` has the histories of the others, and is left out where there are none.
    """

    def validation(of: TrainedNetwork) -> list[dict[str, Any]]:
        return [{"iteration": entry["iteration"], "miou": entry["miou"]} for entry in of.history]

    whole, *others = networks
    of_subsets = {subset_key(each.recipe.student or ()): validation(each) for each in others}
    return {
        "labelled": len(data.labelled),
        "unlabelled": len(data.unlabelled),
        "iterations": sum(each.recipe.iterations for each in networks),
        "seconds": round(sum(each.seconds for each in networks)),
        "method": whole.recipe.method.model_dump(mode="json"),
        "validation": validation(whole),
        **({"subset_networks": of_subsets} if of_subsets else {}),
    }
