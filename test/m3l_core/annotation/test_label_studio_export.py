"""What annotators did in Label Studio: regions of both kinds, and which of several annotations counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.annotations import LABELS, Mask, polygon_pixels, write_files

from m3l_core.annotation.annotated import AnnotatedImage, Work
from m3l_core.annotation.brush_rle import encode_brush
from m3l_core.annotation.reading import read_export
from m3l_core.errors import DatasetError
from m3l_core.labels import IGNORE

SIZE = (40, 60)
WALL, LAMP = 1, 3
TRIANGLE = [[10.0, 12.5], [81.3, 20.1], [33.4, 90.2]]


def region(kind: str, value: dict[str, Any], name: str) -> dict[str, Any]:
    size = {"original_width": SIZE[1], "original_height": SIZE[0], "image_rotation": 0}
    return {"type": kind, "id": "x", "to_name": "image", "value": value | {kind: [name]}} | size


def brush(mask: Mask, name: str) -> dict[str, Any]:
    return region("brushlabels", {"format": "rle", "rle": encode_brush(mask > 0)}, name)


def polygon(points: list[list[float]], name: str, **other: Any) -> dict[str, Any]:
    return region("polygonlabels", {"points": points, "closed": True} | other, name)


def annotation(number: int, *results: dict[str, Any], who: Any = 1, date: str = "", **other: Any) -> dict[str, Any]:
    told = {"completed_by": who, "created_at": date or f"2026-11-0{number}T10:00:00Z"}
    return {"id": number, "result": list(results), "updated_at": None} | told | other


def task(*annotations: dict[str, Any], name: str = "hall__1", **other: Any) -> dict[str, Any]:
    return {"id": 6, "data": {"image": "x.jpg", "frame": name}, "annotations": list(annotations), "drafts": []} | other


def square(top: int) -> Mask:
    mask = np.zeros(SIZE, np.uint8)
    mask[top : top + 20, 10:30] = 1
    return mask


def read(folder: Path, *tasks: dict[str, Any], annotator: str | None = None) -> dict[str, Mask]:
    write_files(folder, {"project.json": json.dumps(tasks)})
    with read_export(folder, LABELS, annotator) as annotations:
        images = list(annotations.images)
    assert all(isinstance(image, AnnotatedImage) for image in images), images
    return {image.name: image.draw() for image in images if isinstance(image, AnnotatedImage)}


def test_polygons_lie_among_brushed_regions_in_their_order(tmp_path: Path) -> None:
    drawn = annotation(1, brush(square(5), "wall"), polygon(TRIANGLE, "lamp"), brush(square(0)[::-1], "wall"))
    expected = np.full(SIZE, IGNORE, np.uint8)
    expected[square(5) > 0] = WALL
    expected[polygon_pixels([(x * 0.6, y * 0.4) for x, y in TRIANGLE], SIZE)] = LAMP
    expected[square(0)[::-1] > 0] = WALL
    np.testing.assert_array_equal(read(tmp_path, task(drawn))["hall__1"], expected)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (polygon(TRIANGLE, "lamp", closed=False), "a region of lamp: the polygon has no corners, or is not closed"),
        (region("polygonlabels", {}, "lamp"), "a region of lamp: the polygon has no corners, or is not closed"),
        (
            polygon([[1.0, float("nan")], [2.0, 3.0]], "lamp"),
            "a region of lamp: a segmentation is neither polygons nor",
        ),
        (polygon([[1.0, 2.0, 3.0]], "lamp"), "a region of type polygonlabels cannot be understood: value.points.0"),
        (polygon(TRIANGLE, "sofa"), "uses the class 'sofa'"),
        (region("ellipselabels", {}, "lamp"), "expected brushlabels or polygonlabels: draw it with the brush or as a"),
        (
            region("brushlabels", {"format": "png"}, "lamp"),
            "a region of lamp: expected run lengths, got the format png",
        ),
    ],
)
def test_a_region_that_cannot_be_drawn_is_told(tmp_path: Path, wrong: dict[str, Any], reason: str) -> None:
    write_files(tmp_path, {"project.json": json.dumps([task(annotation(1, wrong))])})
    with read_export(tmp_path, LABELS) as annotations, pytest.raises(DatasetError) as failure:
        for image in annotations.images:
            if isinstance(image, DatasetError):
                raise image
            image.draw()
    assert reason in str(failure.value) and "pydantic" not in str(failure.value)


ANA = {"id": 4, "email": "ana@lab.org", "first_name": "Ana", "last_name": "Ruiz"}


def test_the_starred_annotation_counts(tmp_path: Path) -> None:
    two = [annotation(1, brush(square(0), "wall"), ground_truth=True), annotation(2, brush(square(20), "wall"), who=4)]
    for number, tasks in enumerate((two, two[::-1])):
        for annotator in (None, "4"):  # a star is above a name
            found = read(tmp_path / f"{number}{annotator}", task(*tasks), annotator=annotator)
            np.testing.assert_array_equal(found["hall__1"] == WALL, square(0) > 0)
    erased = annotation(3, ground_truth=True)
    assert read(tmp_path / "erased", task(*two[1:], erased)) == {}


@pytest.mark.parametrize("annotator", ["4", "ana@lab.org", "Ana Ruiz"])
def test_else_the_newest_of_a_named_annotator_counts(tmp_path: Path, annotator: str) -> None:
    several = [
        annotation(1, brush(square(0), "wall"), who=ANA, date="2026-11-03T10:00:00Z"),
        annotation(
            2, brush(square(5), "wall"), who=ANA, date="2026-11-01T10:00:00Z", updated_at="2026-11-04T08:00:00Z"
        ),
        annotation(3, brush(square(10), "wall"), who=ANA, date="2026-11-02T10:00:00Z"),
        annotation(4, brush(square(20), "wall"), who=9, date="2026-11-09T10:00:00Z"),
        annotation(5, who=ANA, date="2026-11-08T10:00:00Z", was_cancelled=True),
    ]
    found = read(tmp_path, task(*several), annotator=annotator)
    np.testing.assert_array_equal(found["hall__1"] == WALL, square(5) > 0)
    # One annotation needs nobody's name.
    lone = read(tmp_path / "lone", task(annotation(1, brush(square(3), "lamp"), who=9)), annotator=annotator)
    np.testing.assert_array_equal(lone["hall__1"] == LAMP, square(3) > 0)


@pytest.mark.parametrize(("starred", "annotator"), [(False, None), (True, None), (False, "nobody")])
def test_else_both_are_told(tmp_path: Path, starred: bool, annotator: str | None) -> None:
    both = [
        annotation(12, brush(square(0), "wall"), who=ANA, date="2026-11-01T10:00:00Z", ground_truth=starred),
        annotation(15, brush(square(10), "wall"), who=9, date="2026-11-02T10:00:00Z", ground_truth=starred),
        annotation(16, was_cancelled=True),
        annotation(17),
    ]
    with pytest.raises(DatasetError) as failure:
        read(tmp_path, task(*both), annotator=annotator)
    assert str(failure.value) == (
        f"{tmp_path}: project.json: hall__1: task 6 has 2 annotations, {2 if starred else 'none'} of them starred: "
        "12 by ana@lab.org of 2026-11-01T10:00:00Z; 15 by 9 of 2026-11-02T10:00:00Z; they agree in 33.3% of the pixels "
        "that any of them labels. Star one in Label Studio, or say whose newest counts by --annotator"
    )


def test_an_empty_annotation_does_not_contradict_a_drawn_one(tmp_path: Path) -> None:
    found = read(tmp_path, task(annotation(1), annotation(2, brush(square(0), "wall"))))
    np.testing.assert_array_equal(found["hall__1"] == WALL, square(0) > 0)


def test_the_work_of_everybody_is_told(tmp_path: Path) -> None:
    draft = {"id": 3, "user": "ben@lab.org", "created_username": "ben@lab.org, 9", "updated_at": "2026-11-05T10:00:00Z"}
    tasks = [
        task(annotation(1, brush(square(0), "wall"), who=ANA), annotation(2, who=9), name="a"),
        task(annotation(3, was_cancelled=True), name="b"),
        task(name="c", drafts=[draft | {"result": [brush(square(0), "wall")]}]),
        task(name="d", drafts=[draft | {"result": []}]),
        task(name="e", drafts=[7]),
        {"id": 7},
    ]
    write_files(tmp_path, {"project.json": json.dumps(tasks)})
    with read_export(tmp_path, LABELS) as annotations:
        assert annotations.work is not None
        *work, unreadable = annotations.work
        assert isinstance(unreadable, DatasetError) and "no list of tasks with annotations" in str(unreadable)
        assert work == [
            Work("a", "labelled", "ana@lab.org", "2026-11-01T10:00:00Z"),
            Work("a", "empty", "ben@lab.org", "2026-11-02T10:00:00Z"),  # whose number the draft tells
            Work("b", "skipped", "1", "2026-11-03T10:00:00Z"),
            Work("c", "draft", "ben@lab.org", "2026-11-05T10:00:00Z"),
        ]
