"""Losses against loops over pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m3l_core.labels import IGNORE
from m3l_core.trainer.distributed import Ranks
from m3l_core.trainer.losses import divergence, ohem_cross_entropy, pseudo_cross_entropy

pytestmark = pytest.mark.needs("torch")
K = 3
Case = tuple[int, int, int, int]
CASES = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))


def draw(case: Case, spread: float = 4.0, ignored: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (B, K, H, W) and labels (B, H, W)."""
    seed, batch, height, width = case
    random = np.random.default_rng(seed)
    label = random.integers(0, K, (batch, height, width))
    label[random.random(label.shape) < ignored] = IGNORE
    logits = random.normal(0, spread, (batch, K, height, width)).astype(np.float32)
    return torch.from_numpy(logits), torch.from_numpy(label)


def ohem(logits: torch.Tensor, label: torch.Tensor, threshold: float, least_kept: float = 1 / 16) -> torch.Tensor:
    """The mean, from logits."""
    return Ranks().mean(ohem_cross_entropy(logits.log_softmax(dim=1), label, threshold, least_kept))


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
    loss = ohem(logits, label, threshold, least_kept)
    assert loss.item() == pytest.approx(naive(logits, label, threshold, least_kept), rel=1e-4, abs=1e-5)


@settings(deadline=None)
@given(CASES)
def test_with_threshold_1_it_is_plain_cross_entropy(case: Case) -> None:
    logits, label = draw(case, ignored=0.0)
    plain = torch.nn.functional.cross_entropy(logits, label)
    assert ohem(logits, label, 1.0).item() == pytest.approx(plain.item(), rel=1e-5, abs=1e-6)


@settings(deadline=None)
@given(CASES, st.sampled_from([0.1, 10.0, 1e3, 1e6]))
def test_gradients_are_finite_and_none_reaches_an_ignored_pixel(case: Case, spread: float) -> None:
    logits, label = draw(case, spread)
    logits.requires_grad_()
    ohem(logits, label, 0.7).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    ignored = (label == IGNORE)[:, None].expand_as(logits)
    assert not logits.grad[ignored].any()


def test_an_image_without_labels_costs_nothing_and_can_be_trained_on() -> None:
    logits = torch.randn(2, K, 4, 4, requires_grad=True)
    loss = ohem(logits, torch.full((2, 4, 4), IGNORE), 0.7)
    assert loss.item() == 0
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad.any()


def test_easy_pixels_do_not_count_while_there_are_hard_ones() -> None:
    label = torch.zeros(1, 4, 4, dtype=torch.int64)
    logits = torch.zeros(1, K, 4, 4)
    logits[0, 0, :2] = 10.0
    logits.requires_grad_()
    loss = ohem(logits, label, 0.7)
    assert loss.item() == pytest.approx(math.log(K))
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad[0, :, :2].any()
    assert logits.grad[0, :, 2:].any()


def test_a_loss_that_is_not_a_number_is_not_taken_for_an_easy_pixel() -> None:
    logits = torch.zeros(1, K, 4, 4)
    logits[0, :, 1, 1] = torch.nan
    assert math.isnan(ohem(logits, torch.zeros(1, 4, 4, dtype=torch.int64), 0.7))


@settings(deadline=None)
@given(CASES, st.sampled_from([0.7, 1.0]))
def test_parts_of_a_batch_add_up_to_the_whole(case: Case, threshold: float) -> None:
    logits, label = draw(case, spread=0.3)  # so that every pixel is hard
    whole = ohem_cross_entropy(logits.log_softmax(1), label, threshold)
    parts = [
        ohem_cross_entropy(one[None].log_softmax(1), other[None], threshold)
        for one, other in zip(logits, label, strict=True)
    ]
    assert whole.number.item() == sum(part.number.item() for part in parts)
    assert whole.total.item() == pytest.approx(sum(part.total.item() for part in parts), rel=1e-4, abs=1e-5)


def log_softmax(scores: list[float]) -> list[float]:
    most = max(scores)
    total = math.log(sum(math.exp(score - most) for score in scores)) + most
    return [score - total for score in scores]


@settings(deadline=None)
@given(CASES)
def test_pseudo_labels_teach_each_pixel_by_its_weight_and_all_that_could_count_divide(case: Case) -> None:
    logits, _ = draw(case)
    random = np.random.default_rng(case[0])
    shape = logits[:, 0].shape
    classes = torch.from_numpy(random.integers(0, K, shape))
    counted = torch.from_numpy(random.random(shape) < 0.7)
    weight = torch.from_numpy(random.random(shape).astype(np.float32)) * counted
    total = sum(
        -float(weight[b, y, x]) * log_softmax(logits[b, :, y, x].tolist())[int(classes[b, y, x])]
        for b, y, x in np.ndindex(*shape)
    )
    found = pseudo_cross_entropy(logits.log_softmax(1), classes, weight, counted)
    assert found.total.item() == pytest.approx(total, rel=1e-4, abs=1e-5)
    assert found.number.item() == int(counted.sum())


@settings(deadline=None)
@given(CASES)
def test_the_divergence_is_that_from_the_teacher_to_the_student(case: Case) -> None:
    student, _ = draw(case)
    seed, *shape = case
    teacher, _ = draw((seed + 1, *shape))
    counted = torch.from_numpy(np.random.default_rng(seed).random(student[:, 0].shape) < 0.7)
    weight = torch.rand(counted.shape, generator=torch.Generator().manual_seed(seed)) * counted
    total = 0.0
    for b, y, x in np.ndindex(*counted.shape):
        if counted[b, y, x]:
            learnt, taught = (log_softmax(logits[b, :, y, x].tolist()) for logits in (student, teacher))
            each = sum(math.exp(wanted) * (wanted - is_so) for wanted, is_so in zip(taught, learnt, strict=True))
            total += weight[b, y, x].item() * each
    found = divergence(student.log_softmax(1), teacher.log_softmax(1), weight, counted)
    assert found.total.item() == pytest.approx(total, rel=1e-3, abs=1e-4)
    assert found.number.item() == int(counted.sum())


@settings(deadline=None)
@given(CASES)
def test_equals_do_not_diverge_and_have_nothing_to_learn(case: Case) -> None:
    logits, _ = draw(case)
    teacher = logits.log_softmax(1)
    logits.requires_grad_()
    everywhere = torch.ones(logits[:, 0].shape)
    found = divergence(logits.log_softmax(1), teacher, everywhere, everywhere.bool())
    assert found.total.item() == pytest.approx(0, abs=1e-4)
    found.total.backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-4


def test_no_pixel_costs_nothing_and_can_be_trained_on() -> None:
    logits = torch.randn(1, K, 4, 4, requires_grad=True)
    nothing = torch.zeros(1, 4, 4, dtype=torch.bool)
    sums = [
        pseudo_cross_entropy(logits.log_softmax(1), nothing.long(), nothing.float(), nothing),
        divergence(logits.log_softmax(1), torch.randn(1, K, 4, 4).log_softmax(1), nothing.float(), nothing),
    ]
    means = [Ranks().mean(found) for found in sums]
    assert [mean.item() for mean in means] == [0, 0]
    torch.stack(means).sum().backward()
    assert logits.grad is not None
    assert not logits.grad.any()
