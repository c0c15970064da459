"""The order of samples: a function of the position, every set by its share, every sample as often as its neighbours."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3l_core.trainer.sample_order import SampleOrder

SETS = ["a"] * 7 + ["b"] * 3 + ["c"] * 11


def test_a_single_set_is_shuffled_epoch_by_epoch() -> None:
    order = SampleOrder([""] * 5, {"": 1.0}, seed=3, stream=1)
    for epoch in range(4):
        expected = np.random.default_rng([3, 0, 1, epoch]).permutation(5)
        assert [order.place(5 * epoch + rank) for rank in range(5)] == expected.tolist()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.floats(0.02, 1)), min_size=2, max_size=5),
    st.integers(0, 2**31),
    st.integers(0, 5),
)
def test_every_set_has_its_share_and_every_sample_its_turn(
    sets: list[tuple[int, float]], seed: int, first: int
) -> None:
    names = [str(number) for number, (count, _) in enumerate(sets) for _ in range(count)]
    shares = {str(number): share for number, (_, share) in enumerate(sets)}
    order = SampleOrder(names, shares, seed, 0)
    places = [order.place(100 * first + position) for position in range(300)]
    assert places == [SampleOrder(names, shares, seed, 0).place(100 * first + position) for position in range(300)]
    came = Counter(names[place] for place in places)
    for name, share in shares.items():
        assert came[name] == pytest.approx(300 * share / sum(shares.values()), abs=3.01)
        turns = [places.count(place) for place in range(len(names)) if names[place] == name]
        assert max(turns) - min(turns) <= 2  # an epoch may have begun before, and one may not be over


def test_epochs_of_a_set_show_each_of_its_samples_once() -> None:
    order = SampleOrder(SETS, {"a": 1, "b": 2, "c": 1}, 5, 0)
    places = [order.place(position) for position in range(1000)]
    for name in "abc":
        own = [place for place, of_set in enumerate(SETS) if of_set == name]
        shown = [place for place in places if SETS[place] == name]
        epochs = [shown[first : first + len(own)] for first in range(0, len(shown) - len(own), len(own))]
        assert all(sorted(epoch) == own for epoch in epochs)
        assert len({*map(tuple, epochs)}) > 1


def test_a_batch_has_some_of_every_set() -> None:
    order = SampleOrder(SETS, {"a": 0.5, "b": 0.25, "c": 0.25}, 0, 0)
    batches = [Counter(SETS[order.place(8 * step + number)] for number in range(8)) for step in range(100)]
    assert all(2 <= batch["a"] <= 6 and batch["b"] <= 4 and batch["c"] <= 4 for batch in batches)
    assert np.mean([batch["a"] for batch in batches]) == pytest.approx(4, abs=0.1)


def test_a_set_without_a_sample_leaves_its_share_to_the_others() -> None:
    order = SampleOrder(SETS, {"a": 1, "none": 5, "c": 1}, 0, 1)
    came = Counter(SETS[order.place(position)] for position in range(100))
    assert came == {"a": 50, "c": 50}
