"""An engine for each subset of the sensors that has a network of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from m3l_core.frames import ModelInput, Segmentation

if TYPE_CHECKING:
    from m3l_core.engines.engine import Engine


class SubsetEngine:
    """Runs the network that is made for the sensors that are there, which has no streams for the others.

    Args:
        full: for all sensors, and for subsets without a network.
        of_subsets: by the places of the present modalities.
    """

    def __init__(self, full: Engine, of_subsets: Mapping[tuple[int, ...], Engine]) -> None:
        self._full, self._of_subsets = full, of_subsets
        self.name, self.precision, self.device = full.name, full.precision, full.device

    def infer(self, model_input: ModelInput, size: tuple[int, int]) -> Segmentation:
        """Labels and confidence of (H, W) = ``size`` pixels."""
        streams = tuple(np.flatnonzero(model_input.present[0]).tolist())
        engine = self._of_subsets.get(streams)
        if engine is None:
            return self._full.infer(model_input, size)
        return engine.infer(model_input.of_streams(streams), size)
