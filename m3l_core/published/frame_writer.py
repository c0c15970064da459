"""Writes one frame of a published set: its pictures whole, shrunk or cut into tiles."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.errors import DatasetError
from m3l_core.files import replacing_file
from m3l_core.labels import IGNORE
from m3l_core.modalities import ColorModality, HeightModality, Modality
from m3l_core.preprocessing import resize
from m3l_core.published.layout import Frame, Picture, read_color

LABEL = "label"
# Published grids of heights are now and then a row or a column short.
MOST_PIXELS_SHORT = 2

Entry = dict[str, str | None]
"""Of an index: what a field of a frame is called on disk, relative to the index."""
Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """How the pictures are cut and shrunk."""

    tile: int | None = None
    """Side of the square tiles [pixels]; the last of a row or column moves back to lie inside the picture."""
    overlap: int = 0
    """Of neighbouring tiles [pixels]."""
    max_side: int | None = None
    """The longer side of what is written is no longer than this [pixels]."""

    def __post_init__(self) -> None:
        if (self.tile is not None and self.tile < 1) or (self.max_side is not None and self.max_side < 1):
            raise DatasetError(f"tile and max_side must be positive, got {self.tile} and {self.max_side}")
        if not 0 <= self.overlap < (self.tile or 1):
            raise DatasetError(f"overlap must be at least 0 and below the tile's side, got {self.overlap}")


def write_frame(frame: Frame, modalities: tuple[Modality, ...], output: Path, shape: Shape) -> list[Entry]:
    """Write what is not there yet of a frame.

    Returns:
        Its entries in an index: one, or one for each tile.

    Raises:
        DatasetError: a picture cannot be read, or the sizes differ.
        OSError: a file cannot be written.
    """
    kinds: dict[str, Modality | None] = {modality.name: modality for modality in modalities} | {LABEL: None}
    pictures: dict[str, Picture] = {name: frame.images[name] for name in kinds if name in frame.images}
    if frame.label is not None:
        pictures[LABEL] = frame.label
    suffixes = {name: _suffix(picture, kinds[name]) for name, picture in pictures.items()}

    def entry(name: str) -> Entry:
        files = {field: f"{field}/{name}{suffixes[field]}" if field in suffixes else None for field in kinds}
        if files[LABEL] is None:
            del files[LABEL]
        return files | {"recording": frame.recording}

    whole = entry(frame.name)
    if shape.tile is None and all((output / str(whole[name])).exists() for name in pictures):
        return [whole]
    pixels = _one_size({name: _read(picture) for name, picture in pictures.items()}, kinds)
    if shape.tile is None and shape.max_side is None:
        for name, picture in pictures.items():
            _place(picture if isinstance(picture, Path) else pixels[name], output / str(whole[name]))
        return [whole]
    measures = not all("train" in split for split in frame.splits)
    entries = []
    for suffix, rows, columns in _tiles(next(iter(pixels.values())).shape[:2], shape):
        entries.append(entry(frame.name + suffix))
        for name, picture_pixels in pixels.items():
            target = output / str(entries[-1][name])
            if not target.exists():
                _save(target, _shrunk(picture_pixels[rows, columns], kinds[name], shape.max_side))
        if measures and LABEL in pixels:
            pixels[LABEL][rows, columns] = IGNORE  # where tiles overlap, a pixel counts once
    return entries


def _suffix(picture: Picture, modality: Modality | None) -> str:
    if isinstance(modality, HeightModality):
        return ".tif"
    return picture.suffix.lower() if isinstance(picture, Path) else ".png"


def _read(picture: Picture) -> Pixels:
    return read_color(picture) if isinstance(picture, Path) else picture()


def _place(picture: Path | Pixels, target: Path) -> None:
    if target.exists():
        return
    if not isinstance(picture, Path):
        _save(target, picture)
        return
    with replacing_file(target) as temporary:
        try:
            os.link(picture.resolve(), temporary)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(picture, temporary)


def _save(target: Path, pixels: Pixels) -> None:
    image = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
    encoded = cv2.imencode(target.suffix, image)[1]
    with replacing_file(target) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _one_size(pictures: dict[str, Pixels], kinds: Mapping[str, Modality | None]) -> dict[str, Pixels]:
    """Fill a row or a column that is short with invalid pixels."""
    size = np.max([pixels.shape[:2] for pixels in pictures.values()], axis=0)
    for name, pixels in pictures.items():
        short = size - pixels.shape[:2]
        if short.any():
            if isinstance(kinds[name], ColorModality) or short.max() > MOST_PIXELS_SHORT:
                raise DatasetError(f"sizes differ: { {key: value.shape[:2] for key, value in pictures.items()} }")
            invalid = IGNORE if name == LABEL else (np.nan if pixels.dtype == np.float32 else 0)
            pictures[name] = np.pad(pixels, [(0, short[0]), (0, short[1])], constant_values=invalid)
    return pictures


def _tiles(size: tuple[int, ...], shape: Shape) -> Iterator[tuple[str, slice, slice]]:
    """What is added to the name, rows and columns of every tile."""
    if shape.tile is None:
        yield "", slice(None), slice(None)
        return
    for top in tile_starts(size[0], shape.tile, shape.overlap):
        for left in tile_starts(size[1], shape.tile, shape.overlap):
            yield f"_{top}_{left}", slice(top, top + shape.tile), slice(left, left + shape.tile)


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    last = max(0, length - tile)
    return [*range(0, last, tile - overlap), last]


def _shrunk(pixels: Pixels, modality: Modality | None, max_side: int | None) -> Pixels:
    factor = 1.0 if max_side is None else min(1.0, max_side / max(pixels.shape[:2]))
    size = (max(1, round(pixels.shape[0] * factor)), max(1, round(pixels.shape[1] * factor)))
    if modality is None:
        return cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_NEAREST) if factor < 1.0 else pixels
    return resize(modality, pixels, size)
