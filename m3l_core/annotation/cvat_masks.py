"""CVAT's "Segmentation mask 1.1": a Pascal VOC tree with colored masks and the colors' names in labelmap.txt.

    labelmap.txt  ImageSets/Segmentation/default.txt  SegmentationClass/NAME.png  SegmentationObject/NAME.png

https://docs.cvat.ai/docs/dataset_management/formats/format-smask
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from types import TracebackType
from zipfile import ZIP_STORED, ZipFile

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.annotation.annotated import AnnotatedImage, Annotations, class_id, read_each
from m3l_core.annotation.export_files import ExportFiles
from m3l_core.annotation.mask_images import (
    UNLABELLED,
    Color,
    class_colors,
    decode_mask,
    ids_of_colors,
    mask_size,
    voc_colors,
)
from m3l_core.errors import DatasetError
from m3l_core.labels import IGNORE, LabelSet

BACKGROUND = "background"
"""CVAT's name for what has no label; a class may be called so too, and then every such pixel is of that class."""
_CLASSES, _OBJECTS, _LABEL_MAP = "SegmentationClass", "SegmentationObject", "labelmap.txt"


class CvatMaskWriter:
    """Writes the archive that CVAT imports as "Segmentation mask 1.1", frame by frame.

    Raises:
        DatasetError: the name of a class has a colon, which ends a name in labelmap.txt, or begins with #, which makes
            its line a comment.
    """

    def __init__(self, path: Path, labels: LabelSet) -> None:
        colors = dict(zip(labels.names, class_colors(labels), strict=True))
        if wrong := [name for name in labels.names if ":" in name or name.startswith("#")]:
            raise DatasetError(
                f"CVAT's label map cannot hold the class '{wrong[0]}': expected no colon in its name, no # before it"
            )
        self._names: list[str] = []
        self._palette = np.zeros((256, 3), np.uint8)
        self._palette[: len(labels)] = [*colors.values()]
        listed = ({} if BACKGROUND in colors else {BACKGROUND: UNLABELLED}) | colors
        lines = [f"{name}:{red},{green},{blue}::" for name, (red, green, blue) in listed.items()]
        self._archive = ZipFile(path, "w", ZIP_STORED)  # png is compressed already
        self._archive.writestr(_LABEL_MAP, "\n".join(["# label:color_rgb:parts:actions", *lines, ""]))

    def add(self, name: str, ids: NDArray[np.uint8]) -> None:
        """Add a frame by its image's name without suffix; (H, W) class ids, 255 = unlabelled.

        Each class becomes an object: CVAT leaves out what belongs to none.
        """
        self._names.append(name)
        objects = voc_colors()[ids + np.uint8(1)]  # 255 becomes 0, which is no object
        for folder, colors in ((_CLASSES, self._palette[ids]), (_OBJECTS, objects)):
            png = cv2.imencode(".png", cv2.cvtColor(colors, cv2.COLOR_RGB2BGR))[1]
            self._archive.writestr(f"{folder}/{name}.png", png.tobytes())

    def __enter__(self) -> CvatMaskWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        listed = "".join(f"{name}\n" for name in self._names)
        self._archive.writestr("ImageSets/Segmentation/default.txt", listed)
        self._archive.close()


def label_constructor(labels: LabelSet) -> str:
    """The classes as CVAT's "Raw" label constructor takes them (JSON)."""
    entries = [
        {"name": name, "color": "#{:02x}{:02x}{:02x}".format(*color), "attributes": []}
        for name, color in zip(labels.names, class_colors(labels), strict=True)
    ]
    return json.dumps(entries, indent=1)


def read_cvat_masks(files: ExportFiles, labels: LabelSet) -> Annotations | None:
    """Masks in SegmentationClass: colors, or gray values that count the lines of labelmap.txt.

    Returns:
        None if there is no such folder in the export.

    Raises:
        DatasetError: labelmap.txt is missing or cannot be understood.
    """
    masks = [name for name in files.ending_with(".png") if _CLASSES in PurePosixPath(name).parts[:-1]]
    if not masks:
        return None
    listed = _read_label_map(files)
    classes = tuple(name for name in listed if name in labels.names or name != BACKGROUND)
    return Annotations(
        "CVAT, Segmentation mask", classes, read_each(masks, lambda file: _image(files, file, listed, labels))
    )


def _image(files: ExportFiles, file: str, listed: dict[str, Color], labels: LabelSet) -> Iterator[AnnotatedImage]:
    origin, parts = files.place(file), PurePosixPath(file).parts
    content = files.read(file)
    name = "/".join(parts[parts.index(_CLASSES) + 1 :])
    yield AnnotatedImage(name, mask_size(content, origin), partial(_ids, content, listed, labels, origin), origin)


def _ids(content: bytes, listed: dict[str, Color], labels: LabelSet, origin: str) -> NDArray[np.uint8]:
    names: dict[Color, str | None] = {UNLABELLED: None} | {color: name for name, color in listed.items()}
    order: list[str | None]
    mask = decode_mask(content, origin)
    if mask.colors is None:
        assert mask.values is not None
        places, order = mask.values, [*listed]
        if places.max(initial=0) >= len(order):
            raise DatasetError(f"{origin} has the value {places.max()}, but labelmap.txt has {len(order)} lines")
    else:
        numbers = {color: number for number, color in enumerate(names)}
        places, order = ids_of_colors(mask.colors, numbers, origin), [*names.values()]
    lookup = np.full(256, IGNORE, np.uint8)
    for place in np.unique(places):
        name = order[place]
        if name is not None and (name != BACKGROUND or name in labels.names):
            lookup[place] = class_id(labels, name, origin)
    return lookup[places]


def _read_label_map(files: ExportFiles) -> dict[str, Color]:
    """Class -> RGB, in the order of the lines."""
    found = [name for name in files.names if PurePosixPath(name).name == _LABEL_MAP]
    if len(found) != 1:
        raise DatasetError(f"{files.path} has {len(found)} files {_LABEL_MAP}: expected one beside {_CLASSES}")
    origin = files.place(found[0])
    listed: dict[str, Color] = {}
    for line in files.read(found[0]).decode("utf-8", "replace").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        try:
            name, color = line.split(":")[:2]
            red, green, blue = map(int, color.split(","))
        except ValueError as error:
            raise DatasetError(f"{origin}: expected lines NAME:RED,GREEN,BLUE::, got '{line}'") from error
        if (red, green, blue) in listed.values():
            raise DatasetError(f"{origin} gives the color {red},{green},{blue} to two classes: export it again")
        listed[name] = (red, green, blue)
    return listed
