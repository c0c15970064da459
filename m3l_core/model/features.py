"""What a network makes of whole frames: features to compare them by, and how sure it is of their labels.

Legend: N frames, B batch, M modalities, h x w tokens of the last stage, C its width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from m3l_core.datasets.folder import Sample, read_sample
from m3l_core.frames import Frame, FrameSet
from m3l_core.modalities import Modality
from m3l_core.model.network import LinearFusionSegFormer
from m3l_core.preprocessing import prepare


@dataclass(frozen=True, slots=True)
class FrameFeatures:
    """Of N frames."""

    features: NDArray[np.float32]
    """(N, C): the encoder's last stage, mean over the tokens and over the modalities that the frame has."""
    uncertainty: NDArray[np.float32]
    """(N,) in [0, 1]: 1 - probability of the winning class, mean over the network's own grid."""


@torch.inference_mode()
def frame_features(
    network: LinearFusionSegFormer,
    samples: Sequence[Sample],
    modalities: Sequence[Modality],
    size: tuple[int, int],
    batch: int = 8,
    advance: Callable[[int], None] = lambda frames: None,
) -> FrameFeatures:
    """Look at every frame once.

    Args:
        network: in eval mode.
        samples: the frames; what one lacks is missing.
        modalities: of the network.
        size: (H, W) of the network's input.
        batch: frames that the network takes at once.
        advance: called with the number of frames that were done since.

    Raises:
        DatasetError: an image cannot be read.
    """
    features, uncertainty = [], []
    for begin in range(0, len(samples), batch):
        part = samples[begin : begin + batch]
        images = np.empty((len(part), len(modalities), 3, *size), np.float32)
        present = np.empty((len(part), len(modalities)), np.bool_)
        for row, sample in enumerate(part):
            read, _ = read_sample(replace(sample, label=None), modalities)
            frames = FrameSet(modalities[0].name, {name: Frame(name, 0, image) for name, image in read.items()})
            seen = prepare(frames, modalities, size, images[row][None], sample.horizontal_fov_deg(read))
            present[row] = seen.present[0]
        device = network.alpha.device
        pooled, unsure = _look(network, torch.from_numpy(images).to(device), torch.from_numpy(present).to(device))
        features.append(pooled.cpu().numpy())
        uncertainty.append(unsure.cpu().numpy())
        advance(len(part))
    return FrameFeatures(np.concatenate(features), np.concatenate(uncertainty))


def _look(network: LinearFusionSegFormer, images: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """(B, M, 3, H, W) and (B, M) bool -> features (B, C) and uncertainty (B,)."""
    in_stream, is_left_out = present.T, network.config.missing == "no_stream"
    grids = network.encoder(images, present, sources=present if is_left_out else None)
    streams = network.decode(grids)
    if is_left_out:
        streams = torch.where(in_stream[..., None, None, None], streams, 0.0)
    confidence = network.ensemble(streams, present).softmax(dim=1).amax(dim=1).mean(dim=(1, 2))
    # Left out, not multiplied by 0: what a missing stream holds may be anything.
    pooled = torch.where(in_stream[..., None], grids[-1].mean(dim=(2, 3)), 0.0).sum(dim=0)
    return pooled / present.sum(dim=1, keepdim=True), 1.0 - confidence
