"""Exports that are not read here, told by their files, so that whoever chose one hears which to choose instead.

They name classes in colors of their own, or lose pixels on the way: contours for brushed masks, one image for each
region, boxes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from m3l_core.annotation.export_files import ExportFiles

_OF_CVAT = 'in CVAT, export the task as "Segmentation mask 1.1", which has every shape to the pixel'
_OF_LABEL_STUDIO = 'in Label Studio, export the project as "JSON"'
_OUTLINES = "it has the outlines of what was brushed, without holes and with other borders"


@dataclass(frozen=True, slots=True)
class ForeignFormat:
    """An export that cannot be taken."""

    name: str
    instead: str
    """What to export."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Mark:
    """What tells a format."""

    format: ForeignFormat
    is_it: Callable[[ExportFiles], bool]


def foreign_format(files: ExportFiles) -> ForeignFormat | None:
    """The format of an export that is not read here; None if it is none that is known.

    Raises:
        DatasetError: a file cannot be read.
    """
    return next((mark.format for mark in _MARKS if mark.is_it(files)), None)


def _named(*patterns: str) -> Callable[[ExportFiles], bool]:
    """For each pattern there is a file whose path matches it."""

    def is_it(files: ExportFiles) -> bool:
        return all(any(re.search(pattern, name) for name in files.names) for pattern in patterns)

    return is_it


def _xml(pattern: bytes) -> Callable[[ExportFiles], bool]:
    """An XML document begins with <annotation>, and has this."""

    def is_it(files: ExportFiles) -> bool:
        contents = map(files.read, files.ending_with(".xml"))
        return any(re.search(rb"<annotation[\s>]", text[:1000]) and re.search(pattern, text) for text in contents)

    return is_it


def _json(is_of: Callable[[Any], bool]) -> Callable[[ExportFiles], bool]:
    def is_it(files: ExportFiles) -> bool:
        return any(is_of(content) for content in files.documents().values())

    return is_it


def _is_labelme(content: Any) -> bool:
    return isinstance(content, dict) and {"shapes", "imagePath"} <= content.keys()


def _is_json_min(content: Any) -> bool:
    """A list of tasks that lie flat, each with the number of its one annotation."""
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and "annotation_id" in first and not {"data", "annotations"} & first.keys()


def _is_datumaro(content: Any) -> bool:
    return isinstance(content, dict) and {"items", "categories"} <= content.keys()


def _contributed_by(name: str) -> Callable[[Any], bool]:
    def is_of(content: Any) -> bool:
        info = content.get("info") if isinstance(content, dict) and "annotations" in content else None
        return isinstance(info, dict) and info.get("contributor") == name

    return is_of


def _only(*ends: str) -> Callable[[ExportFiles], bool]:
    """There are files of these kinds, and none that could hold masks."""

    def is_it(files: ExportFiles) -> bool:
        return any(map(files.ending_with, ends)) and not any(map(files.ending_with, (".png", ".xml", ".json")))

    return is_it


def _yolo(files: ExportFiles) -> bool:
    lists = any(re.search(r"(^|/)(obj\.names|classes\.txt|data\.yaml)$", name) for name in files.names)
    return lists and any(re.search(r"(^|/)(labels|obj_train_data)/", name) for name in files.names)


_MARKS: tuple[_Mark, ...] = (
    _Mark(
        ForeignFormat('Label Studio\'s "Brush labels to COCO"', _OF_LABEL_STUDIO, _OUTLINES),
        _json(_contributed_by("Label Studio Converter")),
    ),
    _Mark(
        ForeignFormat('Label Studio\'s "COCO"', _OF_LABEL_STUDIO, "it leaves out what was brushed"),
        _json(_contributed_by("Label Studio")),
    ),
    _Mark(
        ForeignFormat(
            'Label Studio\'s "Brush labels to PNG" or "NumPy"', _OF_LABEL_STUDIO, "it lacks the images' names"
        ),
        _named(r"(^|/)task-\d+-annotation-\d+-by-[^/]*\.(png|npy)$"),
    ),
    _Mark(ForeignFormat('Label Studio\'s "JSON_MIN"', _OF_LABEL_STUDIO), _json(_is_json_min)),
    _Mark(ForeignFormat("Cityscapes", _OF_CVAT), _named(r"_gtFine_\w+\.png$")),
    _Mark(ForeignFormat("KITTI segmentation", _OF_CVAT), _named(r"(^|/)semantic_rgb/", r"(^|/)instance/")),
    _Mark(ForeignFormat("CamVid", _OF_CVAT), _named(r"(^|/)label_colors\.txt$", r"annot/[^/]*\.png$")),
    _Mark(ForeignFormat("Open Images", _OF_CVAT), _named(r"(^|/)class-descriptions\.csv$")),
    _Mark(ForeignFormat("LabelMe (XML)", _OF_CVAT), _xml(rb"<(polygon|segm)[\s/>]")),
    _Mark(
        ForeignFormat(
            "LabelMe (JSON)", "convert it to COCO with run lengths or polygons, or to one png of class ids an image"
        ),
        _json(_is_labelme),
    ),
    _Mark(
        ForeignFormat("Pascal VOC boxes", f"{_OF_CVAT}; {_OF_LABEL_STUDIO}", "boxes have no borders"),
        _xml(rb"<(object|filename)>"),
    ),
    _Mark(ForeignFormat("Datumaro", _OF_CVAT), _json(_is_datumaro)),
    _Mark(ForeignFormat("YOLO", f"{_OF_CVAT}; {_OF_LABEL_STUDIO}"), _yolo),
    _Mark(ForeignFormat("a table (CSV or TSV)", _OF_LABEL_STUDIO), _only(".csv", ".tsv")),
)
"""In the order in which they are asked."""
