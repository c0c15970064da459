"""Who takes what a run gives out while it goes, such as a bag that is written beside the measuring."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from m3l_core.bags.arrivals import Arrival
from m3l_core.bags.frame_sets import KINDS
from m3l_core.bundle import BundleDescription
from m3l_core.frames import FrameSet, ImageKind, Segmentation
from m3l_core.streaming.modality_report import ModalityReport


@dataclass(frozen=True, slots=True)
class RunInfo:
    """Which run it is."""

    bag: str
    scenario: str
    topics: Mapping[str, str]
    """Modality -> topic."""
    described: BundleDescription
    has_truth: bool = False
    """Whether there is ground truth to look at."""

    @property
    def kinds(self) -> dict[str, ImageKind]:
        """Of the images of each modality."""
        return sensors(self.described, self.topics)

    @property
    def name(self) -> str:
        """Of files and folders."""
        return run_name(self.bag, self.scenario)


def sensors(described: BundleDescription, topics: Iterable[str]) -> dict[str, ImageKind]:
    """What kind of images each sensor of the robot gives: the bundle's as the node has them, then others of a bag."""
    kinds = described.image_kinds
    return kinds | {name: KINDS[name] for name in topics if name not in kinds}


def run_name(bag: str, scenario: str) -> str:
    return f"{bag}_{scenario}"


@dataclass(frozen=True, slots=True)
class Labelled:
    """What a frame set became."""

    frame_set: FrameSet
    segmentation: Segmentation
    now_ns: int
    """When it left the synchronizer, by the robot's clock."""
    wait_ns: int
    """How long its reference frame had waited there."""
    inference_ns: int
    """How long this machine took to label it."""
    truth: NDArray[np.uint8] | None
    """(H, W) uint8 class ids, 255 = unlabelled."""


class Sink(Protocol):
    """Called in the order of the robot's clock; an OSError or M3LError ends the replay of the bag."""

    def arrived(self, arrival: Arrival, now_ns: int, reports: Mapping[str, ModalityReport]) -> None:
        """A message has arrived; ``reports`` tell what the synchronizer knew until then, by modality."""
        ...

    def labelled(self, labelled: Labelled) -> None:
        """A frame set has left the synchronizer and is labelled."""
        ...


OpenSink = Callable[[RunInfo], AbstractContextManager[Sink]]
"""Opens a sink for a run. What it writes takes its place only if its block succeeds. Goes to other processes."""
