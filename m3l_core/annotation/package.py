"""Chosen frames as a folder that people label from.

    selection.json   images/NAME.jpg   masks/NAME.png   coco.json   annotations/instances_default.json
    cvat/labels.json   cvat/segmentation_mask.zip
    label_studio/start.sh   label_studio/server.py   label_studio/tasks.json   label_studio/config.xml

Without a model there are no masks, no COCO documents, no segmentation_mask.zip, and tasks without predictions. The two
COCO documents are the same; datumaro finds the images only beside a folder ``annotations``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.annotation.coco import CocoWriter
from m3l_core.annotation.cvat_masks import CvatMaskWriter, label_constructor
from m3l_core.annotation.frame_names import picture
from m3l_core.annotation.label_studio import labeling_config, task
from m3l_core.annotation.manifest import SELECTION_FILE, Selection
from m3l_core.annotation.mask_images import encode_mask
from m3l_core.datasets.folder import Sample, kind_of, read_image
from m3l_core.errors import DatasetError
from m3l_core.false_color import false_color
from m3l_core.files import replacing_folder
from m3l_core.modalities import ColorModality, Modality

IMAGES, MASKS = "images", "masks"
_PROGRAMS = {"start.sh": "start.sh", "label_studio_server.py": "server.py"}
"""Of this room -> as it is called in the folder for Label Studio."""
LOCAL_FILES = "/data/local-files/?d=images/"
"""Where Label Studio finds the images if the package is its document root for local files."""


def write_package(
    folder: Path,
    selection: Selection,
    samples: Sequence[Sample],
    modalities: Sequence[Modality],
    labels_of: Callable[[Sample], NDArray[np.uint8]] | None,
    image_url: str = LOCAL_FILES,
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Write a package, whole or not at all.

    Args:
        folder: must not exist, or be empty.
        selection: what goes into selection.json.
        samples: its frames, in the same order.
        modalities: of the frames; distances become false colors.
        labels_of: (H, W) class ids of ``selection.labels`` that a model gives a frame, 255 where none; None without
            a model.
        image_url: of the folder of the images, for Label Studio's tasks; the file name follows a slash, or a final "=".
        advance: called after every frame.

    Raises:
        DatasetError: there is something in the folder, it cannot be written, or an image cannot be read.
    """
    check_is_free(folder)
    try:
        with replacing_folder(folder) as temporary:
            _write(temporary, selection, samples, modalities, labels_of, image_url, advance)
    except OSError as error:
        raise DatasetError(f"{folder} cannot be written: {error}") from error


def check_is_free(folder: Path) -> None:
    """Keep what annotators may have been working in.

    Raises:
        DatasetError: there is something in the folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"{folder} holds something already: choose a folder that is new or empty")


def _write(
    folder: Path,
    selection: Selection,
    samples: Sequence[Sample],
    modalities: Sequence[Modality],
    labels_of: Callable[[Sample], NDArray[np.uint8]] | None,
    image_url: str,
    advance: Callable[[], None],
) -> None:
    labels = selection.labels
    before_name = image_url if image_url.endswith(("/", "=")) else f"{image_url}/"
    tasks: list[dict[str, Any]] = []
    coco = CocoWriter(labels)
    for subfolder in (IMAGES, "cvat", "label_studio", *([MASKS] if labels_of else [])):
        (folder / subfolder).mkdir()
    with ExitStack() as stack:
        cvat = stack.enter_context(CvatMaskWriter(folder / "cvat/segmentation_mask.zip", labels)) if labels_of else None
        for frame, sample in zip(selection.frames, samples, strict=True):
            image = _write_picture(folder / IMAGES / frame.name, sample, modalities)
            ids = labels_of(sample) if labels_of else None
            tasks.append(task(frame.name, f"{before_name}{image.name}", ids, labels, selection.bundle))
            if ids is not None and cvat is not None:
                cvat.add(frame.name, ids)
                coco.add(image.name, ids)
                (folder / MASKS / f"{frame.name}.png").write_bytes(encode_mask(ids, labels))
            advance()
    if labels_of:
        for document in ("coco.json", "annotations/instances_default.json"):
            (folder / document).parent.mkdir(exist_ok=True)
            (folder / document).write_text(json.dumps(coco.document), encoding="utf-8")
    (folder / "cvat/labels.json").write_text(label_constructor(labels), encoding="utf-8")
    (folder / "label_studio/tasks.json").write_text(json.dumps(tasks), encoding="utf-8")
    (folder / "label_studio/config.xml").write_text(labeling_config(labels), encoding="utf-8")
    for source, target in _PROGRAMS.items():
        program = folder / "label_studio" / target
        program.write_bytes(files("m3l_core.annotation").joinpath(source).read_bytes())
        program.chmod(0o755)
    (folder / SELECTION_FILE).write_text(selection.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _write_picture(stem: Path, sample: Sample, modalities: Sequence[Modality]) -> Path:
    """What people see of a frame: its color image as it is, or distances in false colors."""
    source = picture(sample)
    modality = next(each for each in modalities if sample.images.get(each.name) == source)
    if isinstance(modality, ColorModality):
        target = stem.with_name(stem.name + source.suffix.lower())
        shutil.copyfile(source, target)
    else:
        target = stem.with_name(f"{stem.name}.png")
        shown = false_color(modality, read_image(source, kind_of(modality)))
        target.write_bytes(cv2.imencode(".png", cv2.cvtColor(shown, cv2.COLOR_RGB2BGR))[1].tobytes())
    return target
