"""What a published data set is to us: frames that know where their pictures are and how to read them.

Each published set has a module of its own that reads its layout into a ``PublishedSet``; ``importing.py`` writes it
as a data folder.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.errors import DatasetError
from m3l_core.labels import LabelSet, SemanticClass
from m3l_core.modalities import Modality
from m3l_core.pictures import read_picture

# OpenCV 4.6, which Ubuntu 24.04 has, knows no cv2.utils.logging; later ones know no cv2.setLogLevel.
_set_log_level: Callable[[int], int] = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
_ERRORS = 2

Picture = Path | Callable[[], NDArray[Any]]
"""A file that can stay as it is, or a function that reads one and converts it; it travels to other processes."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One instant of a published set."""

    name: str
    """Unique within the set; slashes make folders."""
    recording: str
    splits: tuple[str, ...]
    images: Mapping[str, Picture]
    """Modality -> (H, W, 3) uint8 RGB, (H, W) uint16 [mm] or (H, W) float32 [m]; what is missing is not in it."""
    label: Picture | None
    """(H, W) uint8 class ids, 255 = unlabelled."""


@dataclass(frozen=True, slots=True)
class PublishedSet:
    """A published set whose layout has been checked."""

    name: str
    labels: LabelSet
    modalities: tuple[Modality, ...]
    frames: tuple[Frame, ...]
    tile: int | None = None
    """Side of the tiles that its pictures are cut into where the user names none."""


def label_set(names: Sequence[str]) -> LabelSet:
    """Classes of a set that publishes no colors; neighbours in the list get far hues."""
    classes = []
    for number, name in enumerate(names):
        hue, saturation, value = number * 0.618 % 1.0, (0.85, 0.5)[number % 2], (0.95, 0.65)[number // 2 % 2]
        red, green, blue = (round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, saturation, value))
        classes.append(SemanticClass(name=name, color=(red, green, blue)))
    return LabelSet(classes=tuple(classes))


def wrong_layout(root: Path, expected: str) -> DatasetError:
    """What to raise for a folder that does not hold the set: what was expected, what is there."""
    if not root.is_dir():
        return DatasetError(f"{root} is no folder; expected one with {expected}")
    entries = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in root.iterdir())
    found = ", ".join(entries[:10]) + (f" and {len(entries) - 10} more" if len(entries) > 10 else "")
    return DatasetError(f"{root}: expected {expected}; found {found or 'nothing'}")


def read_pixels(path: Path, flags: int) -> NDArray[Any]:
    """Read an image file as OpenCV does, without its remarks about unknown tags of GeoTIFF files.

    Raises:
        DatasetError: the file is no image.
    """
    level = _set_log_level(_ERRORS)
    try:
        return read_picture(path, flags)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read as an image: {error}") from error
    finally:
        _set_log_level(level)


def read_uint16(path: Path) -> NDArray[np.uint16]:
    """(H, W) as stored.

    Raises:
        DatasetError: the file is no 16-bit image.
    """
    stored = read_pixels(path, cv2.IMREAD_UNCHANGED)
    if stored.ndim != 2 or stored.dtype != np.uint16:
        raise DatasetError(f"{path}: expected (H, W) uint16, found {stored.shape} {stored.dtype}")
    return stored


def read_color(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a picture with one, three or four 8-bit channels.

    Raises:
        DatasetError: the file is no such image.
    """
    pixels = read_pixels(path, cv2.IMREAD_UNCHANGED)
    if pixels.dtype != np.uint8:
        raise DatasetError(f"{path}: expected 8-bit pixels, found {pixels.dtype}")
    conversion = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels not in conversion:
        raise DatasetError(f"{path}: expected one, three or four channels, found {channels}")
    return cv2.cvtColor(pixels, conversion[channels]).astype(np.uint8, copy=False)


def read_surface(path: Path) -> NDArray[np.float32]:
    """(H, W) float32 heights [m] of a digital surface model, NaN where it has none.

    Raises:
        DatasetError: the file is no such image.
    """
    pixels = read_pixels(path, cv2.IMREAD_UNCHANGED)
    if pixels.ndim != 2 or pixels.dtype != np.float32:
        raise DatasetError(f"{path}: expected (H, W) float32 heights, found {pixels.shape} {pixels.dtype}")
    # Lower than any land: the numbers that stand for "no data", such as -9999 and -3.4e38.
    return np.where(pixels > -500.0, pixels, np.float32(np.nan))


def to_millimetres(depth_m: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """(H, W) metres and validity -> (H, W) uint16 millimetres, 0 = invalid; beyond 65.535 m stays 65.535 m."""
    return np.where(valid, np.rint(depth_m * 1000.0).clip(1, 65535), 0).astype(np.uint16)
