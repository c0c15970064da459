"""Whole frames as a network sees them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.networks import tiny_network

from m3l_core.datasets.folder import Sample, read_sample
from m3l_core.engines.torch_engine import TorchEngine
from m3l_core.frames import Frame, FrameSet
from m3l_core.modalities import ColorModality, DepthModality
from m3l_core.model.features import frame_features
from m3l_core.preprocessing import prepare

pytestmark = [pytest.mark.needs("torch"), pytest.mark.usefixtures("one_thread")]
MODALITIES = (ColorModality(), DepthModality())
SIZE = (64, 96)
Rooms = tuple[list[Sample], list[Sample]]


@pytest.fixture
def samples(rooms: Rooms) -> list[Sample]:
    """Whole frames, one without color and one without depth."""
    whole = rooms[0][:3]
    parts = [{name: whole[2].images[name]} for name in ("depth", "color")]
    return [*whole, *(replace(whole[2], images=images) for images in parts)]


@pytest.mark.parametrize("missing", ["mask_token", "no_stream"])
def test_the_batch_does_not_matter(samples: list[Sample], missing: str) -> None:
    network = tiny_network(missing=missing)
    done: list[int] = []
    together = frame_features(network, samples, MODALITIES, SIZE, batch=3, advance=done.append)
    assert done == [3, 2]
    alone = frame_features(network, samples, MODALITIES, SIZE, batch=1)
    np.testing.assert_allclose(together.features, alone.features, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(together.uncertainty, alone.uncertainty, rtol=1e-4, atol=1e-5)
    assert together.features.shape == (5, 64)
    assert np.ptp(together.features, axis=0).any()


@pytest.mark.parametrize("missing", ["mask_token", "no_stream"])
def test_uncertainty_is_what_the_network_lacks_in_confidence(samples: list[Sample], missing: str) -> None:
    network = tiny_network(missing=missing)
    found = frame_features(network, samples, MODALITIES, SIZE).uncertainty
    for sample, uncertainty in zip(samples, found, strict=True):
        images, _ = read_sample(sample, MODALITIES)
        frames = FrameSet("color", {name: Frame(name, 0, image) for name, image in images.items()})
        prepared = prepare(frames, MODALITIES, SIZE)
        with torch.inference_mode():
            present = torch.from_numpy(prepared.present)
            logits = network.ensemble(network(torch.from_numpy(prepared.images), present), present)
        assert uncertainty == pytest.approx(1 - float(logits.softmax(dim=1).amax(dim=1).mean()), abs=1e-4)
        confidence = TorchEngine._segmentation(logits, (16, 24)).confidence  # the network's own grid
        assert uncertainty == pytest.approx(1 - confidence.mean() / 255, abs=0.01)


def test_a_missing_modality_has_no_part_in_the_features(samples: list[Sample]) -> None:
    network = tiny_network()
    with torch.no_grad():
        network.encoder.stages[3].norm.bias[0] += 1000.0  # of the color stream's last norm alone
    whole, depth, color = frame_features(network, samples[2:], MODALITIES, SIZE).features
    assert depth.max() < 100 < color.min()
    assert 400 < whole.mean() < 600


def test_labels_are_not_looked_at(samples: list[Sample]) -> None:
    network = tiny_network()
    unlabelled = [replace(sample, label=None) for sample in samples]
    broken = [replace(sample, label=sample.images.get("color")) for sample in samples]
    expected = frame_features(network, unlabelled, MODALITIES, SIZE)
    np.testing.assert_array_equal(frame_features(network, broken, MODALITIES, SIZE).features, expected.features)
