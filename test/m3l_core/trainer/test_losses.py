"""OHEM cross-entropy against a loop over pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs torch: pip install 'm3l_ros[train]'")

from m3l_core.labels import IGNORE  # noqa: E402
from m3l_core.trainer.losses import ohem_cross_entropy  # noqa: E402

K = 3
Case = tuple[int, int, int, int]
CASES = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))


def draw(case: Case, spread: float = 4.0, ignored: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    seed, batch, height, width = case
    random = np.random.default_rng(seed)
    label = random.integers(0, K, (batch, height, width))
    label[random.random(label.shape) < ignored] = IGNORE
    logits = random.normal(0, spread, (batch, K, height, width)).astype(np.float32)
    return torch.from_numpy(logits), torch.from_numpy(label)


def naive(logits: torch.Tensor, label: torch.Tensor, threshold: float, least_kept: float) -> float:
    pixels = []
    for sample, row, column in np.ndindex(*label.shape):
        true = int(label[sample, row, column])
        if true != IGNORE:
            scores = [float(value) for value in logits[sample, :, row, column]]
            most = max(scores)
            pixels.append(math.log(sum(math.exp(score - most) for score in scores)) + most - scores[true])
    if not pixels:
        return 0.0
    pixels.sort(reverse=True)
    always = max(1, int(len(pixels) * least_kept))
    kept = pixels[:always] + [loss for loss in pixels[always:] if math.exp(-loss) <= threshold]
    return sum(kept) / len(kept)


@settings(deadline=None)
@given(CASES, st.floats(0.05, 1.0), st.sampled_from([1 / 16, 0.25, 1.0]))
def test_the_loss_is_that_of_the_hard_pixels(case: Case, threshold: float, least_kept: float) -> None:
    logits, label = draw(case)
    loss = ohem_cross_entropy(logits, label, threshold, least_kept)
    assert loss.item() == pytest.approx(naive(logits, label, threshold, least_kept), rel=1e-4, abs=1e-5)


@settings(deadline=None)
@given(CASES)
def test_with_threshold_1_it_is_plain_cross_entropy(case: Case) -> None:
    logits, label = draw(case, ignored=0.0)
    plain = torch.nn.functional.cross_entropy(logits, label)
    assert ohem_cross_entropy(logits, label, 1.0).item() == pytest.approx(plain.item(), rel=1e-5, abs=1e-6)


@settings(deadline=None)
@given(CASES, st.sampled_from([0.1, 10.0, 1e3, 1e6]))
def test_gradients_are_finite_and_none_reaches_an_ignored_pixel(case: Case, spread: float) -> None:
    logits, label = draw(case, spread)
    logits.requires_grad_()
    ohem_cross_entropy(logits, label, 0.7).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    ignored = (label == IGNORE)[:, None].expand_as(logits)
    assert not logits.grad[ignored].any()


def test_an_image_without_labels_costs_nothing_and_can_be_trained_on() -> None:
    logits = torch.randn(2, K, 4, 4, requires_grad=True)
    loss = ohem_cross_entropy(logits, torch.full((2, 4, 4), IGNORE), 0.7)
    assert loss.item() == 0
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad.any()


def test_easy_pixels_do_not_count_while_there_are_hard_ones() -> None:
    label = torch.zeros(1, 4, 4, dtype=torch.int64)
    logits = torch.zeros(1, K, 4, 4)
    logits[0, 0, :2] = 10.0
    logits.requires_grad_()
    loss = ohem_cross_entropy(logits, label, 0.7)
    assert loss.item() == pytest.approx(math.log(K))
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad[0, :, :2].any()
    assert logits.grad[0, :, 2:].any()
