"""Counts over frames, to be added up over processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from m3l_core.datasets.class_map import ClassMap
from m3l_core.datasets.folder import Sample, kind_of, read_image
from m3l_core.errors import DatasetError
from m3l_core.labels import IGNORE, LabelSet
from m3l_core.modalities import ColorModality, DepthModality, HeightModality, Modalities, Modality
from m3l_core.preprocessing import height_above_lowest, metric_depth

_BINS = 65536
_BINS_PER_METRE = 100


class Task(BaseModel):
    """What the frames are for, as labels.yaml or a recipe says."""

    modalities: Modalities = (ColorModality(), DepthModality())
    labels: LabelSet | None = None


@dataclass(slots=True)
class Distances:
    """Depths, or heights above the lowest pixel, in metres."""

    frames: int = 0
    empty_frames: int = 0
    """Without a valid pixel."""
    pixels: int = 0
    valid: int = 0
    nearer: int = 0
    """Than the modality's range."""
    farther: int = 0
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS, np.int64))
    """Valid pixels by centimetre; the last bin has all that lie beyond."""

    def add(self, modality: Modality, image: NDArray[Any]) -> None:
        if isinstance(modality, DepthModality):
            (distance_m, valid), least, most = metric_depth(image), modality.near_m, modality.far_m
        elif isinstance(modality, HeightModality):
            (distance_m, valid), least, most = height_above_lowest(image), 0.0, modality.max_m
        else:
            return
        values = distance_m[valid]
        self.frames += 1
        self.empty_frames += not values.size
        self.pixels += image.size
        self.valid += values.size
        self.nearer += int(np.count_nonzero(values < least))
        self.farther += int(np.count_nonzero(values > most))
        centimetres = np.minimum(values * _BINS_PER_METRE, _BINS - 1).astype(np.int64)
        self.histogram += np.bincount(centimetres, minlength=_BINS)

    def merge(self, other: Distances) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def percentile(self, percent: float) -> float | None:
        """In metres, to the centimetre."""
        if not self.valid:
            return None
        return int(np.searchsorted(self.histogram.cumsum(), self.valid * percent / 100)) / _BINS_PER_METRE


@dataclass(slots=True)
class Tally:
    """What was counted of some frames."""

    problems: dict[str, list[str]] = field(default_factory=dict)
    """What would stop a training -> where."""
    sizes: Counter[str] = field(default_factory=Counter)
    """HxW -> frames."""
    missing: Counter[str] = field(default_factory=Counter)
    """Modality -> frames in which it was missing."""
    unlabelled: int = 0
    distances: dict[str, Distances] = field(default_factory=dict)
    label_pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    label_frames: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))

    def add(self, sample: Sample, task: Task) -> None:
        images: dict[Path, NDArray[Any]] = {}
        for modality in task.modalities:
            path = sample.images.get(modality.name)
            if path is None:
                self.missing[modality.name] += 1
            elif (image := self._read(path, partial(read_image, path, kind_of(modality)))) is not None:
                images[path] = image
                self.distances.setdefault(modality.name, Distances()).add(modality, image)
        if sample.label is None:
            self.unlabelled += 1
        elif (label := self._read(sample.label, partial(read_image, sample.label, "label"))) is not None:
            images[sample.label] = label
            self._count(sample.label, label, sample.class_map, task.labels)
        sizes = {path: image.shape[:2] for path, image in images.items()}
        if len(set(sizes.values())) > 1:
            self._problem(
                "sizes differ", ", ".join(f"{path} {height}x{width}" for path, (height, width) in sizes.items())
            )
        for height, width in list(sizes.values())[:1]:
            self.sizes[f"{height}x{width}"] += 1

    def _read(self, path: Path, read: Callable[[], NDArray[Any]]) -> NDArray[Any] | None:
        if not path.is_file():
            self._problem("missing files", str(path))
            return None
        try:
            return read()
        except DatasetError as error:
            self._problem("unreadable files", str(error))
            return None

    def _count(self, path: Path, label: NDArray[np.uint8], class_map: ClassMap | None, labels: LabelSet | None) -> None:
        classes = class_map.targets if class_map is not None else labels
        pixels = np.bincount(label.ravel(), minlength=256)
        if classes is not None and (beyond := np.flatnonzero(pixels[len(classes) : IGNORE]) + len(classes)).size:
            values = ", ".join(map(str, beyond[:5]))
            self._problem("labels without a class", f"{path} has {values}; there are {len(classes)} classes")
        if class_map is not None:
            pixels = np.bincount(class_map.apply(label).ravel(), minlength=256)
        self.label_pixels += pixels
        self.label_frames += pixels > 0

    def _problem(self, kind: str, where: str) -> None:
        self.problems.setdefault(kind, []).append(where)

    def merge(self, other: Tally) -> None:
        for kind, where in other.problems.items():
            self.problems.setdefault(kind, []).extend(where)
        self.sizes += other.sizes
        self.missing += other.missing
        self.unlabelled += other.unlabelled
        for name, distances in other.distances.items():
            self.distances.setdefault(name, Distances()).merge(distances)
        self.label_pixels += other.label_pixels
        self.label_frames += other.label_frames
