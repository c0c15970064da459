"""An index that hides every kind of trouble, and one that hides none."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from rich.console import Console
from support.published import random_color, read, write
from support.rooms import RECIPE, SIZE, write_rooms

from m3l_core.datasets.folder import parse_index
from m3l_core.errors import DatasetError
from m3l_core.inspection.inspection import inspect_index, load_task
from m3l_core.inspection.report import tables
from m3l_core.inspection.sample_sheet import CAPTION, CELL, draw_sheet
from m3l_core.inspection.tally import Distances, Task
from m3l_core.labels import LabelSet
from m3l_core.modalities import ColorModality, DepthModality, HeightModality
from m3l_core.overlay import class_legend
from m3l_core.trainer.recipe import Recipe

LABELS = LabelSet.model_validate(RECIPE["labels"])
TASK = Task(labels=LABELS)
ROW = CELL[0] + CAPTION


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    return write_rooms(tmp_path / "rooms", train=4, validation=1)


def change(index: Path, number: int, **fields: Any) -> None:
    """Set fields of an entry; None removes the label."""
    entries = json.loads(index.read_text())
    entries[number] |= fields
    index.write_text(json.dumps(entries))


def as_text(report: dict[str, Any]) -> str:
    console = Console(width=200, file=StringIO())
    with console.capture() as captured:
        console.print(*tables(report))
    return captured.get()


def test_a_good_index_has_no_problem_and_its_figures_are_right(rooms: Path) -> None:
    report = inspect_index(rooms / "train.json", TASK)
    assert report["problems"] == {}
    assert report["remarks"] == []
    assert (report["frames"], report["labelled"], report["recordings"]) == (4, 4, 2)
    assert report["sizes"] == {f"{SIZE[0]}x{SIZE[1]}": 4}
    pixels = np.concatenate([read_label(rooms, number) for number in range(4)])
    labelled = pixels[pixels != 255]
    assert report["unlabelled_share"] == pytest.approx((pixels == 255).mean(), abs=1e-6)
    for number, entry in enumerate(report["classes"]):
        assert entry["name"] == LABELS.names[number]
        assert entry["pixel_share"] == pytest.approx((labelled == number).mean(), abs=1e-6)
        assert entry["frames"] == 4
    assert json.loads(json.dumps(report)) == report


def read_label(rooms: Path, number: int) -> NDArray[np.uint8]:
    return read(rooms / f"label/train_{number}.png")


def test_several_processes_count_the_same(rooms: Path) -> None:
    index = rooms / "train.json"
    entries = json.loads(index.read_text()) * 20  # more than one chunk
    index.write_text(json.dumps(entries))
    done: list[int] = []
    one, two = inspect_index(index, TASK, 1), inspect_index(index, TASK, 2, done.append)
    assert one == two
    assert sum(done) == one["frames"] == 80


def test_everything_that_would_stop_a_training_is_told_at_once(rooms: Path) -> None:
    index = rooms / "train.json"
    (rooms / "color/train_0.jpg").unlink()
    (rooms / "depth/train_1.png").write_bytes(b"no png")
    write(rooms / "depth/train_2.png", np.ones((5, 6), np.uint16))
    write(rooms / "label/train_3.png", np.full(SIZE, 3, np.uint8))
    report = inspect_index(index, TASK)
    assert set(report["problems"]) == {"missing files", "unreadable files", "sizes differ", "labels without a class"}
    assert report["problems"]["missing files"] == [str(rooms / "color/train_0.jpg")]
    assert "train_1.png: expected a depth image, found no image" in report["problems"]["unreadable files"][0]
    assert "train_2.png 5x6" in report["problems"]["sizes differ"][0]
    assert report["problems"]["labels without a class"][0].endswith("train_3.png has 3; there are 3 classes")
    text = as_text(report)
    for kind in report["problems"]:
        assert kind in text


def test_without_classes_any_label_goes(rooms: Path) -> None:
    write(rooms / "label/train_3.png", np.full(SIZE, 77, np.uint8))
    report = inspect_index(rooms / "train.json", Task())
    assert report["problems"] == {}
    assert [entry["name"] for entry in report["classes"]] == ["0", "1", "2", "77"]


def test_what_a_training_would_suffer_from_is_remarked(rooms: Path) -> None:
    index = rooms / "train.json"
    change(index, 0, label=None)
    change(index, 1, depth=None)
    write(rooms / "depth/train_2.png", np.zeros(SIZE, np.uint16))
    for number in (1, 2, 3):
        write(rooms / f"label/train_{number}.png", np.ones(SIZE, np.uint8))
    report = inspect_index(index, TASK)
    assert report["problems"] == {}
    assert report["missing"] == {"color": 0, "depth": 1}
    assert (report["labelled"], report["distances"]["depth"]["frames"]) == (3, 3)
    assert report["remarks"] == [
        "frames without depth: 1",
        "frames without a label: 1",
        "classes that are never seen: floor, chair",
        "frames without a valid pixel in depth: 1",
    ]
    assert "never seen: floor, chair" in as_text(report)


def test_depth_in_another_unit_is_noticed(rooms: Path) -> None:
    for number in range(4):
        write(rooms / f"depth/train_{number}.png", np.full(SIZE, 3, np.uint16))  # metres, where millimetres belong
    (remark,) = inspect_index(rooms / "train.json", TASK)["remarks"]
    assert remark == "the median of depth is 0 m, outside 0.3 to 8 m: is its unit right?"


def test_heights_are_counted_above_the_lowest(tmp_path: Path) -> None:
    height = np.array([[240.0, 241.0, np.nan, 290.0]], np.float32)
    write(tmp_path / "color.png", random_color(0, (1, 4)))
    write(tmp_path / "height.tif", height)
    (tmp_path / "index.json").write_text(
        json.dumps([{"color": "color.png", "height": "height.tif", "recording": "city"}])
    )
    task = Task(modalities=(ColorModality(), HeightModality(max_m=40.0)))
    report = inspect_index(tmp_path / "index.json", task)
    assert report["distances"]["height"] == {
        "frames": 1,
        "empty_frames": 0,
        "invalid_share": 0.25,
        "nearer_share": 0.0,
        "farther_share": pytest.approx(1 / 3, abs=1e-6),
        "percentiles_m": {"1": 0.0, "5": 0.0, "50": 1.0, "95": 50.0, "99": 50.0},
    }
    assert report["remarks"] == ["frames without a label: 1"]


@settings(deadline=None)
@given(
    st.lists(arrays.arrays(np.uint16, arrays.array_shapes(min_dims=2, max_dims=2, max_side=6)), min_size=1, max_size=4),
    st.integers(1, 100),
)
def test_percentiles_and_shares_are_those_of_all_pixels(images: list[NDArray[np.uint16]], percent: int) -> None:
    total, modality = Distances(), DepthModality()
    for image in images:
        part = Distances()
        part.add(modality, image)
        total.merge(part)
    everything = np.concatenate([image.ravel() for image in images])
    valid = np.sort(everything[everything > 0].astype(np.float64)) / 1000
    assert (total.pixels, total.valid) == (everything.size, valid.size)
    assert total.nearer == (np.float32(valid) < 0.3).sum()
    assert total.farther == (np.float32(valid) > 8.0).sum()
    assert total.empty_frames == sum(not image.any() for image in images)
    if not valid.size:
        assert total.percentile(percent) is None
        return
    exact = valid[int(np.ceil(percent / 100 * valid.size)) - 1]
    assert total.percentile(percent) == pytest.approx(exact, abs=0.0101)


def test_the_ends_of_the_range_belong_to_it() -> None:
    total = Distances()
    total.add(DepthModality(near_m=0.5, far_m=8.0), np.array([[0.499, 0.5, 8.0, 8.001]], np.float32))
    assert (total.nearer, total.farther) == (1, 1)


def test_distances_that_may_be_anything_are_counted() -> None:
    total = Distances()
    image = np.array([[np.nan, np.inf, -1.0, 1e30, 2.0]], np.float32)
    total.add(DepthModality(), image)
    total.add(HeightModality(), image)
    assert total.histogram.sum() == total.valid == 5
    assert total.percentile(99) == 655.35


def test_labels_yaml_and_a_recipes_sections_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "labels.yaml"
    path.write_text(yaml.safe_dump({"source": {"dataset": "x"}, "labels": RECIPE["labels"]}))
    task = load_task(path, Recipe.model_fields)
    assert task.labels == LABELS
    assert [modality.name for modality in task.modalities] == ["color", "depth"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        *((text, "cannot be read for") for text in ("{", "3", "labels: {classes: []}", "modalities: [{kind: sonar}]")),
        ("input_height: 240", "has neither modalities nor labels"),
        ("{modalites: [{kind: depth}], modalities: [{kind: color}]}", "has modalites, which no recipe has"),
    ],
)
def test_a_labels_yaml_that_is_none_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "labels.yaml").write_text(content)
    with pytest.raises(DatasetError, match=rf"labels\.yaml {reason}"):
        load_task(tmp_path / "labels.yaml", Recipe.model_fields)


def test_an_index_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read as an index"):
        inspect_index(tmp_path / "none.json", TASK)


def cells(sheet: np.ndarray) -> list[list[np.ndarray]]:
    """The pictures of a sheet, row by row."""
    tops = range(CAPTION, len(sheet) - CELL[0] + 1, ROW)
    lefts = range(0, sheet.shape[1], CELL[1])
    return [[sheet[top : top + CELL[0], left : left + CELL[1]] for left in lefts] for top in tops]


def test_the_sheet_shows_color_depth_and_labels_side_by_side(rooms: Path) -> None:
    samples = parse_index(rooms / "train.json")
    sheet = draw_sheet(samples, TASK.modalities, LABELS)
    legend = class_legend(LABELS, 3 * CELL[1])
    assert sheet.shape == (CAPTION + 4 * ROW + len(legend), 3 * CELL[1], 3)
    assert sheet.dtype == np.uint8
    assert len(draw_sheet(samples, TASK.modalities, LABELS, rows=2)) == CAPTION + 2 * ROW + len(legend)
    np.testing.assert_array_equal(sheet[-len(legend) :], legend)
    for captioned in (sheet[:CAPTION], sheet[CAPTION + CELL[0] : CAPTION + ROW]):
        assert captioned[:, : CELL[1]].max() > 200, "the name of the column, of the frame"
    color, depth, label = (cells(sheet)[0][column] for column in range(3))
    shown = color.any(axis=-1)
    assert shown.mean() > 0.8
    assert (depth[shown] == 0).all(axis=-1).any(), "holes are black"
    # The label takes the color of the classes, mixed with what lies below.
    assert abs(label[shown].astype(int) - color[shown]).mean() > 5


def test_the_sheet_says_what_is_missing_or_broken(rooms: Path) -> None:
    index = rooms / "train.json"
    change(index, 0, depth=None, label=None)
    (rooms / "color/train_1.jpg").write_bytes(b"broken")
    sheet = draw_sheet(parse_index(index), TASK.modalities, None)
    found = [[bool((cell == 90).all(axis=-1).mean() > 0.8) for cell in row] for row in cells(sheet)]
    assert found == [[False, True, True], [True, False, False], [False] * 3, [False] * 3]


def test_heights_are_drawn(tmp_path: Path) -> None:
    write(tmp_path / "height.tif", np.array([[0.0, 40.0], [np.nan, 20.0]], np.float32))
    (tmp_path / "index.json").write_text(json.dumps([{"height": "height.tif", "recording": "city"}]))
    sheet = draw_sheet(parse_index(tmp_path / "index.json", ["height"]), (HeightModality(),), None)
    ((shown, _),) = cells(sheet)
    half = CELL[0] // 2
    low, high, hole = (
        shown[half // 2, half // 2],
        shown[half // 2, half + half // 2],
        shown[half + half // 2, half // 2],
    )
    assert low[2] > low[0]
    assert high[0] > high[2]
    assert not hole.any()
