"""Which frames are chosen, on points of which the answer is known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from m3l_core.annotation.selection import choose_evenly, choose_k_center, choose_randomly

POINTS = arrays.arrays(np.float32, st.tuples(st.integers(1, 12), st.just(2)), elements=st.integers(-9, 9).map(float))


def line(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)[:, None]


def radius(points: NDArray[np.float32], centers: list[int]) -> float:
    """How far the farthest point is from its nearest center."""
    distances = np.linalg.norm(points[:, None] - points[centers][None], axis=2)
    return float(distances.min(axis=1).max())


def test_the_farthest_comes_first() -> None:
    chosen = choose_k_center(line(0, 1, 4, 10), covered=[0], candidates=[1, 2, 3], budget=2, seed=0)
    assert [(choice.place, choice.score) for choice in chosen] == [(3, 10.0), (2, 4.0)]


def test_doubt_outweighs_distance() -> None:
    doubt = np.array([0, 0.9, 0.5, 0.1], np.float32)
    chosen = choose_k_center(line(0, 6, 8, 10), [0], [1, 2, 3], 3, 0, doubt)
    assert [choice.place for choice in chosen] == [1, 2, 3]
    assert [choice.score for choice in chosen] == pytest.approx([5.4, 1.0, 0.2])


@given(POINTS, st.integers(1, 4), st.integers(0, 3))
def test_the_radius_is_at_most_twice_the_best(points: NDArray[np.float32], budget: int, seed: int) -> None:
    places = list(range(len(points)))
    chosen = [choice.place for choice in choose_k_center(points, [], places, budget, seed)]
    assert len(set(chosen)) == len(chosen) == min(budget, len(points))
    best = min(radius(points, list(centers)) for centers in combinations(places, len(chosen)))
    assert radius(points, chosen) <= 2 * best + 1e-4


@given(POINTS, st.data())
def test_covered_frames_are_never_chosen(points: NDArray[np.float32], data: st.DataObject) -> None:
    covered = data.draw(st.lists(st.integers(0, len(points) - 1), unique=True))
    candidates = [place for place in range(len(points)) if place not in covered]
    chosen = choose_k_center(points, covered, candidates, len(points), 0) if candidates else []
    assert sorted(choice.place for choice in chosen) == candidates


def test_a_seed_draws_the_first_where_nothing_is_covered() -> None:
    points = line(*range(20))
    first = {seed: choose_k_center(points, [], range(20), 3, seed) for seed in range(9)}
    assert len({choices[0].place for choices in first.values()}) > 3
    assert first == {seed: choose_k_center(points, [], range(20), 3, seed) for seed in range(9)}
    assert first[0][0].score is None


@given(st.lists(st.integers(), unique=True), st.integers(1, 9), st.integers(0, 9))
def test_a_random_choice_grows(candidates: list[int], budget: int, seed: int) -> None:
    fewer, more = (choose_randomly(candidates, count, seed) for count in (budget, budget + 2))
    assert more[: len(fewer)] == fewer
    assert len(fewer) == min(budget, len(candidates))
    assert {choice.place for choice in more} <= set(candidates)


def test_even_distances_in_time_over_all_recordings() -> None:
    recordings = ["b"] * 3 + ["a"] * 3
    stamps = [30, 10, 20, None, None, None]
    chosen = choose_evenly(range(6), 6, recordings, stamps)
    assert [choice.place for choice in chosen] == [3, 4, 5, 1, 2, 0]
    assert [choice.place for choice in choose_evenly([0, 1, 2, 3, 5], 3, recordings, stamps)] == [3, 1, 0]
