"""Shares of a batch, and sums over ranks where there is one; test_two_ranks.py has two."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from m3l_core.errors import M3LError, RecipeError
from m3l_core.trainer.distributed import Ranks
from m3l_core.trainer.losses import PixelSum

pytestmark = pytest.mark.needs("torch")


@given(st.integers(1, 8), st.integers(1, 8))
def test_ranks_share_a_batch_evenly_and_in_its_order(count: int, each: int) -> None:
    parts = [Ranks(rank, count).share(range(count * each)) for rank in range(count)]
    assert {len(part) for part in parts} == {each}
    assert [sample for part in parts for sample in part] == list(range(count * each))


@pytest.mark.parametrize(("size", "count"), [(5, 2), (1, 2), (7, 4)])
def test_an_uneven_batch_is_refused(size: int, count: int) -> None:
    with pytest.raises(RecipeError, match=f"a batch of {size} cannot be shared evenly by {count} processes"):
        Ranks(0, count).share(range(size))


def test_one_process_needs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    ranks = Ranks.join()
    assert ranks == Ranks(0, 1)
    assert ranks.largest(15) == 15
    ranks.check_start(7)
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    total = ranks.sum(values)
    assert total.tolist() == [1, 2]
    assert not total.requires_grad
    pixels = PixelSum(values.sum(), torch.tensor(4.0))
    assert ranks.mean(pixels).item() == 0.75
    assert ranks.mean(PixelSum(values.sum() * 0, torch.tensor(0.0))).item() == 0
    ranks.leave()


def test_a_process_without_a_gpu_of_its_own_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(M3LError, match="process 3 of this machine has no GPU: start at most 2"):
        Ranks.join()
