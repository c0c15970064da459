"""Each option of a method changes what it should of a sample, and nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from support.rooms import METHODS, recipe, training_data

from m3l_core.datasets.folder import Sample
from m3l_core.trainer.batches import Batch, TrainingSamples

pytestmark = pytest.mark.needs("torch")
Rooms = tuple[list[Sample], list[Sample]]
NUMBER = 40
STRONG = ("color_jitter", "gray", "blur", "depth_holes", "depth_noise", "depth_jitter")
OPTIONS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "modality_dropout": ({"modality_dropout": {}}, {"present"}),
    "partial": ({"modality_dropout": {"partial": 1.0}}, {"kept"}),
    "strong_view": ({"strong_view": {}}, {"strong"}),
    "noise": ({"noise": 0.5}, {"strong"}),
    "cutmix": ({"cutmix": 0.5}, {"mixed"}),
    "clean_labelled_copy": ({"clean_labelled_copy": True}, set()),
    "everything": (METHODS["everything"], {"present", "kept", "strong", "mixed"}),
}
"""What to switch on, and which tensors change."""


class Drawer:
    """Samples of one view by changing methods."""

    def __init__(self, rooms: Rooms) -> None:
        data = training_data(rooms)
        self.lists = data.labelled, data.unlabelled

    def __call__(self, stream: int = 1, number: int = NUMBER, augmentation: Any = None, **method: Any) -> list[Batch]:
        made = recipe(method={"pseudo_labels": "mean_teacher"} | method, augmentation=augmentation or {})
        dataset = TrainingSamples(self.lists, made, made.phases[0], 10**9)
        return [dataset[stream, position] for position in range(number)]


@pytest.fixture(scope="module")
def drawn(rooms: Rooms) -> Drawer:
    return Drawer(rooms)


def changed(some: list[Batch], others: list[Batch]) -> set[str]:
    return {
        name
        for one, other in zip(some, others, strict=True)
        for name in Batch._fields
        if not torch.equal(getattr(one, name), getattr(other, name))
    }


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_changes_its_own_tensor_alone(drawn: Drawer, name: str) -> None:
    method, expected = OPTIONS[name]
    assert changed(drawn(), drawn(**method)) == expected


@pytest.mark.parametrize("stream", [0, 1])
def test_depth_that_no_sensor_has_seen_is_seen_by_one(rooms: Rooms, tmp_path: Path, stream: int) -> None:
    changes: dict[str, Any] = {"augmentation": {"depth_sensor": 1.0}}
    train, validation = rooms
    whole = []
    for number, sample in enumerate(train):
        depth = cv2.imread(str(sample.images["depth"]), cv2.IMREAD_UNCHANGED)
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), np.maximum(depth, 900))
        whole.append(replace(sample, images=sample.images | {"depth": path}))
    assert changed(Drawer(rooms)(stream), Drawer(rooms)(stream, **changes)) == set(), "these have holes already"
    drawer = Drawer((whole, validation))
    before, after = drawer(stream), drawer(stream, **changes)
    assert changed(before, after) == {"weak", "strong"}
    assert changed(after, drawer(stream, **changes)) == set()
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one.weak[0], other.weak[0]), "color is left alone"
        assert torch.equal(other.strong, other.weak)
        assert other.weak[1, 2][~other.inside].sum() == 0
    lost = [float((one.weak[1, 2] - other.weak[1, 2]).mean()) for one, other in zip(before, after, strict=True)]
    assert 0.02 < np.mean(lost) < 0.5


@pytest.mark.parametrize("stream", [0, 1])
def test_failing_sensors_are_seen_by_the_student_alone(drawn: Drawer, stream: int) -> None:
    changes: dict[str, Any] = {"augmentation": {"failing_sensor": 0.5}}
    after = drawn(stream, **changes)
    assert changed(drawn(stream), after) == {"strong"}
    assert changed(after, drawn(stream, **changes)) == set()
    failed = [[not torch.equal(*pair) for pair in zip(each.weak, each.strong, strict=True)] for each in after]
    assert {tuple(sensors) for sensors in failed} == {(True, True), (True, False), (False, True), (False, False)}


@pytest.mark.parametrize("name", OPTIONS)
def test_labelled_frames_lose_sensors_and_are_seen_as_they_are_otherwise(drawn: Drawer, name: str) -> None:
    method, expected = OPTIONS[name]
    assert changed(drawn(0), drawn(0, **method)) == expected - {"strong", "mixed"}


@pytest.mark.parametrize("stream", [0, 1])
def test_without_disturbances_the_student_sees_what_the_teacher_sees(drawn: Drawer, stream: int) -> None:
    method = {"modality_dropout": {"partial": 0.5}, "cutmix": 1.0, "pseudo_labels": "mean_teacher"}
    for sample in drawn(stream, **method):
        assert torch.equal(sample.strong, sample.weak)
    for sample in drawn(stream):
        assert torch.equal(sample.present, sample.recorded)
        assert sample.kept.all()
        assert not sample.mixed.any()


@pytest.mark.parametrize(
    ("option", "tensor", "others"),
    [
        ("modality_dropout", "present", ["strong_view", "noise", "cutmix"]),
        ("partial", "kept", ["strong_view", "noise", "cutmix"]),
        ("cutmix", "mixed", ["partial", "strong_view", "noise"]),
        ("strong_view", "strong", ["partial", "cutmix"]),
        ("noise", "strong", ["partial", "cutmix"]),
    ],
)
def test_what_an_option_draws_does_not_depend_on_the_others(
    drawn: Drawer, option: str, tensor: str, others: list[str]
) -> None:
    method = OPTIONS[option][0]
    together = {name: value for other in others for name, value in OPTIONS[other][0].items()} | method
    assert tensor not in changed(drawn(**method), drawn(**together))


def test_what_happens_to_a_sample_is_drawn_for_each_purpose_and_list_by_itself(drawn: Drawer) -> None:
    method: dict[str, Any] = {"modality_dropout": {"probability": 0.5}, "cutmix": 0.5, "noise": 0.5}
    happened = []
    for stream in (0, 1):
        samples = drawn(stream, 200, **method)
        happened += [
            [not sample.present.all() for sample in samples],
            [bool(sample.mixed.any()) for sample in samples],
            [not torch.equal(sample.strong, sample.weak) for sample in samples],
        ]
    of_labelled, *of_unlabelled = happened[0], *happened[3:]
    assert not any(map(any, happened[1:3]))
    alike = np.corrcoef([of_labelled, *of_unlabelled]) - np.eye(4)
    assert abs(alike).max() < 0.3


def test_the_same_modalities_are_hit_in_part_as_in_whole(drawn: Drawer) -> None:
    whole = [sample.present for sample in drawn(modality_dropout={})]
    partial = [sample.kept for sample in drawn(modality_dropout={"partial": 1.0, "partial_ratio": [1, 1]})]
    assert torch.equal(torch.stack(whole), torch.stack(partial).flatten(2).any(dim=2))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_students_samples_has_noise_on_every_modality(drawn: Drawer, share: float) -> None:
    samples = drawn(number=150, noise=share)
    noisy = [(sample.strong != sample.weak).flatten(1).any(dim=1).tolist() for sample in samples]
    assert {tuple(flags) for flags in noisy} <= {(True, True), (False, False)}
    assert np.mean(noisy) == pytest.approx(share, abs=0.1)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_share_of_the_samples_shows_a_rectangle_of_its_neighbour(drawn: Drawer, share: float) -> None:
    mixed = torch.stack([sample.mixed for sample in drawn(number=150, cutmix=share)])
    assert mixed.flatten(1).any(dim=1).float().mean() == pytest.approx(share, abs=0.12)
    for mask in mixed[mixed.flatten(1).any(dim=1)]:
        rows, columns = mask.any(dim=1).sum(), mask.any(dim=0).sum()
        assert mask.sum() == rows * columns
        assert 0.07 < mask.float().mean() <= 0.4


def test_modality_dropout_takes_its_share_evenly_and_never_all(drawn: Drawer) -> None:
    number = 300
    samples = drawn(0, number, modality_dropout={"probability": 2 / 3})
    seen = Counter(tuple(sample.present.tolist()) for sample in samples)
    assert seen[(False, False)] == 0
    for there in ((True, True), (False, True), (True, False)):
        assert seen[there] / number == pytest.approx(1 / 3, abs=0.1)


def test_labelled_frames_may_keep_every_sensor(drawn: Drawer) -> None:
    everywhere, elsewhere = ({"probability": 1.0, "partial": 0.5, "on_labelled": here} for here in (True, False))
    assert changed(drawn(0), drawn(0, modality_dropout=elsewhere)) == set()
    assert changed(drawn(1, modality_dropout=everywhere), drawn(1, modality_dropout=elsewhere)) == set()


def test_dropout_follows_the_names_of_the_modalities(drawn: Drawer) -> None:
    samples = drawn(modality_dropout={"draw": "independent", "probability": {"depth": 1.0, "color": 0.0}})
    assert all(sample.present.tolist() == [True, False] for sample in samples)


def moved(pairs: Any) -> list[bool]:
    """Which modalities differ by more than rounding in one of some pairs of images."""
    return torch.stack([(one - other).abs().flatten(1).amax(dim=1) > 0.03 for one, other in pairs]).any(dim=0).tolist()


@pytest.mark.parametrize("option", ["color_jitter", "depth_jitter"])
@pytest.mark.parametrize("stream", [0, 1])
def test_the_common_augmentation_reaches_teacher_and_student_alike(drawn: Drawer, option: str, stream: int) -> None:
    still = {"color_jitter": 0, "depth_jitter": 0}
    calm, jittered = (drawn(stream, 8, augmentation=still | change) for change in ({}, {option: 0.5}))
    assert all(torch.equal(sample.strong, sample.weak) for sample in jittered)
    seen = zip((sample.weak for sample in calm), (sample.weak for sample in jittered), strict=True)
    assert moved(seen) == [option == "color_jitter", option == "depth_jitter"]


@pytest.mark.parametrize("option", STRONG)
def test_a_strong_view_of_one_sensor_leaves_the_other(drawn: Drawer, option: str) -> None:
    nothing = dict.fromkeys(STRONG, 0)
    samples = drawn(number=8, strong_view=nothing | {option: 0.5})
    of_depth = option.startswith("depth")
    assert moved((sample.weak, sample.strong) for sample in samples) == [not of_depth, of_depth]
    samples = drawn(number=8, strong_view=nothing)
    assert moved((sample.weak, sample.strong) for sample in samples) == [False, False]
