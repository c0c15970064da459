"""Temperatures that make a network's confidence the share of its labels that are right (arXiv 1706.04599).

One for each subset of the modalities: with a sensor missing a network is wrong more often, and seldom knows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from m3l_core.metrics import subset_key, subsets


def temperature_table(temperatures: Mapping[str, float], modalities: Sequence[str]) -> Tensor | None:
    """(2^M,) the temperature at the place that ``present``, read as a binary number, has; None where all are 1."""
    if all(value == 1.0 for value in temperatures.values()):
        return None
    table = torch.ones(2 ** len(modalities))
    for names in subsets(modalities):
        place = sum(2**index for index, name in enumerate(modalities) if name in names)
        table[place] = temperatures.get(subset_key(names), 1.0)
    return table


def calibrated(logits: Tensor, present: Tensor, table: Tensor | None) -> Tensor:
    """Divide logits (B, K, h, w) by the temperature of what is ``present`` (B, M); no label changes."""
    if table is None:
        return logits
    powers = torch.tensor([2**index for index in range(present.shape[1])], device=present.device)
    temperature = table.to(logits)[(present * powers).sum(dim=1)]
    return logits / temperature[:, None, None, None]
