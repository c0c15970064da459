"""The temperatures that are fitted are those that were put in."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from support.networks import tiny_network

from m3l_core.datasets.folder import Sample
from m3l_core.modalities import ColorModality, DepthModality
from m3l_core.model.network import LinearFusionSegFormer
from m3l_core.trainer.calibration import fit_temperatures

pytestmark = [pytest.mark.needs("torch"), pytest.mark.usefixtures("one_thread")]
SIZE = (64, 96)
MODALITIES = (ColorModality(), DepthModality())


def frames_labelled_as_often_right_as_the_network_believes(
    network: LinearFusionSegFormer, folder: Path, scale: float
) -> list[Sample]:
    """Labels drawn from the network's own probabilities, sharpened by ``scale``, with both sensors."""
    random, samples = np.random.default_rng(3), []
    folder.mkdir()
    for number in range(12):
        color = random.integers(0, 255, (*SIZE, 3)).astype(np.uint8)
        depth = random.integers(500, 6000, SIZE).astype(np.uint16)
        paths = {name: folder / f"{name}{number}.png" for name in ("color", "depth", "label")}
        cv2.imwrite(str(paths["color"]), color[..., ::-1])
        cv2.imwrite(str(paths["depth"]), depth)
        probabilities = _probabilities(network, color, depth, scale)
        drawn = (probabilities.cumsum(0) < random.random(probabilities.shape[1:])).sum(0).clip(max=4)
        label = cv2.resize(drawn.astype(np.uint8), SIZE[::-1], interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(paths["label"]), label)
        samples.append(Sample({"color": paths["color"], "depth": paths["depth"]}, paths["label"], "recording"))
    return samples


@torch.no_grad()
def _probabilities(network: LinearFusionSegFormer, color: object, depth: object, scale: float) -> np.ndarray:
    from m3l_core.frames import Frame, FrameSet
    from m3l_core.preprocessing import prepare

    frames = FrameSet("color", {"color": Frame("color", 0, color), "depth": Frame("depth", 0, depth)})
    prepared = prepare(frames, MODALITIES, SIZE)
    present = torch.from_numpy(prepared.present)
    logits = network.ensemble(network(torch.from_numpy(prepared.images), present), present)[0]
    return (logits * scale).softmax(dim=0).numpy()


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_the_temperature_is_found(tmp_path: Path, scale: float) -> None:
    network = tiny_network()
    samples = frames_labelled_as_often_right_as_the_network_believes(network, tmp_path / "frames", scale)
    found = fit_temperatures(network, samples, MODALITIES, SIZE)
    assert found["color+depth"] == pytest.approx(1 / scale, rel=0.11)
    assert set(found) == {"color+depth", "color", "depth"}


def test_subsets_that_no_frame_has_get_none(tmp_path: Path) -> None:
    network = tiny_network()
    samples = frames_labelled_as_often_right_as_the_network_believes(network, tmp_path / "frames", 1.0)
    alone = [Sample({"color": sample.images["color"]}, sample.label, sample.recording) for sample in samples]
    assert list(fit_temperatures(network, alone, MODALITIES, SIZE)) == ["color"]
