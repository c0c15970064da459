"""COCO's object detection format: one JSON document with run lengths or polygons (https://cocodataset.org/#format-data).

Written with run lengths, which lose nothing: one region for each class of a frame, marked as a crowd, as COCO has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from m3l_core.annotation.annotated import AnnotatedImage, Annotations, Region, paint, read_each
from m3l_core.annotation.export_files import ExportFiles, gather
from m3l_core.datasets.coco_masks import draw_segmentation, mask_runs
from m3l_core.errors import DatasetError
from m3l_core.labels import LabelSet
from m3l_core.validation import checked

_OTHER_TASKS = ("panoptic_", "stuff_", "image_info_", "captions_", "labels_", "person_keypoints_")
"""How the names of documents begin that are of another task than instances."""


class _Category(BaseModel):
    id: int
    name: str


class _Image(BaseModel):
    id: int
    file_name: str
    width: int = Field(gt=0)
    height: int = Field(gt=0)


class _Annotation(BaseModel):
    id: int | None = None
    image_id: int
    category_id: int
    segmentation: Any = None


class _Document(BaseModel):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation]


class CocoWriter:
    """Gathers frames into a document."""

    def __init__(self, labels: LabelSet) -> None:
        self.document: dict[str, Any] = {
            "info": {},
            "licenses": [],
            # COCO counts from 1.
            "categories": [{"id": number, "name": name} for number, name in enumerate(labels.names, 1)],
            "images": [],
            "annotations": [],
        }
        self._num_classes = len(labels)

    def add(self, file_name: str, ids: NDArray[np.uint8]) -> None:
        """Add a frame; (H, W) class ids, 255 = unlabelled."""
        images, annotations = self.document["images"], self.document["annotations"]
        height, width = ids.shape
        images.append({"id": len(images) + 1, "file_name": file_name, "width": width, "height": height})
        for number in range(self._num_classes):
            inside = ids == number
            if inside.any():
                rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
                top, left = int(rows[0]), int(columns[0])
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": len(images),
                        "category_id": number + 1,
                        "iscrowd": 1,
                        "segmentation": {"size": [height, width], "counts": mask_runs(inside)},
                        "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
                        "area": int(inside.sum()),
                    }
                )


def read_coco(files: ExportFiles, labels: LabelSet) -> Annotations | None:
    """Polygons and run lengths; where regions overlap, the later one lies above, as CVAT writes them.

    Returns:
        None if there is no such document in the export.

    Raises:
        DatasetError: with a line for each thing that a document lacks, or in which it contradicts itself.
    """
    found = {
        name: content
        for name, content in files.documents().items()
        if isinstance(content, dict) and {"images", "annotations"} <= set(content)
    }
    if not found:
        return None
    documents = gather(_of_instances(found), lambda name: _checked(files.place(name), found[name]))
    classes = {category.name: None for document in documents.values() for category in document.categories}
    images = read_each(documents.items(), lambda found: _images(files.place(found[0]), found[1], labels))
    return Annotations("COCO", tuple(classes), images)


def _of_instances(names: Collection[str]) -> list[str]:
    """Without the documents of COCO's other tasks, which datumaro writes beside those of the instances."""
    tasks = {name: PurePosixPath(name).name for name in names}
    if not any(task.startswith("instances_") for task in tasks.values()):
        return list(names)
    return [name for name, task in tasks.items() if not task.startswith(_OTHER_TASKS)]


def _checked(origin: str, content: dict[str, Any]) -> _Document:
    try:
        document = checked(_Document, content)
    except ValueError as error:
        raise DatasetError(f"{origin} is not a COCO document of instances: {error}") from error
    problems: list[str] = []
    for kind, entries in (("image", document.images), ("category", document.categories)):
        numbers = Counter(entry.id for entry in entries)
        problems += [f"{origin}: the {kind} id {number} is there twice" for number in numbers if numbers[number] > 1]
    images, categories = ({entry.id for entry in entries} for entries in (document.images, document.categories))
    problems += [
        f"{origin}: annotation {annotation.id} is of image {annotation.image_id} and category "
        f"{annotation.category_id}, which are not both listed"
        for annotation in document.annotations
        if annotation.image_id not in images or annotation.category_id not in categories
    ]
    if problems:
        raise DatasetError("\n".join(problems))
    return document


def _images(origin: str, document: _Document, labels: LabelSet) -> Iterator[AnnotatedImage]:
    names = {category.id: category.name for category in document.categories}
    drawn: dict[int, list[_Annotation]] = {image.id: [] for image in document.images}
    for annotation in document.annotations:
        drawn[annotation.image_id].append(annotation)
    for image in document.images:
        place, size = f"{origin}: {image.file_name}", (image.height, image.width)
        regions = [partial(_region, place, size, names[each.category_id], each) for each in drawn[image.id]]
        yield AnnotatedImage(image.file_name, size, partial(paint, size, regions, labels, place), place)


def _region(place: str, size: tuple[int, int], name: str, annotation: _Annotation) -> Region:
    if not annotation.segmentation:
        raise DatasetError(
            f"{place}: annotation {annotation.id} ({name}) is a box without a segmentation: draw it as a polygon or a "
            "mask, or remove it"
        )
    try:
        return name, draw_segmentation(size, annotation.segmentation)
    except DatasetError as error:
        raise DatasetError(f"{place}: annotation {annotation.id}: {error}") from error
