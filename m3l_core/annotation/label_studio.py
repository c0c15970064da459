"""Label Studio's labeling interface (XML) and the tasks that are labelled in it (JSON).

https://labelstud.io/guide/predictions, https://labelstud.io/tags/brushlabels, https://labelstud.io/tags/polygonlabels
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3l_core.annotation.brush_rle import encode_brush
from m3l_core.annotation.mask_images import class_colors
from m3l_core.labels import LabelSet

IMAGE, FRAME = "image", "frame"
"""Keys of a task's data: where its image is, and what the frame is called."""
BRUSH, POLYGON = "brushlabels", "polygonlabels"
"""Types of regions."""
_BRUSH_CONTROL, _POLYGON_CONTROL = "label", "polygon"


def labeling_config(labels: LabelSet) -> str:
    """The labeling interface: a brush and a polygon for every class."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name=IMAGE, value=f"${IMAGE}", zoom="true", zoomControl="true")
    for tag, control in (("BrushLabels", _BRUSH_CONTROL), ("PolygonLabels", _POLYGON_CONTROL)):
        ElementTree.SubElement(view, "Header", value={"BrushLabels": "Brush", "PolygonLabels": "Polygon"}[tag])
        choices = ElementTree.SubElement(view, tag, name=control, toName=IMAGE)
        for name, color in zip(labels.names, class_colors(labels), strict=True):
            ElementTree.SubElement(choices, "Label", value=name, background="#{:02x}{:02x}{:02x}".format(*color))
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
    entry: dict[str, Any] = {"data": {IMAGE: url, FRAME: name}}
    if ids is not None:
        entry["predictions"] = [{"model_version": model, "result": _results(name, ids, labels)}]
    return entry


def _results(name: str, ids: NDArray[np.uint8], labels: LabelSet) -> list[dict[str, Any]]:
    height, width = ids.shape
    return [
        {
            "id": f"{name}-{number}",
            "type": BRUSH,
            "from_name": _BRUSH_CONTROL,
            "to_name": IMAGE,
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {"format": "rle", "rle": encode_brush(ids == number), BRUSH: [class_name]},
        }
        for number, class_name in enumerate(labels.names)
        if (ids == number).any()
    ]
