"""A frame set becomes labels, at the size of its reference frame or another."""

from __future__ import annotations

import numpy as np

from m3l_core.bundle import BundleDescription
from m3l_core.engines.engine import Engine
from m3l_core.errors import EngineError
from m3l_core.frames import FrameSet, Segmentation
from m3l_core.labels import IGNORE
from m3l_core.preprocessing import prepare
from m3l_core.streaming.registration import without_misfits


class Segmenter:
    """Prepares images as the bundle was trained and runs an engine on them.

    Args:
        description: of the bundle.
        engine: runs it.
        min_confidence: in [0, 1]; labels of less are 255, so that a costmap can leave them out. May change at any time.

    Attributes:
        horizontal_fov_deg: of the camera that the images are registered to, if it is known; degrees in (0, 180).
    """

    def __init__(self, description: BundleDescription, engine: Engine, min_confidence: float = 0.0) -> None:
        self.min_confidence = min_confidence
        self.horizontal_fov_deg: float | None = None
        self.description = description
        self.engine = engine
        # Used again for every frame: fresh memory for large images costs more than filling them.
        self._images = np.zeros((1, len(description.modalities), 3, *description.input_size), np.float32)

    def segment(self, frames: FrameSet, size: tuple[int, int] | None = None) -> Segmentation:
        """Label a frame set; what is missing in it is masked, and so is depth that cannot lie over color.

        Args:
            frames: the set.
            size: (H, W) of the labels; that of the reference frame if None. They are computed at that size: ids are
                never interpolated.

        Raises:
            EngineError: the engine cannot run the input, or nothing in the set is a modality of the bundle.
        """
        frames = without_misfits(frames)
        modalities, input_size = self.description.modalities, self.description.input_size
        model_input = prepare(frames, modalities, input_size, self._images, self.horizontal_fov_deg)
        if not model_input.present.any():
            wanted = ", ".join(self.description.modality_names)
            raise EngineError(f"the bundle takes {wanted}; the frame set has only {', '.join(frames.frames)}")
        height, width = frames.reference_frame.data.shape[:2] if size is None else size
        segmentation = self.engine.infer(model_input, (height, width))
        if self.min_confidence <= 0.0:
            return segmentation
        unsure = segmentation.confidence < self.min_confidence * 255.0
        labels = np.where(unsure, np.uint8(IGNORE), segmentation.labels)
        return Segmentation(labels, segmentation.confidence)
