"""Which recordings keep their labels: splits are by recording, never by frame.

Neighbouring frames of one recording show nearly the same: split by frame, the labelled ones would tell the answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from m3l_core.datasets.folder import Sample


def split_by_recording(samples: Sequence[Sample], fraction: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Draw recordings until they are ``fraction`` of all that have labels, at least one.

    A smaller fraction of the same seed is a part of a larger one.

    Returns:
        The frames of the drawn recordings, and the frames of the others with their labels taken away.
    """
    recordings = sorted({sample.recording for sample in samples if sample.label is not None})
    order = np.random.default_rng(seed).permutation(len(recordings))
    count = max(1, round(fraction * len(recordings)))
    drawn = {recordings[index] for index in order[:count]}
    kept = [sample for sample in samples if sample.recording in drawn]
    others = [replace(sample, label=None) for sample in samples if sample.recording not in drawn]
    return kept, others
