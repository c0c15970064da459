"""Label Studio's tasks (JSON) with brushed regions, and the labeling interface they are for (XML).

https://labelstud.io/guide/predictions, https://labelstud.io/tags/brushlabels
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from m3l_core.annotation.annotated import AnnotatedImage, Annotations, Region, paint, read_each
from m3l_core.annotation.brush_rle import decode_brush, encode_brush
from m3l_core.annotation.export_files import ExportFiles
from m3l_core.annotation.mask_images import class_colors
from m3l_core.errors import DatasetError
from m3l_core.labels import LabelSet
from m3l_core.validation import checked

_CONTROL, _IMAGE, _FRAME = "label", "image", "frame"


class _Value(BaseModel):
    format: str | None = None
    rle: list[int] | None = None
    brushlabels: list[str] = []


class _Result(BaseModel):
    type: str
    original_width: int | None = Field(None, gt=0)
    original_height: int | None = Field(None, gt=0)
    image_rotation: float = 0
    value: _Value


class _Annotation(BaseModel):
    was_cancelled: bool = False
    result: list[dict[str, Any]]


class _Task(BaseModel):
    data: dict[str, Any]
    annotations: list[_Annotation]


def labeling_config(labels: LabelSet) -> str:
    """The labeling interface: a brush for every class."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name=_IMAGE, value=f"${_IMAGE}", zoom="true")
    brushes = ElementTree.SubElement(view, "BrushLabels", name=_CONTROL, toName=_IMAGE)
    for name, color in zip(labels.names, class_colors(labels), strict=True):
        ElementTree.SubElement(brushes, "Label", value=name, background="#{:02x}{:02x}{:02x}".format(*color))
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def task(
    name: str, url: str, ids: NDArray[np.uint8] | None, labels: LabelSet, model: str | None = None
) -> dict[str, Any]:
    """One task.

    Args:
        name: of the frame; an export has it again.
        url: where Label Studio finds the image.
        ids: (H, W) class ids that a model gave, 255 = none; None without a model.
        labels: the classes.
        model: what is told as the model's version.
    """
    entry: dict[str, Any] = {"data": {_IMAGE: url, _FRAME: name}}
    if ids is not None:
        entry["predictions"] = [{"model_version": model, "result": _results(name, ids, labels)}]
    return entry


def _results(name: str, ids: NDArray[np.uint8], labels: LabelSet) -> list[dict[str, Any]]:
    height, width = ids.shape
    return [
        {
            "id": f"{name}-{number}",
            "type": "brushlabels",
            "from_name": _CONTROL,
            "to_name": _IMAGE,
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {"format": "rle", "rle": encode_brush(ids == number), "brushlabels": [class_name]},
        }
        for number, class_name in enumerate(labels.names)
        if (ids == number).any()
    ]


def read_label_studio(files: ExportFiles, labels: LabelSet) -> Annotations | None:
    """What annotators submitted, of an export as "JSON"; predictions and skipped tasks do not count.

    Returns:
        None if there is no list of tasks in the export.

    Raises:
        DatasetError: a list is none of tasks with their annotations.
    """
    found = {name: content for name, content in files.documents().items() if isinstance(content, list)}
    if not found:
        return None
    tasks = [
        (files.place(name), _checked(files.place(name), each)) for name, content in found.items() for each in content
    ]
    return Annotations("Label Studio", None, read_each(tasks, lambda found: _images(*found, labels)))


def _checked(place: str, content: Any) -> _Task:
    try:
        return checked(_Task, content)
    except ValueError as error:
        raise DatasetError(f'{place} is no list of tasks with annotations, export it as "JSON": {error}') from error


def _images(place: str, each: _Task, labels: LabelSet) -> Iterator[AnnotatedImage]:
    url = each.data.get(_IMAGE)
    name = each.data.get(_FRAME) or (unquote(url).rpartition("=")[2] if isinstance(url, str) else None)
    if not isinstance(name, str) or not name:
        told = ", ".join(each.data)
        raise DatasetError(f"{place}: a task names its image neither in '{_FRAME}' nor in '{_IMAGE}', it has {told}")
    origin = f"{place}: {name}"
    for annotation in each.annotations:
        if annotation.was_cancelled:
            continue
        results = [_region_result(entry, origin) for entry in annotation.result]
        brushed = [result for result in results if result is not None]
        if not brushed:
            continue
        sizes = {(result.original_height or 0, result.original_width or 0) for result in brushed}
        if len(sizes) > 1 or any(result.image_rotation for result in brushed):
            raise DatasetError(f"{origin}: the regions are of images of different sizes, or of a rotated one")
        size = sizes.pop()
        regions = [partial(_region, result, size, origin) for result in brushed]
        yield AnnotatedImage(name, size, partial(paint, size, regions, labels, origin), origin)


def _region_result(entry: dict[str, Any], origin: str) -> _Result | None:
    """A brushed region; None for what is no region, such as a choice."""
    kind = str(entry.get("type"))
    if kind != "brushlabels":
        if kind.endswith("labels"):
            raise DatasetError(f"{origin} has a region of type {kind}, expected brushlabels: draw it with the brush")
        return None
    try:
        return checked(_Result, entry)
    except ValueError as error:
        raise DatasetError(f"{origin}: a brushed region cannot be understood: {error}") from error


def _region(result: _Result, size: tuple[int, int], origin: str) -> Region:
    value = result.value
    if value.format != "rle" or value.rle is None or len(value.brushlabels) != 1:
        raise DatasetError(f"{origin}: a brushed region needs run lengths and one class, it has {value.brushlabels}")
    try:
        return value.brushlabels[0], decode_brush(value.rle, size)
    except ValueError as error:
        raise DatasetError(f"{origin}: run lengths of {value.brushlabels[0]}: {error}") from error
