"""The evaluator counts what the robot would label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from m3l_core.bundle import ModelBundle
from m3l_core.datasets.folder import Sample, read_image
from m3l_core.engines.engine import load_engine
from m3l_core.engines.torch_engine import load_network
from m3l_core.errors import DatasetError
from m3l_core.frames import Frame, FrameSet
from m3l_core.segmenter import Segmenter
from m3l_core.trainer.evaluator import evaluate

pytestmark = [pytest.mark.needs("torch"), pytest.mark.usefixtures("one_thread")]
Rooms = tuple[list[Sample], list[Sample]]
SUBSETS = ("color+depth", "color", "depth")


@pytest.fixture
def bundle(tiny_bundle: Path) -> ModelBundle:
    return ModelBundle.load(tiny_bundle)


def labelled_by_the_robot(
    bundle: ModelBundle, samples: list[Sample], subset: str, folder: Path, size: tuple[int, int] | None = None
) -> list[Sample]:
    """The same images with the labels that the bundle's engine gives to ``subset``, images and labels at ``size``."""
    segmenter = Segmenter(bundle.description, load_engine(bundle, "torch", "fp32"))
    relabelled = []
    for sample in samples:
        images = {name: read_image(path, name) for name, path in sample.images.items()}
        paths = dict(sample.images)
        if size is not None:
            for name, image in images.items():
                images[name] = cv2.resize(image, size[::-1], interpolation=cv2.INTER_NEAREST)
                paths[name] = folder / f"{name}_{sample.label.name}"
                stored = images[name][..., ::-1] if name == "color" else images[name]
                cv2.imwrite(str(paths[name]), stored)
        present = subset.split("+")
        frames = FrameSet(present[0], {name: Frame(name, 0, images[name]) for name in present})
        path = folder / sample.label.name
        cv2.imwrite(str(path), segmenter.segment(frames).labels)
        relabelled.append(Sample(paths, path, sample.recording))
    return relabelled


@pytest.mark.parametrize("size", [None, (48, 80), (100, 130)])
@pytest.mark.parametrize("subset", SUBSETS)
def test_labels_of_the_robot_are_perfect_for_their_subset(
    bundle: ModelBundle, rooms: Rooms, tmp_path: Path, subset: str, size: tuple[int, int] | None
) -> None:
    samples = labelled_by_the_robot(bundle, rooms[1], subset, tmp_path, size)
    described = bundle.description
    matrices = evaluate(load_network(bundle), samples, described.modalities, described.input_size)
    assert tuple(matrices) == SUBSETS
    assert matrices[subset].mean_iou() == pytest.approx(1.0, abs=0.002)
    height, width = read_image(samples[0].label, "label").shape
    assert {int(matrix.counts.sum()) for matrix in matrices.values()} == {height * width * len(samples)}
    assert any(matrix.mean_iou() < 0.95 for matrix in matrices.values())


def test_ignored_pixels_are_left_out(bundle: ModelBundle, rooms: Rooms) -> None:
    described = bundle.description
    matrices = evaluate(load_network(bundle), rooms[1], described.modalities, described.input_size)
    labelled = sum(int((read_image(sample.label, "label") != 255).sum()) for sample in rooms[1])
    assert {int(matrix.counts.sum()) for matrix in matrices.values()} == {labelled}


def test_samples_add_up(bundle: ModelBundle, rooms: Rooms) -> None:
    described, network = bundle.description, load_network(bundle)
    together = evaluate(network, rooms[1], described.modalities, described.input_size)
    apart = [evaluate(network, [sample], described.modalities, described.input_size) for sample in rooms[1]]
    for subset, matrix in together.items():
        np.testing.assert_array_equal(matrix.counts, sum(part[subset].counts for part in apart))


def test_a_frame_counts_for_the_subsets_of_which_it_has_something(bundle: ModelBundle, rooms: Rooms) -> None:
    described, network = bundle.description, load_network(bundle)
    whole, other = rooms[1]
    partial = replace(other, images={"color": other.images["color"]})
    together = evaluate(network, [whole, partial], described.modalities, described.input_size)
    of_whole, of_other = (
        evaluate(network, [sample], described.modalities, described.input_size) for sample in (whole, other)
    )
    for subset in ("color+depth", "color"):
        expected = of_whole[subset].counts + of_other["color"].counts
        np.testing.assert_array_equal(together[subset].counts, expected)
    np.testing.assert_array_equal(together["depth"].counts, of_whole["depth"].counts)


def test_a_label_that_is_no_class_is_refused_by_its_name(bundle: ModelBundle, rooms: Rooms, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "label.png"), np.full((64, 96), 4, np.uint8))
    sample = replace(rooms[1][0], label=tmp_path / "label.png")
    with pytest.raises(DatasetError, match=r"label\.png has the class id 4, but there are 4 classes"):
        evaluate(load_network(bundle), [sample], bundle.description.modalities, bundle.description.input_size)


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_as_it_was(bundle: ModelBundle, rooms: Rooms, training: bool) -> None:
    network = load_network(bundle).train(training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    evaluate(network, rooms[1][:1], bundle.description.modalities, bundle.description.input_size)
    assert network.training is training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_mixed_precision_counts_nearly_the_same(bundle: ModelBundle, rooms: Rooms) -> None:
    described, network = bundle.description, load_network(bundle)
    exact, fast = (
        evaluate(network, rooms[1], described.modalities, described.input_size, mixed) for mixed in (False, True)
    )
    for subset, matrix in exact.items():
        moved = abs(matrix.counts - fast[subset].counts).sum() / 2
        assert moved < 0.05 * matrix.counts.sum()


def test_a_frame_that_has_nothing_of_the_network_counts_for_nothing(bundle: ModelBundle, rooms: Rooms) -> None:
    network, sample = load_network(bundle), rooms[1][0]
    colorless = replace(sample, images={"depth": sample.images["depth"]}, fx=80.0)
    found = evaluate(network, [colorless], bundle.description.modalities[:1], bundle.description.input_size)
    assert [matrix.counts.sum() for matrix in found.values()] == [0]
