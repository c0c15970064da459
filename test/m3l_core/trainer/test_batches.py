"""Position and seed decide every sample, so a restart changes nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from support.rooms import METHODS, recipe, training_data

from m3l_core.datasets.folder import Sample, read_sample
from m3l_core.depth_geometry import Focal
from m3l_core.errors import DatasetError
from m3l_core.frames import Frame, FrameSet
from m3l_core.modalities import DepthModality
from m3l_core.preprocessing import normalize, prepare, resize
from m3l_core.trainer.batches import Batch, TrainingSamples, training_batches
from m3l_core.trainer.distributed import Ranks
from m3l_core.trainer.recipe import Recipe

pytestmark = pytest.mark.needs("torch")
Rooms = tuple[list[Sample], list[Sample]]
Lists = tuple[list[Sample], list[Sample]]
STILL: dict[str, Any] = {
    "phases": [{"iterations": 5, "batch": 1, "crop": [64, 96], "scale": [1, 1]}],
    "augmentation": {"flip": 0, "color_jitter": 0, "depth_jitter": 0},
}
"""Samples as they are on disk."""


@pytest.fixture(scope="module")
def lists(rooms: Rooms) -> Lists:
    data = training_data(rooms)
    return [*data.labelled], [*data.unlabelled]


def batches_of(
    lists: Lists, start: int = 0, workers: int = 0, ranks: Ranks | None = None, **changes: Any
) -> list[Batch]:
    return list(training_batches(lists, recipe(**changes), start, workers, ranks or Ranks()))


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def samples_of(lists: Lists, made: Recipe, cache_bytes: int = 0) -> TrainingSamples:
    return TrainingSamples(lists, made, made.phases[0], cache_bytes)


@pytest.mark.parametrize("name", ["supervised", "everything"])
def test_shapes_and_kinds(lists: Lists, name: str) -> None:
    batches = batches_of(lists, method=METHODS[name])
    assert len(batches) == 10
    for number, batch in enumerate(batches):
        labelled, height, width = (4, 32, 48) if number < 5 else (2, 48, 64)
        count = labelled if name == "supervised" else 2 * labelled
        assert batch.weak.shape == batch.strong.shape == (count, 2, 3, height, width)
        assert batch.recorded.shape == batch.present.shape == (count, 2)
        assert batch.kept.shape == (count, 2, height // 4, width // 4)
        assert batch.label.shape == batch.inside.shape == batch.mixed.shape == (count, height, width)
        assert batch.source[:, 0].tolist() == [0] * labelled + [1] * (count - labelled)
        assert (batch.weak.dtype, batch.strong.dtype) == (torch.float32, torch.float32)
        assert (batch.label.dtype, batch.source.dtype) == (torch.uint8, torch.int64)
        assert {flags.dtype for flags in batch[2:5] + batch[6:8]} == {torch.bool}
        assert torch.isfinite(batch.weak).all()
        assert torch.isfinite(batch.strong).all()
        assert batch.recorded.all()
        assert set(batch.label[:labelled].unique().tolist()) <= {0, 1, 2, 255}
        assert (batch.label[labelled:] == 255).all()
        assert (batch.label[~batch.inside] == 255).all()
        assert not batch.weak[:, 1, 2][~batch.inside].any(), "depth outside the image is invalid"


def test_unlabelled_frames_come_only_where_somebody_labels_them(lists: Lists) -> None:
    assert all((batch.source[:, 0] == 0).all() for batch in batches_of(lists))
    taught = METHODS["mean teacher"]
    assert len(batches_of((lists[0], []), method=taught)[0].label) == 4
    assert len(batches_of(lists, method=taught)[0].label) == 8


def test_the_source_names_the_sample(lists: Lists) -> None:
    (batch, *_) = batches_of(lists, method=METHODS["mean teacher"], **STILL)
    for (stream, place), label, weak in zip(batch.source.tolist(), batch.label, batch.weak, strict=True):
        images, known = read_sample(lists[stream][place])
        assert (known is None) == (stream == 1)
        assert (label.numpy() == (255 if known is None else known)).all()
        assert ((weak[1, 2] > 0).numpy() == (images["depth"] > 0)).all()


def test_a_position_is_always_the_same_sample(lists: Lists) -> None:
    made = recipe(method=METHODS["everything"])
    one, other = samples_of(lists, made), samples_of(lists, made)
    for position in ((0, 17), (1, 3), (0, 3), (0, 3), (1, 0)):
        assert same(one[position], other[position])
    assert not same(one[0, 3], one[0, 3 + len(lists[0])])


def test_another_seed_is_another_stream(lists: Lists) -> None:
    one, other = samples_of(lists, recipe(seed=0)), samples_of(lists, recipe(seed=1))
    assert not any(same(one[0, position], other[0, position]) for position in range(6))


@pytest.mark.parametrize("stream", [0, 1])
def test_every_epoch_shows_every_sample_once_in_an_order_of_its_own(lists: Lists, stream: int) -> None:
    dataset, number = samples_of(lists, recipe(**STILL)), len(lists[stream])
    shown = [dataset[stream, position].source.tolist() for position in range(8 * number)]
    assert {source[0] for source in shown} == {stream}
    places = [place for _, place in shown]
    epochs = [tuple(places[first : first + number]) for first in range(0, len(places), number)]
    assert all(sorted(epoch) == list(range(number)) for epoch in epochs)
    assert len(set(epochs)) > 1


@pytest.mark.parametrize("size", [(64, 96), (128, 192)])
def test_at_scale_1_a_sample_is_prepared_as_on_the_robot(lists: Lists, size: tuple[int, int]) -> None:
    phases = [STILL["phases"][0] | {"crop": size}]
    made = recipe(**STILL | {"phases": phases}, input_height=size[0], input_width=size[1])
    sample = samples_of(lists, made)[0, 0]
    images, label = read_sample(lists[0][int(sample.source[1])])
    assert label is not None
    assert (sample.label.numpy() == cv2.resize(label, size[::-1], interpolation=cv2.INTER_NEAREST)).all()
    assert sample.inside.all()
    for image, modality in zip(sample.weak, made.modalities, strict=True):
        expected = torch.from_numpy(normalize(modality, resize(modality, images[modality.name], size)))
        # Colors go through float and back to bytes in between: one step of 255 at most.
        assert (image - expected).abs().max() <= 0.02


@pytest.mark.parametrize("start", [1, 5, 7, 10])
def test_a_restart_goes_on_with_the_batches_of_the_full_run(lists: Lists, start: int) -> None:
    full = batches_of(lists, method=METHODS["everything"])
    tail = batches_of(lists, start, method=METHODS["everything"])
    assert len(tail) == 10 - start
    assert all(same(one, other) for one, other in zip(full[start:], tail, strict=True))


def test_processes_that_load_images_do_not_change_them(lists: Lists) -> None:
    short = [{"iterations": 3, "batch": 4, "crop": [32, 48], "scale": [0.5, 1.0]}]
    alone, helped = (batches_of(lists, 0, workers, phases=short, method=METHODS["everything"]) for workers in (0, 1))
    assert all(same(one, other) for one, other in zip(alone, helped, strict=True))


@pytest.mark.parametrize("cache_bytes", [0, 70_000, 10**9])
def test_images_kept_in_memory_are_those_of_the_disk(lists: Lists, cache_bytes: int) -> None:
    made = recipe(method=METHODS["everything"])
    plain, cached = samples_of(lists, made), samples_of(lists, made, cache_bytes)
    for number in range(3 * len(lists[0])):
        assert same(plain[0, number], cached[0, number])
        assert same(plain[1, number], cached[1, number])
    held = sum(
        image.nbytes
        for images, label in cached.cache.values()
        for image in (*images.values(), label)
        if image is not None
    )
    assert held == cache_bytes - cached.cache_left <= cache_bytes
    assert len(cached.cache) == {0: 0, 70_000: 2, 10**9: 6}[cache_bytes]


def test_ranks_share_a_batch_in_its_order(lists: Lists) -> None:
    changes = {"method": METHODS["everything"], "phases": [STILL["phases"][0] | {"batch": 4}]}
    whole = batches_of(lists, **changes)
    parts = [batches_of(lists, ranks=Ranks(rank, 2), **changes) for rank in (0, 1)]
    for batch, one, other in zip(whole, *parts, strict=True):
        for tensor, first, second in zip(batch, one, other, strict=True):
            (labelled_1, unlabelled_1), (labelled_2, unlabelled_2) = first.chunk(2), second.chunk(2)
            assert torch.equal(tensor, torch.cat([labelled_1, labelled_2, unlabelled_1, unlabelled_2]))


def test_loading_does_not_touch_the_generator_that_drives_the_training(lists: Lists) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    batches_of(lists, 7)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_was_not_recorded_is_zero_and_never_dropped(lists: Lists) -> None:
    everything = METHODS["everything"] | {"modality_dropout": {"probability": 1.0}, "noise": 1.0}
    partial = [
        replace(sample, images={"depth": sample.images["depth"]}) if number % 2 else sample
        for number, sample in enumerate(lists[0])
    ]
    for batch in batches_of((partial, partial), method=everything):
        for index, (_, place) in enumerate(batch.source.tolist()):
            assert batch.recorded[index].tolist() == [place % 2 == 0, True]
            if place % 2:
                assert batch.present[index].tolist() == [False, True]
                assert not batch.weak[index, 0].any()
                assert not batch.strong[index, 0].any()
            else:
                assert batch.present[index].sum() == 1
            assert batch.weak[index, 1].any()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_cannot_be_used_is_told_as_it_is(rooms: Rooms, lists: Lists, tmp_path: Path, workers: int) -> None:
    bad_label, bad_image = tmp_path / "label.png", tmp_path / "color.jpg"
    cv2.imwrite(str(bad_label), np.full((64, 96), 3, np.uint8))
    bad_image.touch()
    sample = lists[0][0]
    for bad, message in (
        (replace(sample, label=bad_label), f"{bad_label} has the class id 3, but there are 3 classes: expected 0 to 2"),
        (
            replace(sample, images=sample.images | {"color": bad_image}),
            f"{bad_image}: expected a color image, found no",
        ),
    ):
        with pytest.raises(DatasetError, match=f"^{re.escape(message)}") as error:
            batches_of(([bad], []), workers=workers)
        assert "Traceback" not in str(error.value)


def test_a_single_modality_is_never_dropped(lists: Lists) -> None:
    made = recipe(modalities=[{"kind": "depth"}], method={"modality_dropout": {"probability": 1.0}})
    dataset = samples_of(lists, made)
    assert all(dataset[0, position].present.tolist() == [True] for position in range(20))


@pytest.mark.parametrize("fov_deg", [None, 100.0])
@pytest.mark.parametrize("size", [(128, 192), (90, 320)])
def test_a_wall_is_as_high_as_the_robot_sees_it_whatever_the_camera(
    tmp_path: Path, size: tuple[int, int], fov_deg: float | None
) -> None:
    """Images of another shape than the network's input are squeezed into it."""
    geometry = DepthModality(normalization="geometry")
    made = recipe(**STILL, modalities=[geometry.model_dump()])
    focal = Focal.of_view(fov_deg or geometry.horizontal_fov_deg, size)
    below = ((np.arange(size[0]) + 0.5) / size[0] - 0.5) / focal.in_heights
    depth_m = np.minimum(0.2 / np.maximum(below, 1e-6), 2.0)  # a floor 0.2 m below the camera, a wall 2 m ahead
    depth = np.repeat(np.rint(1000 * depth_m).astype(np.uint16)[:, None], size[1], axis=1)
    assert cv2.imwrite(str(tmp_path / "depth.png"), depth)
    fx = None if fov_deg is None else focal.in_widths * size[1]
    sample = Sample({"depth": tmp_path / "depth.png"}, None, "hall", fx=fx)
    seen = samples_of(([sample], []), made)[0, 0].weak[0]
    frames = FrameSet("depth", {"depth": Frame("depth", 0, depth)})
    input_size = made.input_height, made.input_width
    robot = torch.from_numpy(prepare(frames, (geometry,), input_size, horizontal_fov_deg=fov_deg).images[0, 0])
    assert float(seen[1].max()) == pytest.approx(float(robot[1].max()), abs=0.01)
    assert float(robot[1].max()) == pytest.approx(2 / 3 * (0.2 + 2.0 * -below[0]) - 1, abs=0.03)
