"""CVAT's own format, "CVAT for images 1.1": one XML document with polygons and brushed masks.

https://docs.cvat.ai/docs/other/xml_format
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from m3l_core.annotation.annotated import AnnotatedImage, Annotations, Region, paint, read_each
from m3l_core.annotation.export_files import ExportFiles, gather
from m3l_core.datasets.coco_masks import draw_segmentation
from m3l_core.errors import DatasetError
from m3l_core.labels import LabelSet

_NO_REGIONS = ("tag", "attribute")
_OTHER_EXPORT = 'export it as "Segmentation mask 1.1" instead, which draws every shape'


def read_cvat_images(files: ExportFiles, labels: LabelSet) -> Annotations | None:
    """Shapes in the order of their z_order; what lies above hides what lies below.

    Returns:
        None if there is no XML document in the export.

    Raises:
        DatasetError: with a line for each document that is not CVAT's, or is of a video.
    """
    names = files.ending_with(".xml")
    if not names:
        return None
    roots = gather(names, lambda name: _parse(files.read(name), files.place(name)))
    classes = {entry.text or "": None for root in roots.values() for entry in root.findall("meta//labels/label/name")}
    found = ((image, files.place(name)) for name, root in roots.items() for image in root.iter("image"))
    return Annotations("CVAT for images", tuple(classes) or None, read_each(found, lambda each: _image(*each, labels)))


def _parse(content: bytes, place: str) -> ElementTree.Element:
    if b"<!DOCTYPE" in content:
        raise DatasetError(f"{place} defines entities, which no export of CVAT does")
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise DatasetError(f"{place} is not XML: {error}") from error
    if root.tag != "annotations":
        raise DatasetError(f"{place} begins with <{root.tag}>, expected CVAT's <annotations>")
    if root.find("track") is not None:
        raise DatasetError(f'{place} has the tracks of a video: export it as "CVAT for images 1.1"')
    return root


def _image(image: ElementTree.Element, place: str, labels: LabelSet) -> Iterator[AnnotatedImage]:
    origin = f"{place}: {image.get('name')}"
    try:
        size = int(image.attrib["height"]), int(image.attrib["width"])
        shapes = [shape for shape in image if shape.tag not in _NO_REGIONS]
        shapes.sort(key=lambda shape: int(shape.get("z_order", 0)))
        name = image.attrib["name"]
    except (LookupError, ValueError) as error:
        raise _incomplete(origin, error) from error
    if min(size) < 1:
        raise DatasetError(f"{origin} is said to have {size[1]}x{size[0]} pixels: export it again")
    regions = [partial(_region, shape, size, origin) for shape in shapes]
    yield AnnotatedImage(name, size, partial(paint, size, regions, labels, origin), origin)


def _incomplete(origin: str, error: Exception) -> DatasetError:
    return DatasetError(f"{origin} lacks an attribute, or has one that is no number: {error}")


def _region(shape: ElementTree.Element, size: tuple[int, int], origin: str) -> Region:
    try:
        return _drawn(shape, size, origin)
    except (LookupError, ValueError) as error:
        raise _incomplete(origin, error) from error


def _drawn(shape: ElementTree.Element, size: tuple[int, int], origin: str) -> Region:
    name = shape.attrib["label"]
    if shape.tag == "polygon":
        points = [float(number) for point in shape.attrib["points"].split(";") for number in point.split(",")]
        try:
            return name, draw_segmentation(size, [points])
        except DatasetError as error:
            raise DatasetError(f"{origin}: a polygon of {name}: {error}") from error
    if shape.tag == "mask":
        return name, _from_runs(shape, size, origin)
    raise DatasetError(f"{origin} has a {shape.tag} ({name}), expected polygons and masks: {_OTHER_EXPORT}")


def _from_runs(shape: ElementTree.Element, size: tuple[int, int], origin: str) -> NDArray[np.bool_]:
    """Run lengths along the rows of a box, beginning with what is outside."""
    left, top, width, height = (int(shape.attrib[side]) for side in ("left", "top", "width", "height"))
    runs = [int(run) for run in shape.attrib["rle"].split(",")]
    inside = np.zeros(size, np.bool_)
    box = inside[max(top, 0) : top + height, max(left, 0) : left + width]
    if box.shape != (height, width) or min(runs) < 0 or sum(runs) != height * width:
        raise DatasetError(
            f"{origin}: a mask of {shape.attrib['label']} has {sum(runs)} pixels in a box of {width}x{height} at "
            f"{left}, {top}, which does not fit the image of {size[1]}x{size[0]}"
        )
    box[...] = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    return inside
