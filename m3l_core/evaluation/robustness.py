"""Runs any engine over labelled frames under every condition and counts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3l_core.bundle import BundleDescription
from m3l_core.datasets.folder import Sample, read_sample
from m3l_core.engines.engine import Engine
from m3l_core.errors import DatasetError
from m3l_core.evaluation.conditions import (
    Condition,
    Missing,
    Noisy,
    RandomMissing,
    Subset,
    apply_condition,
    feeding,
    model_input,
    nothing_present,
)
from m3l_core.evaluation.evaluated_classes import EvaluatedClasses
from m3l_core.frames import Frame, FrameSet, Segmentation
from m3l_core.metrics import CalibrationError, ConfusionMatrix, subset_key, subsets
from m3l_core.preprocessing import prepare


def labelled_samples(samples: Sequence[Sample], source: Path) -> list[Sample]:
    """Those that have a label.

    Raises:
        DatasetError: none of the samples of the index file ``source`` has.
    """
    labelled = [sample for sample in samples if sample.label is not None]
    if not labelled:
        raise DatasetError(f"{source}: none of its {len(samples)} frames has a label, so nothing can be measured")
    return labelled


class Score:
    """Counts of one condition, over the classes that are ``measured``; None: all."""

    def __init__(self, num_classes: int, measured: Collection[int] | None = None) -> None:
        self.confusion = ConfusionMatrix(num_classes, measured)
        self.calibration = CalibrationError()
        self.frames = 0

    def add(self, truth: NDArray[np.uint8], segmentation: Segmentation) -> None:
        self.confusion.add(truth, segmentation.labels)
        self.calibration.add(truth, segmentation.labels, segmentation.confidence)
        self.frames += 1

    def merge(self, other: Score) -> None:
        self.confusion.merge(other.confusion)
        self.calibration.merge(other.calibration)
        self.frames += other.frames


@dataclass(frozen=True, slots=True)
class RobustnessResult:
    """Counts of every condition; those of parts of a data set can be merged."""

    modalities: tuple[str, ...]
    missing: Missing
    scores: dict[Condition, Score]
    is_left_out: bool = False
    """The network has no stream for a missing modality."""

    @property
    def fed_as(self) -> str:
        """What a missing modality was fed as, in words."""
        return feeding(self.missing, self.is_left_out)

    def merge(self, other: RobustnessResult) -> None:
        """Add the counts of other frames.

        Raises:
            ValueError: the other result is of other conditions.
        """
        same_input = (other.modalities, other.missing) == (self.modalities, self.missing)
        if not same_input or other.scores.keys() != self.scores.keys():
            raise ValueError("only results of the same modalities and conditions can be merged")
        for condition, score in self.scores.items():
            score.merge(other.scores[condition])

    def of_subsets(self) -> dict[str, Score]:
        """EMM: subset that is present -> score."""
        return {key.name: score for key, score in self.scores.items() if isinstance(key, Subset)}

    def of_random_missing(self) -> dict[float, dict[str, Score]]:
        """RMM: probability of a zero -> subset that is intact -> score; empty if not measured."""
        whole = subset_key(self.modalities)
        rates: dict[float, dict[str, Score]] = {}
        for key, score in self.scores.items():
            if isinstance(key, RandomMissing):
                scores = rates.setdefault(key.zero_rate, {whole: self.scores[Subset(self.modalities)]})
                scores[subset_key(key.intact)] = score
        return rates

    def of_noise(self) -> dict[str, Score]:
        """NM: level -> score; empty if not measured."""
        return {key.level: score for key, score in self.scores.items() if isinstance(key, Noisy)}


@dataclass(frozen=True, slots=True)
class Example:
    """A frame to be looked at."""

    images: dict[str, NDArray[Any]]
    """Modality -> image as it was read."""
    truth: NDArray[np.uint8]
    """(H, W) class ids, 255 = unlabelled."""
    labels: dict[str, NDArray[np.uint8]]
    """Subset -> (H, W) class ids; without the subsets of which this frame has nothing."""


class RobustnessEvaluator:
    """Measures one engine.

    Args:
        engine: what runs the network.
        description: of the engine's bundle.
        missing: how a missing modality is fed.
        classes: what is counted, where the bundle's classes are mapped to others or those of the labels are.
    """

    def __init__(
        self,
        engine: Engine,
        description: BundleDescription,
        missing: Missing = "token",
        classes: EvaluatedClasses | None = None,
    ) -> None:
        self._engine = engine
        self._description = description
        self._classes = classes or EvaluatedClasses(description.labels)
        self._missing = missing
        self._nothing = nothing_present(description.modalities, description.input_size, missing)

    def measure(self, samples: Iterable[Sample], conditions: Sequence[Condition]) -> RobustnessResult:
        """Label every sample under every condition, at the size of its label.

        A modality that a sample lacks is missing under every condition; a condition that leaves nothing of a sample
        is not measured on it.

        Raises:
            DatasetError: a sample cannot be read, or has a class that the bundle does not know.
            EngineError: the engine cannot run the bundle's input.
        """
        num_classes, measured = len(self._classes.labels), self._classes.measured
        result = RobustnessResult(
            self._description.modality_names,
            self._missing,
            {condition: Score(num_classes, measured) for condition in conditions},
            self._description.network.missing == "no_stream",
        )
        for sample in samples:
            images, truth = self._read(sample)
            for condition, segmentation in self._segment(sample, images, truth, conditions):
                result.scores[condition].add(truth, segmentation)
        return result

    def example(self, sample: Sample) -> Example:
        """Label a sample with every subset of the modalities.

        Raises:
            DatasetError, EngineError: as ``measure``.
        """
        images, truth = self._read(sample)
        conditions = [Subset(present) for present in subsets(self._description.modality_names)]
        segmented = self._segment(sample, images, truth, conditions)
        return Example(images, truth, {condition.name: found.labels for condition, found in segmented})

    def _read(self, sample: Sample) -> tuple[dict[str, NDArray[Any]], NDArray[np.uint8]]:
        mapped = replace(sample, class_map=self._classes.of_labels)
        images, truth = read_sample(mapped, self._description.modalities, len(self._classes.labels))
        if truth is None:
            raise DatasetError(f"a frame of {sample.recording} has no label; only labelled frames can be measured")
        return images, truth

    def _segment(
        self,
        sample: Sample,
        images: dict[str, NDArray[Any]],
        truth: NDArray[np.uint8],
        conditions: Sequence[Condition],
    ) -> Iterator[tuple[Condition, Segmentation]]:
        modalities, size = self._description.modalities, self._description.input_size
        frames = {name: Frame(name, 0, image) for name, image in images.items()}
        frame_set, fov_deg = FrameSet(modalities[0].name, frames), sample.horizontal_fov_deg(images)
        prepared = prepare(frame_set, modalities, size, horizontal_fov_deg=fov_deg)
        whole = {
            modality.name: image
            for modality, image, present in zip(modalities, prepared.images[0], prepared.present[0], strict=True)
            if present
        }
        name = f"{sample.recording}/{next(iter(sample.images.values())).name}"
        height, width = truth.shape
        for condition in conditions:
            left = apply_condition(condition, whole, name)
            if left:
                found = self._engine.infer(model_input(left, modalities, self._nothing), (height, width))
                yield condition, self._classes.of(found)
