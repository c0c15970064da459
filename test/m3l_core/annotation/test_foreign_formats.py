"""Exports that are not read are called by their names, with what to choose instead."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.annotations import LABELS, write_files, write_zip

from m3l_core.annotation.reading import read_export
from m3l_core.errors import DatasetError

PNG = cv2.imencode(".png", np.zeros((4, 6), np.uint8))[1].tobytes()
CVAT, LABEL_STUDIO = 'in CVAT, export the task as "Segmentation mask 1.1"', 'export the project as "JSON"'
COCO = {"images": [], "categories": [], "annotations": []}

# As CVAT, Label Studio and LabelMe lay them out.
EXPORTS: dict[str, tuple[dict[str, bytes | str], str, str]] = {
    "Cityscapes": (
        {f"gtFine/default/hall__1_gtFine_{kind}.png": PNG for kind in ("color", "instanceIds", "labelIds")},
        "Cityscapes",
        CVAT,
    ),
    "KITTI": (
        {"label_colors.txt": ""} | {f"default/{kind}/a.png": PNG for kind in ("instance", "semantic", "semantic_rgb")},
        "KITTI segmentation",
        CVAT,
    ),
    "CamVid": ({"label_colors.txt": "", "default.txt": "", "defaultannot/hall__1.png": PNG}, "CamVid", CVAT),
    "Open Images": ({"annotations/class-descriptions.csv": "", "masks/default/a.png": PNG}, "Open Images", CVAT),
    "LabelMe of CVAT": (
        {"Annotations/default/a.xml": "<annotation><filename>a.jpg</filename><object><polygon/></object></annotation>"},
        "LabelMe (XML)",
        CVAT,
    ),
    "LabelMe": (
        {"a.json": json.dumps({"version": "5.5", "shapes": [], "imagePath": "a.jpg", "imageData": None})},
        "LabelMe (JSON)",
        "convert it to COCO",
    ),
    "Pascal VOC": (
        {"Annotations/a.xml": '<?xml version="1.0"?>\n<annotation><filename>a</filename></annotation>'},
        "Pascal VOC boxes",
        CVAT,
    ),
    "Datumaro": (
        {"annotations/default.json": json.dumps({"info": {}, "categories": {}, "items": []})},
        "Datumaro",
        CVAT,
    ),
    "YOLO": ({"obj.names": "floor", "obj.data": "", "obj_train_data/a.txt": ""}, "YOLO", CVAT),
    "YOLO of Label Studio": (
        {"classes.txt": "floor", "labels/a.txt": "", "notes.json": '{"info": {"contributor": "Label Studio"}}'},
        "YOLO",
        LABEL_STUDIO,
    ),
    "Brush labels to COCO": (
        {"result_coco.json": json.dumps(COCO | {"info": {"contributor": "Label Studio Converter"}})},
        'Label Studio\'s "Brush labels to COCO", which is not read here, since it has the outlines of what was brushed',
        LABEL_STUDIO,
    ),
    "COCO of Label Studio": (
        {"result.json": json.dumps(COCO | {"info": {"contributor": "Label Studio"}})},
        'Label Studio\'s "COCO", which is not read here, since it leaves out what was brushed',
        LABEL_STUDIO,
    ),
    "Brush to PNG": ({"task-6-annotation-7-by-1-label-wall-0.png": PNG}, '"Brush labels to PNG"', LABEL_STUDIO),
    "Brush to NumPy": ({"task-6-annotation-7-by-a@b.org-label-wall-0.npy": b""}, '"NumPy"', LABEL_STUDIO),
    "JSON_MIN": (
        {"project.json": json.dumps([{"image": "a.jpg", "id": 1, "label": [], "annotator": 1, "annotation_id": 2}])},
        '"JSON_MIN"',
        LABEL_STUDIO,
    ),
    "CSV": ({"project.csv": "image,id\n"}, "a table (CSV or TSV)", LABEL_STUDIO),
}


@pytest.mark.parametrize(("files", "name", "instead"), EXPORTS.values(), ids=EXPORTS)
def test_it_is_named_with_what_to_export_instead(
    tmp_path: Path, files: dict[str, bytes | str], name: str, instead: str
) -> None:
    for export in (write_files(tmp_path / "export", files), write_zip(tmp_path / "export.zip", files)):
        with pytest.raises(DatasetError) as failure, read_export(export, LABELS):
            pass
        assert str(failure.value).startswith(f"{export} is an export as ")
        assert name in str(failure.value) and instead in str(failure.value)
