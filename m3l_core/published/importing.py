"""Writes a published data set as a data folder: pictures by modality, one index a split, and labels.yaml.

    OUTPUT/color/NAME.png  OUTPUT/depth/NAME.png  OUTPUT/label/NAME.png  OUTPUT/train.json  OUTPUT/labels.yaml

Files that are there are kept, so an import that was interrupted goes on where it was; the indexes come last. A color
picture that needs no change is a hard link to the published one where the file system has those, else a copy.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import yaml

from m3l_core.errors import DatasetError
from m3l_core.files import replacing_file, sole_user
from m3l_core.modalities import DepthModality, HeightModality, Modality
from m3l_core.parallel import in_processes
from m3l_core.preprocessing import height_above_lowest, metric_depth
from m3l_core.published.frame_writer import Entry, Shape, write_frame
from m3l_core.published.layout import Frame, PublishedSet, wrong_layout
from m3l_core.yaml_files import read_yaml

IMPORTERS = {
    "deliver": "m3l_core.published.deliver:read_layout",
    "dfc2023": "m3l_core.published.dfc2023:read_layout",
    "nyuv2": "m3l_core.published.nyuv2:read_forty",
    "nyuv2_13": "m3l_core.published.nyuv2:read_thirteen",
    "nyuv2_raw": "m3l_core.published.nyuv2:read_raw",
    "potsdam": "m3l_core.published.isprs:read_potsdam",
    "stanford_indoor": "m3l_core.published.stanford_indoor:read_layout",
    "sun_rgbd": "m3l_core.published.sun_rgbd:read_layout",
    "vaihingen": "m3l_core.published.isprs:read_vaihingen",
}
"""Published set -> function of its root folder that checks the layout and gives a ``PublishedSet``."""

LABELS_FILE = "labels.yaml"


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import wrote."""

    indexes: Mapping[str, list[Entry]]
    """Split -> entries of its index."""
    broken: tuple[str, ...]
    """Why frames were left out, one line each."""


def read_published(name: str, root: Path) -> PublishedSet:
    """Look at the layout of a published set, and at as few pictures as show that its depths or heights are some.

    Raises:
        DatasetError: there is no such set, ``root`` does not hold it, or no depth or height in it is valid.
        MissingPackageError: reading this set needs a package that is not installed.
    """
    if name not in IMPORTERS:
        raise DatasetError(f"there is no set '{name}'; the sets are {', '.join(IMPORTERS)}")
    module, function = IMPORTERS[name].split(":")
    published: PublishedSet = getattr(importlib.import_module(module), function)(root)
    for modality in published.modalities:
        if not any(modality.name in frame.images for frame in published.frames):
            raise wrong_layout(root, f"{modality.name} of {len(published.frames)} frames, but none of them has it")
        if _measures_nothing(modality, published.frames):
            raise DatasetError(f"{root}: expected {modality.name} of {name}, but no pixel of any frame is valid")
    names = {frame.name for frame in published.frames}
    if len(names) != len(published.frames):
        raise DatasetError(f"{root}: {len(published.frames)} frames have only {len(names)} names")
    return published


def _measures_nothing(modality: Modality, frames: Sequence[Frame]) -> bool:
    """Whether no frame has a valid depth or height, whereas a few without any are what sensors give."""
    if not isinstance(modality, DepthModality | HeightModality):
        return False
    validity = metric_depth if isinstance(modality, DepthModality) else height_above_lowest
    nothing = False
    for frame in frames:
        picture = frame.images.get(modality.name)
        try:
            if callable(picture) and validity(picture())[1].any():
                return False
        except DatasetError:  # told when the frame is written
            continue
        nothing = True
    return nothing


def write_folder(
    published: PublishedSet,
    output: Path,
    shape: Shape,
    workers: int = 1,
    skip_broken: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> Imported:
    """Write ``published`` to ``output``.

    Args:
        published: what to write.
        output: a folder that is new, empty, or was begun with the same set and shape.
        shape: how pictures are cut and shrunk.
        workers: processes.
        skip_broken: leave out frames that cannot be read.
        advance: called after every frame.

    Raises:
        DatasetError: ``output`` holds something else or cannot be written, or frames cannot be read (that is told
            when all others are written).
    """
    try:
        if output.exists() and not output.is_dir():
            raise _holds_something_else(output)
        with sole_user(output):
            _begin(published, output, shape)
            return _write(published, output, shape, workers, skip_broken, advance)
    except OSError as error:
        raise DatasetError(f"{output} cannot be written: {error}; the same command goes on from here") from error


def _write(
    published: PublishedSet, output: Path, shape: Shape, workers: int, skip_broken: bool, advance: Callable[[], None]
) -> Imported:
    write = partial(_written_or_reason, published.modalities, output, shape)
    indexes: dict[str, list[Entry]] = {}
    broken: list[str] = []
    for frame, written in zip(published.frames, in_processes(write, published.frames, workers), strict=True):
        if isinstance(written, str):
            broken.append(written)
        else:
            for split in frame.splits:
                indexes.setdefault(split, []).extend(written)
        advance()
    if broken and not skip_broken:
        raise DatasetError(
            f"{len(broken)} of {len(published.frames)} frames cannot be imported, the first: {broken[0]}. "
            "The others are written; repair the files and start again, or skip the broken frames"
        )
    for split, entries in indexes.items():
        with replacing_file(output / f"{split}.json") as temporary:
            temporary.write_text(json.dumps(entries, indent=0), encoding="utf-8")
    return Imported(indexes, tuple(broken))


def _begin(published: PublishedSet, output: Path, shape: Shape) -> None:
    """Write labels.yaml, or check that the one which is there has the same source."""
    source = {"dataset": published.name, **asdict(shape)}
    path = output / LABELS_FILE
    if path.is_file():
        try:
            former = read_yaml(path)["source"]
        except (OSError, yaml.YAMLError, LookupError, TypeError) as error:
            raise DatasetError(f"{path} does not say what {output} holds ({error}): choose another folder") from error
        if former != source:
            raise DatasetError(f"{output} was begun as {former}, now it would be {source}: choose another folder")
    elif any(output.iterdir()):
        raise _holds_something_else(output)
    else:
        content = {
            "source": source,
            "modalities": [modality.model_dump(mode="json") for modality in published.modalities],
            "labels": published.labels.model_dump(mode="json"),
        }
        text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)
        with replacing_file(path) as temporary:
            temporary.write_text(
                f"# modalities and labels stand here as a recipe takes them.\n{text}", encoding="utf-8"
            )


def _holds_something_else(output: Path) -> DatasetError:
    return DatasetError(f"{output} holds something else: choose a folder that is new or empty")


def _written_or_reason(modalities: tuple[Modality, ...], output: Path, shape: Shape, frame: Frame) -> list[Entry] | str:
    try:
        return write_frame(frame, modalities, output, shape)
    except DatasetError as error:
        return f"{frame.name}: {error}"
