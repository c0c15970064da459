"""From a batch to what the student sees: CutMix, the clean copy of M3L, and what pseudo labels are worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m3l_core.labels import IGNORE
from m3l_core.trainer.batches import Batch
from m3l_core.trainer.method import Method
from m3l_core.trainer.views import StudentView, pseudo_labels, student_view

pytestmark = pytest.mark.needs("torch")
K, SIZE = 3, (8, 12)
COUNTS = st.tuples(st.integers(0, 5), st.integers(0, 5)).filter(any)


def batch_of(labelled: int, unlabelled: int, seed: int = 0) -> Batch:
    """Every value of sample b is b, but its label, which is b modulo K; unlabelled ones have rectangles mixed in."""
    count = labelled + unlabelled
    random = np.random.default_rng(seed)
    number = torch.arange(count)
    strong = number.float().view(-1, 1, 1, 1, 1).repeat(1, 2, 3, *SIZE)
    label = (number % K).to(torch.uint8).view(-1, 1, 1).repeat(1, *SIZE)
    label[labelled:] = IGNORE
    mixed = torch.zeros(count, *SIZE, dtype=torch.bool)
    mixed[labelled:, 2:5, 3:9] = True
    mixed[random.random(count) < 0.3] = False
    flags = torch.from_numpy(random.random((2, count, 2)) < 0.6)
    kept = torch.from_numpy(random.random((count, 2, SIZE[0] // 4, SIZE[1] // 4)) < 0.5)
    inside = torch.from_numpy(random.random((count, *SIZE)) < 0.8)
    source = torch.stack([(number >= labelled).long(), number], dim=1)
    return Batch(strong + 100, strong, flags[0], flags[1], kept, label, inside, mixed, source)


def logits_of(batch: Batch) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).normal(0, 2, (len(batch.label), K, *SIZE)).astype(np.float32))


def neighbour(index: int, labelled: int, count: int) -> int:
    """Of an unlabelled sample: the unlabelled ones are paired; an odd last one has itself."""
    other = labelled + ((index - labelled) ^ 1)
    return other if labelled <= index and other < count else index


def test_a_student_sees_the_strong_view_as_it_is_by_default() -> None:
    batch = batch_of(2, 3)
    view = student_view(batch, None, Method())
    assert view.images is batch.strong
    assert torch.equal(view.label, batch.label.long())
    assert view.present is batch.present
    assert view.kept is batch.kept
    assert view.inside is batch.inside
    assert view.taught is None


@settings(deadline=None)
@given(COUNTS, st.integers(0, 1000))
def test_cutmix_takes_everything_from_an_unlabelled_neighbour_with_the_same_sensors(
    counts: tuple[int, int], seed: int
) -> None:
    batch = batch_of(*counts, seed)
    taught = logits_of(batch)
    view = student_view(batch, taught, Method(pseudo_labels="cross", cutmix=0.5))
    assert view.taught is not None
    for index in range(len(batch.label)):
        partner = neighbour(index, counts[0], sum(counts))
        if not torch.equal(batch.recorded[partner], batch.recorded[index]):
            partner = index
        mixed = batch.mixed[index]
        for seen, given_ in (
            (view.images, batch.strong),
            (view.inside, batch.inside),
            (view.taught, taught),
        ):
            assert torch.equal(seen[index][..., mixed], given_[partner][..., mixed])
            assert torch.equal(seen[index][..., ~mixed], given_[index][..., ~mixed])
    assert torch.equal(view.label, batch.label.long())
    assert torch.equal(view.present, batch.present)
    assert torch.equal(view.kept, batch.kept)


def test_an_odd_last_sample_has_no_neighbour_and_stays_as_it_is() -> None:
    batch = batch_of(1, 3)
    batch.mixed[1:] = True
    batch.recorded[:] = True
    view = student_view(batch, None, Method(pseudo_labels="cross", cutmix=1.0))
    assert view.images[:, 0, 0, 0, 0].tolist() == [0, 2, 1, 3]


def test_without_cutmix_nothing_is_mixed() -> None:
    batch = batch_of(2, 2)
    assert torch.equal(student_view(batch, None, Method(clean_labelled_copy=True)).images[2:], batch.strong)


@pytest.mark.parametrize("cutmix", [0.0, 1.0])
def test_labelled_samples_come_first_with_every_sensor_and_then_all_as_they_are(cutmix: float) -> None:
    batch = batch_of(3, 2)
    taught = logits_of(batch)
    alone = student_view(batch, taught, Method(pseudo_labels="cross", cutmix=cutmix))
    view = student_view(batch, taught, Method(pseudo_labels="cross", cutmix=cutmix, clean_labelled_copy=True))
    assert len(view.images) == 8
    assert view.taught is not None
    assert alone.taught is not None
    for seen, once in (
        (view.images, alone.images),
        (view.label, alone.label),
        (view.inside, alone.inside),
        (view.labelled, alone.labelled),
        (view.taught, alone.taught),
    ):
        assert torch.equal(seen[:3], once[:3])
        assert torch.equal(seen[3:], once)
    assert torch.equal(view.present[:3], batch.recorded[:3])
    assert torch.equal(view.present[3:], batch.present)
    assert view.kept[:3].all()
    assert torch.equal(view.kept[3:], batch.kept)
    assert student_view(batch, None, Method(clean_labelled_copy=True)).taught is None


def view_of(labelled: int = 2, unlabelled: int = 2, **method: Any) -> tuple[StudentView, Method]:
    batch = batch_of(labelled, unlabelled)
    batch.label[0] = IGNORE  # a labelled frame, in a view that shows nothing of what is labelled
    made = Method(pseudo_labels="mean_teacher", **method)
    return student_view(batch, logits_of(batch), made), made


def test_pseudo_labels_are_the_teachers_likeliest_classes() -> None:
    view, method = view_of()
    found = pseudo_labels(view, method)
    assert view.taught is not None
    assert torch.equal(found.classes, view.taught.argmax(dim=1))
    assert torch.equal(found.counted, view.inside)
    assert torch.equal(found.weight, view.inside.float())


def test_without_the_valid_mask_the_padding_is_taught_as_well() -> None:
    view, method = view_of(valid_mask=False)
    found = pseudo_labels(view, method)
    assert found.counted.all()
    assert (found.weight == 1).all()


@pytest.mark.parametrize("valid_mask", [True, False])
def test_labelled_samples_can_be_left_to_their_labels(valid_mask: bool) -> None:
    view, method = view_of(pseudo_on_labelled=False, valid_mask=valid_mask)
    found = pseudo_labels(view, method)
    assert not found.counted[:2].any()
    assert not found.weight[:2].any()
    assert torch.equal(found.counted[2:], view.inside[2:] if valid_mask else torch.ones_like(view.inside[2:]))


def test_a_threshold_takes_what_is_surer_and_the_rest_still_divides() -> None:
    view, method = view_of(confidence="threshold", confidence_threshold=0.7)
    found = pseudo_labels(view, method)
    assert view.taught is not None
    sure = view.taught.softmax(dim=1).amax(dim=1) >= 0.7
    assert sure.any()
    assert not sure.all()
    assert torch.equal(found.weight, (sure & view.inside).float())
    assert torch.equal(found.counted, view.inside)


def test_a_weight_is_the_teachers_probability() -> None:
    view, method = view_of(confidence="weight", confidence_threshold=0.99)
    found = pseudo_labels(view, method)
    assert view.taught is not None
    assert torch.allclose(found.weight, view.taught.softmax(dim=1).amax(dim=1) * view.inside)
    assert torch.equal(found.counted, view.inside)
