"""Frames in folders, listed by an index file.

The index is a JSON list of ``{"color": PATH, "depth": PATH, "label": PATH, "recording": NAME}``, paths relative to
the index file; ``room`` is read as another word for ``recording``. A modality that is null was missing at that
instant; a frame without ``label`` is unlabelled, one that a model labelled may say so, ``"teacher": {"name": NAME,
"licence": TEXT}``; ``fx``, where it is known, is the focal length in pixels. Color is jpeg or png, depth is 16-bit
png in millimetres with 0 = invalid (REP 118) or 32-bit tif in metres, intensity (thermal) is 8- or 16-bit gray,
labels are 8-bit png with 255 = unlabelled.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.datasets.class_map import ClassMap
from m3l_core.depth_geometry import fov_deg
from m3l_core.errors import DatasetError
from m3l_core.files import lies_below
from m3l_core.json_files import read_json
from m3l_core.labels import IGNORE
from m3l_core.modalities import ColorModality, DepthModality, IntensityModality, Modality
from m3l_core.pictures import read_picture

TEACHER, FOCAL_LENGTH = "teacher", "fx"
"""Keys of an entry."""
Kind = Literal["color", "depth", "intensity", "label"]
_DTYPES: dict[str, tuple[type, ...]] = {
    "depth": (np.uint16, np.float32),
    "intensity": (np.uint8, np.uint16),
    "label": (np.uint8,),
}
_LONGEST_PX = 1e6
ANYWHERE = "--files-anywhere"
"""The option of commands that read an index."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """A model that labelled frames for others to learn from."""

    name: str
    licence: str
    """The terms of its labels, in the words of those who made it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Files of one instant."""

    images: dict[str, Path]
    """Modality -> file; what was missing at that instant is not in it."""
    label: Path | None
    recording: str
    data_set: str = ""
    """Which of several sets it is of."""
    class_map: ClassMap | None = None
    """From the classes of its label; None: they are the model's."""
    teacher: Teacher | None = None
    """Whose its label is, where a model labelled."""
    fx: float | None = None
    """Focal length in pixels of the camera that its images are registered to, if it is known."""

    def horizontal_fov_deg(self, images: Mapping[str, NDArray[Any]]) -> float | None:
        """How wide that camera sees, if it is known; ``images`` are those of its files that are used."""
        if self.fx is None or not images:
            return None
        return fov_deg(self.fx, next(iter(images.values())).shape[1])


def read_index(
    path: Path,
    modalities: Sequence[str] = ("color", "depth"),
    data_set: str = "",
    class_map: ClassMap | None = None,
    anywhere: bool = False,
) -> list[Sample]:
    """Read an index file and check that every file it names is there.

    Args:
        path: the index file.
        modalities: what to read of each frame.
        data_set: the name of the set, where there are several.
        class_map: from the classes of the set.
        anywhere: files may lie outside of the index's folder, or be links that lead out of it: not so in an index
            from somebody else, which could name any file of this machine.

    Raises:
        DatasetError: the index cannot be read, an entry lacks a field, or a file is missing or lies elsewhere.
    """
    samples = parse_index(path, modalities, data_set, class_map, anywhere)
    missing = [file for file in _files(samples) if not os.path.isfile(file)]
    if missing:
        raise DatasetError(f"{path} names {len(missing)} files that do not exist, the first is {missing[0]}")
    return samples


def parse_index(
    path: Path,
    modalities: Sequence[str] = ("color", "depth"),
    data_set: str = "",
    class_map: ClassMap | None = None,
    anywhere: bool = False,
) -> list[Sample]:
    """Read an index file as ``read_index`` does, without looking for the files it names.

    Raises:
        DatasetError: the index cannot be read, an entry lacks a field, or a file lies elsewhere.
    """
    try:
        entries = read_json(path)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read as an index of frames: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise DatasetError(f"{path}: expected a JSON list with at least one frame, got {str(entries)[:40]}")
    samples = [_sample(path, number, entry, modalities) for number, entry in enumerate(entries)]
    outside = [] if anywhere else [file for file in _files(samples) if not lies_below(file, path.parent)]
    if outside:
        raise DatasetError(
            f"{path} names {len(outside)} files outside of its folder, the first is {str(outside[0])[:300]}: if they "
            f"are yours, move them below {path.parent}, or give {ANYWHERE}"
        )
    return [replace(sample, data_set=data_set, class_map=class_map) for sample in samples]


def _files(samples: Iterable[Sample]) -> Iterator[Path]:
    return (file for sample in samples for file in (*sample.images.values(), sample.label) if file is not None)


