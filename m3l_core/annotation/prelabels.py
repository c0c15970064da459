"""What a model makes of frames, as a start for those who label them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from m3l_core.bundle import ModelBundle
from m3l_core.datasets.folder import Sample, read_sample
from m3l_core.engines.engine import load_engine
from m3l_core.frames import Frame, FrameSet
from m3l_core.labels import IGNORE, LabelSet
from m3l_core.segmenter import Segmenter


class Prelabeller:
    """Labels frames with a bundle, in classes that may be others than the bundle's: what both have is told by name.

    Raises:
        EngineError, MissingPackageError, BundleError: as ``load_engine``.
    """

    def __init__(self, bundle: ModelBundle, engine: str, labels: LabelSet) -> None:
        known, wanted = bundle.description.labels.names, labels.names
        self._modalities = bundle.description.modalities
        self._segmenter = Segmenter(bundle.description, load_engine(bundle, engine, "fp32"))
        self._ids = np.full(256, IGNORE, np.uint8)
        for number, name in enumerate(known):
            if name in wanted:
                self._ids[number] = wanted.index(name)

    def __call__(self, sample: Sample) -> NDArray[np.uint8]:
        """(H, W) class ids of a frame, 255 where the bundle sees a class that is not wanted.

        Raises:
            DatasetError: an image cannot be read.
        """
        images, _ = read_sample(sample, self._modalities)
        frames = {name: Frame(name, 0, image) for name, image in images.items()}
        self._segmenter.horizontal_fov_deg = sample.horizontal_fov_deg(images)
        return self._ids[self._segmenter.segment(FrameSet(next(iter(frames)), frames)).labels]
