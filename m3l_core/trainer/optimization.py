"""Networks as a recipe starts them, and how their weights move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import get_ema_multi_avg_fn

from m3l_core.model.network import LinearFusionSegFormer
from m3l_core.model.start_weights import StartWeights, load_start_weights
from m3l_core.network_config import NetworkConfig
from m3l_core.trainer.recipe import Recipe
from m3l_core.trainer.settings import Optimizer


def new_networks(
    recipe: Recipe, full: LinearFusionSegFormer | None = None
) -> tuple[list[LinearFusionSegFormer], StartWeights]:
    """The student, and a second one with another start where they label for each other; and where they start.

    Args:
        full: a student of a subset of the modalities starts from this network of all of them; what it started from
            itself is then told.

    Raises:
        BundleError: the start weights are not for this network.
    """
    torch.manual_seed(recipe.seed)
    equal = recipe.method.ensemble == "equal"
    config = NetworkConfig(
        encoder=recipe.encoder,
        num_modalities=len(recipe.network_modalities),
        num_classes=len(recipe.labels),
        head_width=recipe.head_width,
        head=recipe.head,
        fusion_ratio=recipe.fusion_ratio,
        missing=recipe.missing,
        missing_stream_weight=1.0 if equal else 0.0,
    )
    count = 2 if recipe.method.pseudo_labels == "cross" else 1
    networks = [LinearFusionSegFormer(config, recipe.drop_path, recipe.head_dropout).train() for _ in range(count)]
    own_classifiers = [deepcopy(network.head.classify.state_dict()) for network in networks]
    for network, own_classifier in zip(networks, own_classifiers, strict=True):
        # Of a subset's network only the terms are asked for: they bind it through the full one.
        start = load_start_weights(network if full is None else deepcopy(full), recipe.start_weights)
        if full is not None:
            network.load_state_dict(full.state_of(recipe.network_streams))
        network.alpha.requires_grad_(not (equal or network.joins))
        if equal:
            nn.init.constant_(network.alpha, 0.5)
        if network is not networks[0]:
            network.head.classify.load_state_dict(own_classifier)  # two equal students would learn nothing new
    return networks, start


def moving_average(largest_decay: float) -> Callable[[Any, Any, Any], None]:
    """The mean of the weights over time, of ever more steps until ``largest_decay`` (M3L: min(1 - 1/(t+1), 0.99))."""

    def update(averages: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Tensor) -> None:
        decay = min(1.0 - 1.0 / (int(num_averaged) + 1), largest_decay)
        get_ema_multi_avg_fn(decay)(averages, current, num_averaged)  # type: ignore[no-untyped-call]

    return update


def parameter_groups(networks: Sequence[nn.Module], optimizer: Optimizer) -> list[dict[str, Any]]:
    """Encoder and head, each with and without weight decay: vectors (norms, biases, mask token) are not decayed."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for network in networks:
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                key = name.startswith("head."), parameter.dim() >= 2 and "norm" not in name
                groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": optimizer.learning_rate * (optimizer.head_factor if in_head else 1.0),
            "weight_decay": optimizer.weight_decay if decayed else 0.0,
        }
        for (in_head, decayed), parameters in groups.items()
    ]


def learning_rate_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe) -> LambdaLR:
    """Linear warm-up, then polynomial decay to 0."""
    settings, iterations = recipe.optimizer, recipe.iterations

    def factor(iteration: int) -> float:
        if iteration < settings.warmup_iterations:
            return (iteration + 1) / settings.warmup_iterations
        left = (iterations - iteration) / (iterations - settings.warmup_iterations)
        return float(max(0.0, left) ** settings.power)

    return LambdaLR(optimizer, factor)
