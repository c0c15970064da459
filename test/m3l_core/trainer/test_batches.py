"""Position and seed decide every sample, so a restart changes nothing."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from support.rooms import recipe

torch = pytest.importorskip("torch", reason="needs torch: pip install 'm3l_ros[train]'")

from m3l_core.datasets.folder import Sample, read_sample  # noqa: E402
from m3l_core.preprocessing import normalize  # noqa: E402
from m3l_core.trainer.batches import Batch, TrainingSamples, training_batches  # noqa: E402
from m3l_core.trainer.recipe import Recipe  # noqa: E402

Rooms = tuple[list[Sample], list[Sample]]
STILL: dict[str, Any] = {
    "phases": [{"iterations": 5, "batch": 1, "crop": [64, 96], "scale": [1, 1]}],
    "augmentation": {"flip": 0, "color_jitter": 0, "depth_jitter": 0},
}
"""Samples as they are on disk."""


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def samples_of(rooms: Rooms, made: Recipe) -> TrainingSamples:
    return TrainingSamples(rooms[0], made, made.phases[0])


def test_shapes_and_kinds(rooms: Rooms) -> None:
    batches = list(training_batches(rooms[0], recipe(), 0, 0))
    assert len(batches) == 10
    for number, (images, present, label) in enumerate(batches):
        batch, height, width = (4, 32, 48) if number < 5 else (2, 48, 64)
        assert images.shape == (batch, 2, 3, height, width)
        assert present.shape == (batch, 2)
        assert label.shape == (batch, height, width)
        assert (images.dtype, present.dtype, label.dtype) == (torch.float32, torch.bool, torch.int64)
        assert torch.isfinite(images).all()
        assert set(label.unique().tolist()) <= {0, 1, 2, 255}


def test_a_position_is_always_the_same_sample(rooms: Rooms) -> None:
    one, other = samples_of(rooms, recipe()), samples_of(rooms, recipe())
    for position in (17, 3, 3, 0):
        assert same(one[position], other[position])
    assert not same(one[3], one[3 + len(rooms[0])])


def test_another_seed_is_another_stream(rooms: Rooms) -> None:
    one, other = samples_of(rooms, recipe(seed=0)), samples_of(rooms, recipe(seed=1))
    assert not any(same(one[position], other[position]) for position in range(6))


def test_every_epoch_shows_every_sample_once_in_an_order_of_its_own(rooms: Rooms) -> None:
    known = [tuple(read_sample(sample)[1].ravel().tolist()) for sample in rooms[0]]
    dataset = samples_of(rooms, recipe(**STILL))
    shown = [known.index(tuple(dataset[position][2].ravel().tolist())) for position in range(4 * len(known))]
    epochs = [tuple(shown[first : first + len(known)]) for first in range(0, len(shown), len(known))]
    assert all(sorted(epoch) == list(range(len(known))) for epoch in epochs)
    assert len(set(epochs)) > 1


def test_a_sample_is_prepared_as_on_the_robot(rooms: Rooms) -> None:
    made = recipe(**STILL)
    images, _, label = samples_of(rooms, made)[0]
    stored = next(pair for pair in map(read_sample, rooms[0]) if (pair[1] == label.numpy()).all())
    for image, modality in zip(images, made.modalities, strict=True):
        expected = torch.from_numpy(normalize(modality, stored[0][modality.name]))
        # Colors go through float and back to bytes in between: one step of 255 at most.
        assert (image - expected).abs().max() <= 0.02


@pytest.mark.parametrize("start", [1, 5, 7, 10])
def test_a_restart_goes_on_with_the_batches_of_the_full_run(rooms: Rooms, start: int) -> None:
    full = list(training_batches(rooms[0], recipe(), 0, 0))
    tail = list(training_batches(rooms[0], recipe(), start, 0))
    assert len(tail) == 10 - start
    assert all(same(one, other) for one, other in zip(full[start:], tail, strict=True))


def test_processes_that_load_images_do_not_change_them(rooms: Rooms) -> None:
    short = recipe(phases=[{"iterations": 3, "batch": 4, "crop": [32, 48], "scale": [0.5, 1.0]}])
    alone, helped = (list(training_batches(rooms[0], short, 0, workers)) for workers in (0, 1))
    assert all(same(one, other) for one, other in zip(alone, helped, strict=True))


def test_loading_does_not_touch_the_generator_that_drives_the_training(rooms: Rooms) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    for _ in training_batches(rooms[0], recipe(), 7, 0):
        pass
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("share", [0.0, 0.3, 2 / 3, 1.0])
def test_modality_dropout_takes_its_share_evenly_and_never_all(rooms: Rooms, share: float) -> None:
    dataset = samples_of(rooms, recipe(modality_dropout=share))
    number = 300
    seen = Counter(tuple(dataset[position][1].tolist()) for position in range(number))
    assert seen[(False, False)] == 0
    assert seen[(True, True)] / number == pytest.approx(1 - share, abs=0.1)
    assert seen[(False, True)] / number == pytest.approx(share / 2, abs=0.1)
    assert seen[(True, False)] / number == pytest.approx(share / 2, abs=0.1)


def test_a_single_modality_is_never_dropped(rooms: Rooms) -> None:
    made = recipe(modalities=[{"kind": "depth"}], modality_dropout=1.0)
    samples = [Sample({"depth": sample.images["depth"]}, sample.label, sample.recording) for sample in rooms[0]]
    dataset = TrainingSamples(samples, made, made.phases[0])
    assert all(dataset[position][1].tolist() == [True] for position in range(20))
