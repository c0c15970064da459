"""Which sensors a student loses, and how much of them (M3L, section 3.2, and beyond)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.trainer.method import ModalityDropout

_CELL = 4
"""Tokens are lost in cells of 4x4, 16x16 pixels of the input: a sensor fails in regions, not in single pixels."""


def draw_present(
    recorded: NDArray[np.bool_], names: Sequence[str], dropout: ModalityDropout | None, random: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Draw what a sample loses.

    Args:
        recorded: (M,) which modalities it has.
        names: of the modalities.
        dropout: None loses nothing.
        random: where chance comes from.

    Returns:
        (M,) which modalities are present, at least one; (M,) which of them will lose some tokens.
    """
    partial = np.zeros_like(recorded)
    if dropout is None or recorded.sum() < 2:
        return recorded, partial
    lost = np.zeros_like(recorded)
    chances = dropout.probability
    rates = np.array([chances[name] if isinstance(chances, dict) else chances for name in names])
    if dropout.draw == "one":
        if random.random() < rates[0]:
            lost[random.choice(np.flatnonzero(recorded))] = True
    else:
        lost = recorded & (random.random(len(rates)) < rates)
        if lost.sum() == recorded.sum():
            # Which one survives: the one that would least often be lost, so that the rates keep their meaning.
            odds = np.where(recorded, 1.0 - rates + 1e-6, 0.0)
            lost[random.choice(len(odds), p=odds / odds.sum())] = False
    partial = lost & (random.random(len(lost)) < dropout.partial)
    return recorded & ~(lost & ~partial), partial


def draw_tokens(
    partial: NDArray[np.bool_],
    size: tuple[int, int],
    dropout: ModalityDropout | None,
    random: np.random.Generator,
) -> NDArray[np.bool_]:
    """Draw which tokens the modalities keep that fail in part.

    Args:
        partial: (M,) which modalities those are.
        size: (H, W) of the input in pixels.
        dropout: the range of shares that are lost.
        random: where chance comes from.

    Returns:
        (M, h, w), h x w = H/4 x W/4 tokens.
    """
    height, width = (-(-side // 4) for side in size)
    kept = np.ones((len(partial), height, width), np.bool_)
    if dropout is None:
        return kept
    for index in np.flatnonzero(partial):
        cells = random.random((-(-height // _CELL), -(-width // _CELL))) >= random.uniform(*dropout.partial_ratio)
        grown = cv2.resize(cells.astype(np.uint8), None, fx=_CELL, fy=_CELL, interpolation=cv2.INTER_NEAREST)
        kept[index] = grown[:height, :width].astype(np.bool_)
    return kept
