"""What replays are tested with: an instant segmenter whose labels depend on the images, and small bags."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from support.bags import LABEL, SIZE, Recorded, frames, image, stamps
from support.bundles import CLASSES, COLOR_AND_DEPTH, COLORS
from support.engines import ConstantEngine

from m3l_core.bags.arrivals import Arrival, Faults
from m3l_core.bundle import BundleDescription
from m3l_core.frames import ModelInput, Segmentation
from m3l_core.labels import LabelSet, SemanticClass
from m3l_core.modalities import Modality
from m3l_core.network_config import MixTransformerConfig, NetworkConfig
from m3l_core.replay.bags import BagTask, Outcome, replay_bags
from m3l_core.replay.faults.scenario import Scenario, load_scenarios
from m3l_core.replay.preparation import prepare_bag
from m3l_core.replay.recordings.sinks import OpenSink
from m3l_core.replay.replay import ReplaySettings
from m3l_core.segmenter import Segmenter


class BrightnessEngine(ConstantEngine):
    """Answers at once: class 1 where the first modality that is there is above its middle value, else class 0."""

    name = "brightness"

    def infer(self, model_input: ModelInput, size: tuple[int, int]) -> Segmentation:
        image = model_input.images[0, int(np.argmax(model_input.present[0])), 0]
        rows, columns = (np.arange(side) * length // side for side, length in zip(size, image.shape, strict=True))
        bright = (image[np.ix_(rows, columns)] > 0).astype(np.uint8)
        return Segmentation(bright, np.full(size, 200, np.uint8))


def describe(modalities: tuple[Modality, ...] = COLOR_AND_DEPTH) -> BundleDescription:
    """A bundle of four classes, as engines without weights need it."""
    return BundleDescription(
        name="instant",
        network=NetworkConfig(
            encoder=MixTransformerConfig(widths=(8, 16, 40, 64), depths=(1, 1, 1, 1)),
            num_modalities=len(modalities),
            num_classes=len(CLASSES),
            head_width=32,
        ),
        labels=LabelSet(
            classes=tuple(SemanticClass(name=name, color=color) for name, color in zip(CLASSES, COLORS, strict=True))
        ),
        modalities=modalities,
        input_height=64,
        input_width=96,
    )


@dataclass(frozen=True)
class InstantSegmenter:
    """Loads a segmenter in any process; equal ones are equal."""

    constant: bool = False
    modalities: tuple[Modality, ...] = COLOR_AND_DEPTH

    def __call__(self) -> Segmenter:
        return Segmenter(describe(self.modalities), ConstantEngine() if self.constant else BrightnessEngine())


def labelled_frames(count: int, labels: Callable[[int], Any] | None = None) -> list[Recorded]:
    """``support.bags.frames`` and, long after each, its ground truth: class 1 everywhere, or ``labels(number)``."""
    of = labels or (lambda number: np.ones(SIZE, np.uint8))
    return [
        *frames(count),
        *(
            Recorded(LABEL, frames(count)[-1].time_ns + 1, image(of(number), "mono8", stamp))
            for number, stamp in enumerate(stamps(count))
        ),
    ]


def without(modality: str, from_ns: int = 0, until_ns: int = 1 << 63) -> Faults:
    """A sensor is gone while its messages would arrive."""

    def fault(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        for arrival in arrivals:
            if arrival.modality != modality or not from_ns <= arrival.time_ns < until_ns:
                yield arrival

    return fault


def replay_into(
    sink: OpenSink, path: Path, scenario: str | Scenario = "none", label_topic: str | None = None
) -> Outcome:
    """What comes of a bag under one scenario, and what goes to a sink."""
    prepared = prepare_bag(path, {"color": None, "depth": None}, describe(), label_topic)
    scenarios = (scenario,) if isinstance(scenario, Scenario) else tuple(load_scenarios([scenario]))
    (outcome,) = replay_bags([BagTask(prepared, scenarios, ReplaySettings(), InstantSegmenter(), (sink,))])
    return outcome
