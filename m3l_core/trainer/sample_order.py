"""Which sample comes at which position: an endless shuffled order, computed from the seed, so it survives a restart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from m3l_core.trainer.recipe import LEAST_SHARE

_BLOCK = round(1 / LEAST_SHARE)
"""Positions in which every set comes as often as its share says."""


class SampleOrder:
    """Shuffles each set by epochs of its own, and interleaves the sets evenly, each by its share.

    Args:
        sets: of each sample of the list, the name of its set.
        shares: of each set, relative to the others; sets without a sample have none.
        seed: of the recipe.
        stream: 0 labelled or 1 unlabelled.
    """

    def __init__(self, sets: Sequence[str], shares: Mapping[str, float], seed: int, stream: int) -> None:
        self._seed, self._stream = seed, stream
        of_set = np.array(sets)
        names = [name for name in shares if name in sets]
        self._places = [np.flatnonzero(of_set == name) for name in names]
        self._counts = _whole_counts([shares[name] for name in names])

    def place(self, position: int) -> int:
        """The place in the list of the sample that comes ``position``-th."""
        chosen, number = (0, position) if len(self._places) == 1 else self._set_at(position)
        places = self._places[chosen]
        epoch, rank = divmod(number, len(places))
        # The first set is shuffled as if it were alone.
        entropy = [self._seed, 0, self._stream, epoch, *([chosen] if chosen else [])]
        return int(places[np.random.default_rng(entropy).permutation(len(places))[rank]])

    def _set_at(self, position: int) -> tuple[int, int]:
        """Which set comes at a position, and how many of its samples came before."""
        block, inside = divmod(position, _BLOCK)
        random = np.random.default_rng([self._seed, 6, self._stream, block])
        # The n-th of N samples of a set falls into the n-th of N equal parts of the block.
        when = np.concatenate([(np.arange(count) + random.random(count)) / count for count in self._counts])
        order = np.repeat(np.arange(len(self._counts)), self._counts)[when.argsort(kind="stable")]
        chosen = int(order[inside])
        return chosen, block * int(self._counts[chosen]) + int(np.count_nonzero(order[:inside] == chosen))


def _whole_counts(shares: Sequence[float]) -> NDArray[np.int64]:
    """How often each set comes in a block: whole numbers by the largest remainders."""
    parts = _BLOCK * np.array(shares) / sum(shares)
    counts = np.floor(parts + 1e-9).astype(np.int64)
    counts[np.argsort(counts - parts, kind="stable")[: _BLOCK - counts.sum()]] += 1
    return counts