def _sample(path: Path, number: int, entry: Any, modalities: Sequence[str]) -> Sample:
    if not isinstance(entry, dict):
        raise DatasetError(f"{path}: entry {number} should be a mapping, got {str(entry)[:200]}")
    recording = entry.get("recording", entry.get("room"))
    files = {field: entry.get(field) for field in (*modalities, "label")}
    mistyped = [field for field, file in files.items() if not (file is None or isinstance(file, str))]
    if recording is None or mistyped or any(name not in entry for name in modalities):
        raise DatasetError(
            f"{path}: entry {number} needs {', '.join(modalities)} and recording, got {str(entry)[:200]}"
        )
    images = {name: path.parent / file for name in modalities if (file := files[name]) is not None}
    if not images:
        raise DatasetError(f"{path}: entry {number} has none of {', '.join(modalities)}")
    label = files["label"]
    try:
        teacher, fx = teacher_of(entry), focal_length_of(entry)
    except DatasetError as error:
        raise DatasetError(f"{path}: entry {number}: {error}") from error
    label_file = None if label is None else path.parent / label
    return Sample(images, label_file, str(recording), teacher=teacher, fx=fx)


def teacher_of(entry: Mapping[str, Any]) -> Teacher | None:
    """The model that labelled the frame of an index's entry, if the entry tells one.

    Raises:
        DatasetError: it is not told as it should be.
    """
    told = entry.get(TEACHER)
    if told is None:
        return None
    if not isinstance(told, dict) or not all(isinstance(told.get(key), str) for key in ("name", "licence")):
        raise DatasetError(f"its {TEACHER} should have a name and a licence, got {str(told)[:200]}")
    return Teacher(told["name"], told["licence"])


def focal_length_of(entry: Mapping[str, Any]) -> float | None:
    """The focal length of the camera of an index's entry in pixels, if the entry tells it.

    Raises:
        DatasetError: it is none.
    """
    told = entry.get(FOCAL_LENGTH)
    if told is None:
        return None
    if isinstance(told, bool) or not isinstance(told, int | float) or not 1 <= told <= _LONGEST_PX:
        raise DatasetError(f"its {FOCAL_LENGTH} should be a focal length in pixels, got {str(told)[:200]}")
    return float(told)


def kind_of(modality: Modality) -> Kind:
    """How the files of a modality are to be read."""
    return modality.kind if isinstance(modality, ColorModality | IntensityModality) else "depth"


def read_image(path: Path, kind: Kind) -> NDArray[Any]:
    """Read an image file.

    Args:
        path: the file.
        kind: ``color`` gives (H, W, 3) uint8 RGB; ``depth``, or any other distance, (H, W) uint16 [mm] or float32
            [m]; ``intensity`` (H, W) uint8 or uint16; ``label`` (H, W) uint8.

    Raises:
        DatasetError: the file is not an image of that kind.
    """
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION if kind == "color" else cv2.IMREAD_UNCHANGED
    try:
        pixels = read_picture(path, flags)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: expected a {kind} image, found no image: {error}") from error
    if kind == "color":
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    if pixels.ndim == 2 and pixels.dtype in _DTYPES[kind]:
        return pixels
    raise DatasetError(f"{path}: expected a {kind} image, found {pixels.shape} {pixels.dtype}")


def read_sample(
    sample: Sample,
    modalities: Sequence[Modality] = (ColorModality(), DepthModality()),
    num_classes: int | None = None,
) -> tuple[dict[str, NDArray[Any]], NDArray[np.uint8] | None]:
    """Images by modality and the label image if there is one, all of one size; the label in the classes of the model.

    Raises:
        DatasetError: a file is unreadable, the sizes differ, or a label is not below ``num_classes``, or not one of
            the classes of the sample's class map.
    """
    images = {
        modality.name: read_image(sample.images[modality.name], kind_of(modality))
        for modality in modalities
        if modality.name in sample.images
    }
    label = None if sample.label is None else read_image(sample.label, "label")
    sizes = {str(sample.images[name]): image.shape[:2] for name, image in images.items()}
    if label is not None:
        sizes[str(sample.label)] = label.shape
        class_map = sample.class_map
        known = (num_classes or IGNORE) if class_map is None else len(class_map.targets)
        if (unknown := label[(label >= known) & (label != IGNORE)]).size:
            raise DatasetError(
                f"{sample.label} has the class id {unknown.max()}, but there are {known} classes"
                f"{'' if class_map is None else ' in the class map'}: "
                f"expected 0 to {known - 1}, and {IGNORE} where nothing is labelled"
            )
        if class_map is not None:
            label = class_map.apply(label)
    if len(set(sizes.values())) > 1:
        raise DatasetError(f"images of one instant differ in size, register them: {sizes}")
    return images, label


def classes_of(samples: Iterable[Sample]) -> frozenset[int] | None:
    """The model's classes that the sets of some samples have; None: all."""
    maps = {sample.class_map for sample in samples}
    found = [class_map.classes for class_map in maps if class_map is not None]
    return frozenset().union(*found) if len(found) == len(maps) else None


_Item = TypeVar("_Item")


def evenly_spread(items: Sequence[_Item], limit: int | None) -> list[_Item]:
    """At most ``limit`` of the items, from the first to the last at even distances."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[index] for index in np.linspace(0, len(items) - 1, limit).round().astype(int)]
