"""Exports as the tools write them, and what is said of those that cannot be used."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZipFile

import cv2
import numpy as np
import pytest
from support.annotations import LABELS, Mask, read_all, write_files, write_zip

from m3l_core.annotation.brush_rle import encode_brush
from m3l_core.annotation.mask_images import encode_mask, voc_colors
from m3l_core.annotation.reading import read_export
from m3l_core.errors import DatasetError
from m3l_core.labels import LabelSet

FLOOR, WALL, CHAIR, LAMP = range(4)
WITH_BACKGROUND = LabelSet.model_validate(
    {"classes": [{"name": "background", "color": (0, 128, 0)}, {"name": "wall", "color": (9, 8, 7)}]}
)


def colored(ids: list[list[int]], *palette: tuple[int, int, int]) -> bytes:
    return cv2.imencode(".png", np.array(palette, np.uint8)[np.array(ids)][..., ::-1])[1].tobytes()


def gray(ids: list[list[int]]) -> bytes:
    return cv2.imencode(".png", np.array(ids, np.uint8))[1].tobytes()


def cvat(masks: dict[str, bytes], *lines: str) -> dict[str, bytes | str]:
    """With the colors that CVAT gave to the labels of a task of ours."""
    files = {f"SegmentationClass/{name}.png": content for name, content in masks.items()}
    return {"labelmap.txt": "\n".join(["# label:color_rgb:parts:actions", *lines]), **files}


def xml(shapes: str, labels: str = "", size: str = 'width="6" height="4"') -> dict[str, bytes | str]:
    image = f'<image id="0" name="hall__1.jpg" {size}>{shapes}</image>'
    return {"annotations.xml": f"<annotations><meta><job><labels>{labels}</labels></job></meta>{image}</annotations>"}


def coco(*annotations: dict[str, Any], **other: Any) -> dict[str, bytes | str]:
    document = {
        "images": [{"id": 7, "file_name": "hall__1.jpg", "width": 6, "height": 4}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(LABELS.names)],
        "annotations": [{"id": 1, "image_id": 7, "category_id": WALL, "iscrowd": 0} | each for each in annotations],
    }
    return {"coco.json": json.dumps(document | other)}


def brush(mask: Mask, name: str = "wall", **other: Any) -> dict[str, Any]:
    height, width = mask.shape
    value = {"format": "rle", "rle": encode_brush(mask > 0), "brushlabels": [name]}
    size = {"original_width": width, "original_height": height, "image_rotation": 0}
    return {"type": "brushlabels", "id": "x", "from_name": "label", "to_name": "image", "value": value} | size | other


def tasks(*results: dict[str, Any], data: dict[str, Any] | None = None, **other: Any) -> dict[str, bytes | str]:
    annotation = {"id": 1, "completed_by": 1, "result": list(results)} | other
    data = {"image": "/data/upload/3/0f1e2d3c-hall__1.jpg"} if data is None else data
    return {"project.json": json.dumps([{"id": 1, "data": data, "annotations": [annotation]}])}


def test_cvat_masks_have_the_colors_of_the_label_map(tmp_path: Path) -> None:
    mask = colored([[0, 1], [2, 3]], (0, 0, 0), (250, 50, 83), (51, 221, 255), (1, 1, 1))
    lines = ("background:0,0,0::", "wall:250,50,83::", "arm chair:51,221,255::", "unused:5,5,5::", "floor:1,1,1::")
    found = read_all(write_zip(tmp_path / "cvat.zip", cvat({"sub/hall__1": mask}, *lines)))
    assert found["sub/hall__1"].tolist() == [[255, WALL], [CHAIR, FLOOR]]


def test_gray_values_count_the_lines_of_the_label_map(tmp_path: Path) -> None:
    files = cvat({"a": gray([[0, 1, 3]])}, "background:0,0,0::", "wall:2,2,2::", "_dummy:3,3,3::", "lamp:4,4,4::")
    assert read_all(write_files(tmp_path, files))["a"].tolist() == [[255, WALL, LAMP]]


def test_a_class_may_be_called_background(tmp_path: Path) -> None:
    mask = colored([[0, 1, 2]], (0, 0, 0), (0, 128, 0), (9, 8, 7))
    folder = write_files(tmp_path, cvat({"a": mask}, "background:0,128,0::", "wall:9,8,7::"))
    assert read_all(folder, WITH_BACKGROUND)["a"].tolist() == [[255, 0, 1]]


def test_what_the_annotators_could_choose_is_told(tmp_path: Path) -> None:
    exports = {
        "masks": cvat({"a": gray([[0]])}, "background:0,0,0::", "wall:2,2,2::"),
        "xml": xml("", "<label><name>wall</name></label>"),
        "coco": coco(categories=[{"id": 1, "name": "wall"}]),
    }
    for name, files in exports.items():
        with read_export(write_files(tmp_path / name, files), LABELS) as annotations:
            assert annotations.classes == ("wall",)


def test_polygons_and_masks_of_cvat_lie_over_each_other_in_their_z_order(tmp_path: Path) -> None:
    shapes = (
        '<mask label="lamp" rle="1, 2, 1" left="2" top="1" width="2" height="2" z_order="1"></mask>'
        '<polygon label="wall" points="0.0,0.0;6.0,0.0;6.0,4.0;0.0,4.0" z_order="0"><attribute name="a">1</attribute>'
        '</polygon><tag label="done"></tag>'
    )
    ids = read_all(write_files(tmp_path, xml(shapes)))["hall__1"]
    expected = np.full((4, 6), WALL)
    expected[1, 3] = expected[2, 2] = LAMP
    assert ids.tolist() == expected.tolist()


def test_coco_draws_polygons_and_run_lengths_in_their_order(tmp_path: Path) -> None:
    below = {"segmentation": [[0, 0, 3, 0, 3, 4, 0, 4], [5, 0, 6, 0, 6, 1, 5, 1]]}
    above = {"category_id": LAMP, "iscrowd": 1, "segmentation": {"size": [4, 6], "counts": [0, 2, 22]}}
    ids = read_all(write_files(tmp_path, coco(below, above)))["hall__1"]
    assert ids[:, 0].tolist() == [LAMP, LAMP, WALL, WALL]
    assert ids[0].tolist() == [LAMP, WALL, WALL, 255, 255, WALL]


def test_label_studio_counts_what_was_submitted(tmp_path: Path) -> None:
    mask = np.eye(3, 5, dtype=np.uint8)
    result = (brush(mask), brush(mask[::-1], "lamp"), {"type": "choices", "value": {"choices": ["easy"]}})
    found = read_all(write_files(tmp_path / "a", tasks(*result)))
    ids = found["/data/upload/3/0f1e2d3c-hall__1"]
    assert ids.tolist() == [[WALL, 255, LAMP, 255, 255], [255, LAMP, 255, 255, 255], [LAMP, 255, WALL, 255, 255]]
    assert read_all(write_files(tmp_path / "b", tasks(*result, was_cancelled=True))) == {}
    assert read_all(write_files(tmp_path / "box", tasks({"type": "rectanglelabels"}, was_cancelled=True))) == {}
    assert [*read_all(write_files(tmp_path / "c", tasks(*result, data={"image": "x", "frame": "yard__7"})))] == [
        "yard__7"
    ]
    served = tasks(*result, data={"image": "/data/local-files/?d=hall/color/a%20b.jpg"})
    assert [*read_all(write_files(tmp_path / "d", served))] == ["hall/color/a b"]


def test_the_order_of_a_palette_may_not_be_mistaken(tmp_path: Path) -> None:
    ids = np.array([[0, 1, 2, 255]], np.uint8)
    content = encode_mask(ids, LABELS)
    start = content.index(b"PLTE") + 4
    first, second = content[start : start + 3], content[start + 3 : start + 6]
    write_files(tmp_path, {"a.png": content.replace(first + second, second + first)})
    with pytest.raises(DatasetError, match="colors of other classes than its indexes say"):
        read_all(tmp_path)
    # With colors that are not ours at all, the indexes are ids.
    palette = voc_colors()
    palette[0] = (7, 7, 7)
    write_files(tmp_path, {"a.png": content[:start] + palette.tobytes() + content[start + 768 :]})
    assert read_all(tmp_path)["a"].tolist() == ids.tolist()


def test_what_lies_beside_the_annotations_does_not_matter(tmp_path: Path) -> None:
    files = coco({"segmentation": [[0, 0, 6, 0, 6, 4, 0, 4]]})
    extra = {"images/hall__1.png": gray([[9]]), "__MACOSX/._coco.json": b"\0", ".hidden/x.xml": "<a/>"}
    assert [*read_all(write_zip(tmp_path / "x.ZIP", files | extra))] == ["hall__1"]


BOX = '<box label="wall" xtl="0" ytl="0" xbr="2" ybr="2" z_order="0"></box>'
MASK = '<mask label="wall" rle="{}" left="{}" top="0" width="2" height="2"></mask>'
WHOLE = np.ones((2, 2), np.uint8)
BROKEN: dict[str, tuple[dict[str, bytes | str], str]] = {
    "nothing": ({"readme.txt": "hello"}, "holds no annotations: expected an export of CVAT"),
    "our own package": ({"selection.json": "{}", "a.png": gray([[0]])}, "is what training/select_frames.py wrote"),
    "text that is not JSON": ({"a.json": "{"}, "a.json is not JSON"),
    "an unknown id": (
        {"a.png": gray([[0, 4]])},
        "has the class id 4, but there are 4 classes: expected 0 to 3, and 255",
    ),
    "an unknown color": ({"a.png": colored([[0]], (7, 7, 7))}, "color (7, 7, 7), which is no class's"),
    "a jpeg called png": ({"a.png": cv2.imencode(".jpg", WHOLE)[1].tobytes()}, "is not a png image"),
    "no label map": ({"SegmentationClass/a.png": gray([[0]])}, "0 files labelmap.txt: expected one"),
    "a label map of another kind": (cvat({"a": gray([[0]])}, "wall 1 2 3"), "expected lines NAME:RED,GREEN,BLUE::"),
    "a color twice": (cvat({"a": gray([[0]])}, "wall:1,1,1::", "lamp:1,1,1::"), "gives the color 1,1,1 to two"),
    "too few lines": (cvat({"a": gray([[3]])}, "background:0,0,0::"), "has the value 3, but labelmap.txt has 1 lines"),
    "a class that is not ours": (
        cvat({"a": colored([[0]], (1, 1, 1))}, "sofa:1,1,1::"),
        "uses the class 'sofa', expected one of floor, wall, arm chair, lamp",
    ),
    "no XML": ({"a.xml": "<annotations"}, "a.xml is not XML"),
    "other XML": ({"a.xml": "<annotation/>"}, "begins with <annotation>, expected CVAT's <annotations>"),
    "a video": ({"a.xml": '<annotations><track id="0"/></annotations>'}, "has the tracks of a video"),
    "a box": (xml(BOX), "has a box (wall), expected polygons and masks"),
    "a mask that is too short": (xml(MASK.format("1, 2", 0)), "has 3 pixels in a box of 2x2 at 0, 0"),
    "a mask outside": (xml(MASK.format("0, 4", 5)), "does not fit the image of 6x4"),
    "an image without a size": (xml("", size=""), "lacks an attribute"),
    "half a corner": (
        xml('<polygon label="wall" points="1,2,3;2,4"/>'),
        "a polygon of wall: a segmentation is neither",
    ),
    "a polygon of words": (xml('<polygon label="wall" points="a,b"/>'), "that is no number"),
    "a box in COCO": (coco({"segmentation": []}), "annotation 1 (wall) is a box without a segmentation"),
    "run lengths of another size": (
        coco({"segmentation": {"size": [6, 4], "counts": [24]}}),
        "hall__1.jpg: annotation 1: a segmentation is neither",
    ),
    "run lengths beyond all numbers": (
        coco({"segmentation": {"size": [4, 6], "counts": [10**30, 24 - 10**30]}}),
        "hall__1.jpg: annotation 1: a segmentation is neither",
    ),
    "an image beyond all memory": (
        coco(images=[{"id": 7, "file_name": "hall__1.jpg", "width": 10**6, "height": 10**7}]),
        "hall__1.jpg is said to have 1000000x10000000 pixels",
    ),
    "an image that is not listed": (coco({"image_id": 8}), "annotation 1 is of image 8 and category 1, which are not"),
    "a category twice": (
        coco(categories=[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]),
        "category id 1 is there twice",
    ),
    "no COCO document": (coco(images=[{"id": 1}]), "is not a COCO document"),
    "the short JSON": ({"a.json": '[{"image": "x.jpg"}]'}, 'is no list of tasks with annotations, export it as "JSON"'),
    "a rectangle": (tasks({"type": "rectanglelabels"}), "region of type rectanglelabels, expected brushlabels"),
    "a rotated image": (tasks(brush(WHOLE, image_rotation=90)), "of a rotated one"),
    "two sizes": (tasks(brush(WHOLE), brush(WHOLE[:1])), "images of different sizes"),
    "broken run lengths": (tasks(brush(WHOLE, original_width=9)), "a region of wall: they are of 16 words"),
    "a region without a class": (tasks(brush(WHOLE) | {"value": {"format": "rle", "rle": []}}), "one class, it has []"),
    "a region without a size": (
        tasks(brush(WHOLE, original_width=0)),
        "a region of type brushlabels cannot be understood: original_width: ",
    ),
    "a task without an image": (
        tasks(brush(WHOLE), data={"text": "x"}),
        "names its image neither in 'frame' nor in 'image', it has text",
    ),
    "an image that is a number": (tasks(brush(WHOLE), data={"image": 5}), "names its image neither in 'frame'"),
}


@pytest.mark.parametrize(("files", "reason"), BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_used_is_told(tmp_path: Path, files: dict[str, bytes | str], reason: str) -> None:
    with pytest.raises(DatasetError) as failure:
        read_all(write_files(tmp_path / "export", files))
    assert reason in str(failure.value)


def test_every_region_that_cannot_be_drawn_is_told(tmp_path: Path) -> None:
    good = '<polygon label="wall" points="0,0;6,0;6,4;0,4" z_order="0"/>'
    bad = BOX + good + MASK.format("1, 2", 0) + '<polygon label="sofa" points="0,0;6,0;6,4"/>'
    boxes = [{"id": number, "segmentation": []} for number in (3, 4)]
    strays = [{"id": number, "image_id": 8} for number in (5, 6)]
    exports = (
        (xml(bad), ["has a box (wall)", "has 3 pixels in a box of 2x2", "uses the class 'sofa'"]),
        (coco(*boxes), ["annotation 3 (wall) is a box", "annotation 4 (wall) is a box"]),
        (coco(*strays), ["annotation 5 is of image 8", "annotation 6 is of image 8"]),
        (
            tasks({"type": "rectanglelabels"}, brush(WHOLE), {"type": "ellipselabels"}),
            ["region of type rectanglelabels", "region of type ellipselabels"],
        ),
        (tasks(brush(WHOLE, "sofa"), brush(WHOLE, "rug")), ["uses the class 'sofa'", "uses the class 'rug'"]),
    )
    for number, (files, reasons) in enumerate(exports):
        with pytest.raises(DatasetError) as failure:
            read_all(write_files(tmp_path / str(number), files))
        told = str(failure.value).splitlines()
        assert len(told) == len(reasons)
        assert all(reason in line for reason, line in zip(reasons, told, strict=True))


def test_an_image_that_cannot_be_read_keeps_no_other_back(tmp_path: Path) -> None:
    image = '<image id="{}" name="{}" width="{}" height="4"></image>'
    several = "".join(
        image.format(number, f"{number}.jpg", width) for number, width in enumerate(("6", "x", "-1", "6"))
    )
    whole = json.loads(str(tasks(brush(WHOLE))["project.json"]))
    nameless = [whole[0] | {"data": {"text": "x"}}] * 2
    mask = gray([[0]])
    exports: tuple[dict[str, bytes | str], ...] = (
        {"annotations.xml": f"<annotations>{several}</annotations>"},
        {"project.json": json.dumps(whole + nameless + whole)},
        {"a.png": mask, "b.png": b"none", "c.png": b"", "d.png": mask},
        cvat({"a": mask, "b": b"none", "c": b"", "d": mask}, "wall:0,0,0::"),
    )
    for number, files in enumerate(exports):
        with read_export(write_files(tmp_path / str(number), files), LABELS) as annotations:
            found = list(annotations.images)
        assert [isinstance(image, DatasetError) for image in found] == [False, True, True, False]


def test_what_unpacks_to_more_than_it_should_is_not_unpacked(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "bomb.zip", "w", ZIP_DEFLATED) as archive, archive.open("coco.json", "w") as file:
        for _ in range(300):
            file.write(b" " * (1 << 20))
    assert (tmp_path / "bomb.zip").stat().st_size < 1_000_000
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match=r"bomb.zip: coco.json has 314572800 bytes, expected 268435456 at most"):
            read_all(tmp_path / "bomb.zip")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [ZIP_DEFLATED, ZIP_BZIP2, ZIP_LZMA])
def test_a_damaged_file_in_an_archive_is_told(tmp_path: Path, method: int) -> None:
    with ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("a.json", bytes(range(256)) * 9)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    for place in range(36, 60):
        damaged = content.copy()
        damaged[place] ^= 0xFF
        (tmp_path / "b.zip").write_bytes(damaged)
        with pytest.raises(DatasetError, match=r"a\.json"):
            read_all(tmp_path / "b.zip")


def test_a_document_that_defines_entities_is_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]><annotations>&c;</annotations>'
    with pytest.raises(DatasetError, match=r"a\.xml defines entities"):
        read_all(write_files(tmp_path, {"a.xml": bomb}))


def test_a_damaged_archive_and_no_file_at_all_are_told(tmp_path: Path) -> None:
    whole = write_zip(tmp_path / "whole.zip", {"a.png": gray([[0] * 99])}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:-30])
    with pytest.raises(DatasetError, match=r"cut\.zip is no zip archive: export it again"):
        read_all(tmp_path / "cut.zip")
    (tmp_path / "bad.zip").write_bytes(whole[:80] + bytes([whole[80] ^ 1]) + whole[81:])
    with pytest.raises(DatasetError, match=r"bad\.zip: a\.png cannot be read"):
        read_all(tmp_path / "bad.zip")
    with pytest.raises(DatasetError, match=r"none\.json is not there"):
        read_all(tmp_path / "none.json")
