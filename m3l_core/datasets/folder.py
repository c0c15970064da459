"""Labelled frames in folders, listed by an index file.

The index is a JSON list of ``{"color": PATH, "depth": PATH, "label": PATH, "recording": NAME}``, paths relative to
the index file; ``room`` is read as another word for ``recording``. Color is jpeg or png, depth is 16-bit png in
millimetres with 0 = invalid (REP 118), labels are 8-bit png with 255 = unlabelled.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.errors import DatasetError


@dataclass(frozen=True, slots=True)
class Sample:
    """Files of one instant."""

    images: dict[str, Path]
    """Modality -> file."""
    label: Path
    recording: str


def read_index(path: Path, modalities: Sequence[str] = ("color", "depth")) -> list[Sample]:
    """Read an index file and check that every file it names is there.

    Raises:
        DatasetError: the index cannot be read, an entry lacks a field, or a file is missing.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read as an index of frames: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise DatasetError(f"{path}: expected a JSON list with at least one frame, got {str(entries)[:40]}")
    samples = [_sample(path, number, entry, modalities) for number, entry in enumerate(entries)]
    files = [file for sample in samples for file in (*sample.images.values(), sample.label)]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise DatasetError(f"{path} names {len(missing)} files that do not exist, the first is {missing[0]}")
    return samples


def _sample(path: Path, number: int, entry: Any, modalities: Sequence[str]) -> Sample:
    recording = entry.get("recording", entry.get("room")) if isinstance(entry, dict) else None
    wanted = (*modalities, "label")
    if recording is None or any(not isinstance(entry.get(field), str) for field in wanted):
        raise DatasetError(f"{path}: entry {number} needs {', '.join(wanted)} and recording, got {entry!r}")
    images = {name: path.parent / entry[name] for name in modalities}
    return Sample(images, path.parent / entry["label"], str(recording))


def read_image(path: Path, modality: str) -> NDArray[Any]:
    """Read color as (H, W, 3) uint8 RGB, anything else as (H, W) as stored.

    Raises:
        DatasetError: the file is not an image of that kind.
    """
    if modality == "color":
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is not None:
            return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    else:
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        wanted = np.uint8 if modality == "label" else np.uint16
        if pixels is not None and pixels.ndim == 2 and pixels.dtype == wanted:
            return pixels
    found = "no image" if pixels is None else f"{pixels.shape} {pixels.dtype}"
    raise DatasetError(f"{path}: expected a {modality} image, found {found}")


def read_sample(sample: Sample) -> tuple[dict[str, NDArray[Any]], NDArray[np.uint8]]:
    """Images by modality and the label image, all of one size.

    Raises:
        DatasetError: a file is unreadable or the sizes differ.
    """
    images = {name: read_image(path, name) for name, path in sample.images.items()}
    label = read_image(sample.label, "label")
    for name, image in images.items():
        if image.shape[:2] != label.shape:
            raise DatasetError(f"{sample.images[name]} is {image.shape[:2]}, its label {label.shape}: register them")
    return images, label
