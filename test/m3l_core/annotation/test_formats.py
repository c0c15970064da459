"""Every format gives the masks back that went into it, from a folder, an archive and, where there is one, a file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.annotations import LABELS, MASKS, Mask, read_all, unzip, write_files, write_zip

from m3l_core.annotation.coco import CocoWriter
from m3l_core.annotation.cvat_masks import CvatMaskWriter
from m3l_core.annotation.label_studio import task
from m3l_core.annotation.mask_images import class_colors, encode_mask
from m3l_core.errors import DatasetError
from m3l_core.labels import IGNORE, LabelSet

Files = dict[str, bytes | str]


def cvat_masks(masks: Mapping[str, Mask]) -> Files:
    with tempfile.TemporaryDirectory() as folder:
        with CvatMaskWriter(Path(folder) / "masks.zip", LABELS) as writer:
            for name, ids in masks.items():
                writer.add(name, ids)
        return {**unzip(Path(folder) / "masks.zip")}


def cvat_images(masks: Mapping[str, Mask]) -> Files:
    """As CVAT writes brushed masks: run lengths along the rows of each region's box."""
    images = []
    for name, ids in masks.items():
        shapes = []
        for number in np.unique(ids[ids != IGNORE]):
            rows, columns = np.nonzero(ids == number)
            top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
            runs, inside = [0], False
            for pixel in (ids[top:bottom, left:right] == number).ravel().tolist():
                if pixel != inside:
                    runs.append(0)
                    inside = pixel
                runs[-1] += 1
            shapes.append(
                f'<mask label="{LABELS.names[number]}" source="manual" occluded="0" rle="{", ".join(map(str, runs))}" '
                f'left="{left}" top="{top}" width="{right - left}" height="{bottom - top}" z_order="0"></mask>'
            )
        size = f'width="{ids.shape[1]}" height="{ids.shape[0]}"'
        images.append(f'<image id="{len(images)}" name="{name}.jpg" {size}>{"".join(shapes)}</image>')
    names = "".join(f"<label><name>{name}</name><type>any</type></label>" for name in LABELS.names)
    meta = f"<meta><task><labels>{names}</labels></task></meta>"
    return {"annotations.xml": f"<annotations><version>1.1</version>{meta}{''.join(images)}</annotations>"}


def coco(masks: Mapping[str, Mask]) -> Files:
    writer = CocoWriter(LABELS)
    for name, ids in masks.items():
        writer.add(f"{name}.jpg", ids)
    return {"annotations/instances_default.json": json.dumps(writer.document)}


def label_studio(masks: Mapping[str, Mask]) -> Files:
    """Predictions that an annotator accepted as they are."""
    tasks = [task(name, f"/data/{name}.jpg", ids, LABELS) for name, ids in masks.items()]
    for each in tasks:
        each["annotations"] = each.pop("predictions")
    return {"project-1.json": json.dumps(tasks)}


def indexed_masks(masks: Mapping[str, Mask]) -> Files:
    return {f"masks/{name}.png": encode_mask(ids, LABELS) for name, ids in masks.items()}


def gray_masks(masks: Mapping[str, Mask]) -> Files:
    return {f"{name}.PNG": cv2.imencode(".png", ids)[1].tobytes() for name, ids in masks.items()}


def colored_masks(masks: Mapping[str, Mask]) -> Files:
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(LABELS)] = class_colors(LABELS)
    return {f"{name}.png": cv2.imencode(".png", palette[ids][..., ::-1])[1].tobytes() for name, ids in masks.items()}


FORMATS: dict[str, Callable[[Mapping[str, Mask]], Files]] = {
    function.__name__: function
    for function in (cvat_masks, cvat_images, coco, label_studio, indexed_masks, gray_masks, colored_masks)
}


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
@settings(deadline=None, max_examples=20)
@given(masks=st.dictionaries(st.sampled_from(["hall__1", "hall__2", "yard__1"]), MASKS, min_size=1))
def test_masks_come_back(write: Callable[[Mapping[str, Mask]], Files], masks: dict[str, Mask]) -> None:
    with tempfile.TemporaryDirectory() as place:
        files = write(masks)
        exports = [write_files(Path(place) / "export", files), write_zip(Path(place) / "export.zip", files)]
        if len(files) == 1:
            exports.append(exports[0] / next(iter(files)))
        for export in exports:
            found = read_all(export)
            if write is label_studio:  # a task in which nothing is drawn is not labelled
                masks = {name: ids for name, ids in masks.items() if (ids != IGNORE).any()}
            names = {name.rpartition("/")[2]: image for name, image in found.items()}
            assert set(names) == set(masks)
            for name, ids in masks.items():
                np.testing.assert_array_equal(names[name], ids, err_msg=str(export))


@pytest.mark.parametrize("name", ["wall: left", "#1"])
def test_a_class_that_the_label_map_would_lose_is_refused(tmp_path: Path, name: str) -> None:
    classes = [{"name": each, "color": (1, 2, 3)} for each in ("floor", name)]
    labels = LabelSet.model_validate({"classes": classes})
    with pytest.raises(DatasetError, match=f"cannot hold the class '{name}'"):
        CvatMaskWriter(tmp_path / "masks.zip", labels)
