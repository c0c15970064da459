"""A frame set becomes labels at the size of its reference frame."""

from __future__ import annotations

from m3l_core.bundle import BundleDescription
from m3l_core.engines.engine import Engine
from m3l_core.frames import FrameSet, Segmentation
from m3l_core.preprocessing import prepare


class Segmenter:
    """Prepares images as the bundle was trained and runs an engine on them."""

    def __init__(self, description: BundleDescription, engine: Engine) -> None:
        self.description = description
        self.engine = engine

    def segment(self, frames: FrameSet) -> Segmentation:
        """Label a frame set; what is missing in it is masked.

        Raises:
            EngineError: the engine cannot run the input.
        """
        model_input = prepare(frames, self.description.modalities, self.description.input_size)
        height, width = frames.reference_frame.data.shape[:2]
        return self.engine.infer(model_input, (height, width))
