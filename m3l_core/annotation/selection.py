"""Which frames of many to label, when only so many can be.

Legend: N frames, C features of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from m3l_core.datasets.folder import evenly_spread

Strategy = Literal["random", "uniform", "k_center", "k_center_uncertain"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
NEED_FEATURES: tuple[Strategy, ...] = ("k_center", "k_center_uncertain")


@dataclass(frozen=True, slots=True)
class Choice:
    """One frame."""

    place: int
    score: float | None = None
    """The larger, the more it adds; of k-center."""


def choose_randomly(candidates: Sequence[int], budget: int, seed: int) -> list[Choice]:
    """Draw ``budget`` of the candidates; fewer of the same seed are a part of more."""
    order = np.random.default_rng(seed).permutation(len(candidates))
    return [Choice(candidates[place]) for place in order[:budget]]


def choose_evenly(
    candidates: Sequence[int], budget: int, recordings: Sequence[str], stamps_ns: Sequence[int | None]
) -> list[Choice]:
    """Every so many of the candidates, ``budget`` in all: recording after recording, each in the order of time.

    Args:
        candidates: places to choose from.
        budget: how many.
        recordings: of all N frames.
        stamps_ns: of all N frames; a frame without one counts by its place.
    """

    def when(place: int) -> tuple[str, int, int]:
        return recordings[place], stamps_ns[place] or 0, place

    return [Choice(place) for place in evenly_spread(sorted(candidates, key=when), budget)]


def choose_k_center(
    features: NDArray[np.float32],
    covered: Sequence[int],
    candidates: Sequence[int],
    budget: int,
    seed: int,
    uncertainty: NDArray[np.float32] | None = None,
) -> list[Choice]:
    """Choose what is farthest from all that is labelled or chosen, one after another.

    Greedy k-center: the farthest frame is then at most twice as far as it must be (Gonzalez 1985; for labelling, Sener
    and Savarese, arXiv 1708.00489, algorithm 1).

    Args:
        features: (N, C); the distance is Euclidean.
        covered: places of the frames that are labelled.
        candidates: places to choose from.
        budget: how many.
        seed: draws the first one where nothing is covered; of no effect else.
        uncertainty: (N,), at least 0; distances are multiplied by it, so that of two frames as far away the one comes
            first of which the network is less sure.
    """
    distance = np.full(len(features), np.inf, np.float32)
    for place in covered:
        distance = np.minimum(distance, _distances(features, place))
    left = np.zeros(len(features), np.bool_)
    left[list(candidates)] = True
    weight = np.ones_like(distance) if uncertainty is None else uncertainty
    chosen: list[Choice] = []
    while left.any() and len(chosen) < budget:
        if not chosen and not len(covered):
            choice = Choice(int(np.random.default_rng(seed).choice(candidates)))
        else:
            score = np.where(left, distance * weight, -1.0)
            place = int(score.argmax())
            choice = Choice(place, float(score[place]))
        chosen.append(choice)
        left[choice.place] = False
        distance = np.minimum(distance, _distances(features, choice.place))
    return chosen


def _distances(features: NDArray[np.float32], place: int) -> NDArray[np.float32]:
    return np.asarray(np.linalg.norm(features - features[place], axis=1), np.float32)
