"""Labels of a large model in a bag: its ids and classes become ours, and it stays known whose they are."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from support.bags import LABEL, MS, SIZE, Recorded, compressed, frames, ids, image, label_info, png, stamps, write_bag

from m3l_core.annotation.frame_list import enter_labels
from m3l_core.datasets.folder import Teacher, read_image, read_index
from m3l_core.datasets.indexing import draw_validation, read_recordings, write_indexes
from m3l_core.errors import DatasetError, ImageMessageError
from m3l_core.extraction.extraction import Extraction, extract_bag
from m3l_core.extraction.frame_index import FrameIndex
from m3l_core.extraction.label_topic import LabelIds, LabelSource, write_label
from m3l_core.extraction.task import ExtractionSettings, prepare_extraction

INFO = "/label_info"
OURS = ("floor", "wall", "person")
TEACHERS = {1: "carpet", 2: "wall", 7: "man", 9: "tv"}
"""Ids of a model that begins at 1 and leaves some out; 0 is nothing to it."""
MAP = {"carpet": "floor", "wall": "wall", "man": "person", "woman": "person", "tv": None}
BECOMES = {0: 255, 1: 0, 2: 1, 7: 2, 9: 255, 255: 255}
SAM = Teacher("SAM 3", "SAM License")


def taught(number: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(number).choice(np.array([*BECOMES], np.uint8), size)


def ours(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    table = np.full(256, 255, np.uint8)
    table[[*BECOMES]] = [*BECOMES.values()]
    return table[labels]


def labels(count: int, encoding: str = "mono8") -> list[Recorded]:
    kinds = {"mono8": np.uint8, "16SC1": np.int16, "32SC1": np.int32}
    return [
        Recorded(LABEL, stamp + 70 * MS, image(taught(number).astype(kinds[encoding]), encoding, stamp))
        for number, stamp in enumerate(stamps(count))
    ]


def info(names: Mapping[int, str] = TEACHERS, before: int = 0, topic: str = INFO) -> Recorded:
    return Recorded(topic, stamps(before + 1)[before] + 60 * MS, label_info(names))


def extract(folder: Path, recorded: list[Recorded], name: str = "kitchen", **source: Any) -> Extraction:
    """Of a bag in ``folder`` into its folder ``data``."""
    bag = folder / name
    if not bag.exists():
        write_bag(bag, recorded)
    settings = ExtractionSettings(LabelSource(LABEL, **({"classes": OURS} | source)))
    return extract_bag(prepare_extraction(bag, folder / "data", {"color": None, "depth": None}, settings))


def label(folder: Path, number: int, name: str = "kitchen") -> NDArray[Any]:
    return read_image(folder / f"data/{name}/label/{stamps(number + 1)[number]}.png", "label")


@pytest.mark.parametrize("encoding", ["mono8", "16SC1", "32SC1"])
def test_a_teacher_s_ids_become_ours(tmp_path: Path, encoding: str) -> None:
    extraction = extract(tmp_path, [info(), *frames(3), *labels(3, encoding)], class_map=MAP, nothing=(0,))
    assert (extraction.labels, dict(extraction.dropped)) == (3, {})
    assert extraction.label_ids == "0 nothing, 1 floor, 2 wall, 7 person, 9 nothing, 255 nothing"
    for number in range(3):
        np.testing.assert_array_equal(label(tmp_path, number), ours(taught(number)))


def test_compressed_labels_are_read_and_small_ones_made_as_large_as_the_picture(tmp_path: Path) -> None:
    first, second, third = stamps(3)
    small = taught(1, (SIZE[0] // 2, SIZE[1] // 2))
    recorded = [
        Recorded(LABEL, first, compressed(png(taught(0)), "mono8; png compressed", first)),
        Recorded(LABEL, second, compressed(png(small), "mono8; png compressed", second)),
        Recorded(LABEL, third, compressed(png(taught(2, (6, 12))), "mono8; png compressed", third)),
    ]
    extraction = extract(tmp_path, [info(), *frames(3), *recorded], class_map=MAP, nothing=(0,))
    np.testing.assert_array_equal(label(tmp_path, 0), ours(taught(0)))
    np.testing.assert_array_equal(label(tmp_path, 1), ours(small).repeat(2, axis=0).repeat(2, axis=1))
    assert extraction.labels == 2
    (reason,) = extraction.dropped
    assert reason == (
        "label",
        "labels of 12x6 pixels do not fit pictures of 32x24: have them made of the whole picture, at its shape",
    )
    jpeg = cv2.imencode(".jpg", taught(0))[1].tobytes()
    color = png(np.zeros((*SIZE, 3), np.uint8))
    wrong = [
        Recorded(LABEL, stamp, compressed(data, "mono8; compressed", stamp))
        for stamp, data in zip(stamps(2), (jpeg, color), strict=True)
    ]
    extraction = extract(tmp_path, [info(), *frames(2), *wrong], "hall", class_map=MAP, nothing=(0,))
    assert ["labels must be png" in why or "must have one channel" in why for _, why in extraction.dropped] == [
        True
    ] * 2


def test_what_label_info_said_last_counts(tmp_path: Path) -> None:
    """As where somebody gives a model other words while it runs."""
    names = {1: "wall", 2: "carpet", 7: "man", 9: "tv"}
    recorded = [*frames(2), *labels(2), info(before=0), info(before=0), info(names, before=1)]
    extraction = extract(tmp_path, recorded, class_map=MAP, nothing=(0,))
    first, second = extraction.label_ids.split("; then ")
    assert "1 floor, 2 wall" in first and "1 wall, 2 floor" in second
    np.testing.assert_array_equal(label(tmp_path, 0), ours(taught(0)))
    swapped = np.array([1, 0, 2, *range(3, 256)], np.uint8)
    np.testing.assert_array_equal(label(tmp_path, 1), swapped[ours(taught(1))])


def test_without_label_info_the_class_map_counts_the_ids(tmp_path: Path) -> None:
    (stamp,) = stamps(1)
    counted = np.resize(np.array([0, 1, 2, 255], np.uint8), SIZE)
    recorded = [*frames(1), Recorded(LABEL, stamp, image(counted, "mono8", stamp))]
    extract(tmp_path, recorded, class_map={"carpet": "floor", "rug": None, "brick": "wall"})
    np.testing.assert_array_equal(label(tmp_path, 0), np.resize([0, 255, 1, 255], SIZE))


def test_ids_stay_where_nobody_has_classes(tmp_path: Path) -> None:
    extraction = extract(tmp_path, [*frames(1), *labels(1)], classes=None, nothing=(7,))
    expected = taught(0)
    expected[expected == 7] = 255
    np.testing.assert_array_equal(label(tmp_path, 0), expected)
    assert extraction.label_ids == "as they are; nothing is 7, 255"


@pytest.mark.parametrize(
    ("recorded", "source", "reason"),
    [
        ([info()], {}, "it labels carpet, man, tv; the classes are floor, wall, person: say by --class-map"),
        ([info()], {"class_map": {"carpet": "floor"}}, "it labels wall, man, tv; the class map has carpet"),
        ([info(topic="/sam/label_info")], {}, "0 topics beside /labels say which id is which class, in all /sam/label"),
        ([info(), info(topic="/other_info")], {}, "2 topics beside /labels say which id is which class"),
        (
            [info()],
            {"info_topic": "/none_here"},
            "no vision_msgs/msg/LabelInfo was recorded on /none_here; on /label_i",
        ),
        ([info({1: "wall", 300: "tv"})], {"classes": None}, "it has the class 300 tv, and labels on disk are 0 to 254"),
        ([info({255: "tv"})], {"classes": None}, "it has the class 255 tv, and labels on disk are 0 to 254"),
    ],
    ids=["no map", "half a map", "info elsewhere", "two infos", "no such info", "large ids", "255 is a class"],
)
def test_what_a_class_is_must_be_said(
    tmp_path: Path, recorded: list[Recorded], source: dict[str, Any], reason: str
) -> None:
    with pytest.raises(DatasetError) as failure:
        extract(tmp_path, [*recorded, *frames(1), *labels(1)], **source)
    assert reason in str(failure.value)
    assert not (tmp_path / "data").exists()


def test_the_info_that_is_named_counts(tmp_path: Path) -> None:
    swapped = {1: "wall", 2: "carpet", 7: "man", 9: "tv"}
    recorded = [info(swapped, topic="/sam/label_info"), info(), *frames(1), *labels(1)]
    extract(tmp_path, recorded, class_map=MAP, nothing=(0,))
    np.testing.assert_array_equal(label(tmp_path, 0), ours(taught(0)))
    extraction = extract(tmp_path, recorded, "hall", info_topic="/sam/label_info", class_map=MAP, nothing=(0,))
    assert "1 wall, 2 floor" in extraction.label_ids
    write_bag(tmp_path / "yard", recorded)
    extraction = extract(tmp_path, recorded, "yard", info_topic="none", classes=None)
    np.testing.assert_array_equal(label(tmp_path, 0, "yard"), taught(0))


def test_an_id_that_is_no_class_costs_its_label_alone(tmp_path: Path) -> None:
    stray = taught(1)
    stray[0, 0] = 4
    recorded = [*labels(1), Recorded(LABEL, stamps(2)[1], image(stray, "mono8", stamps(2)[1]))]
    extraction = extract(tmp_path, [info(), *frames(2), *recorded], class_map=MAP, nothing=(0,))
    assert (extraction.labels, dict(extraction.dropped)) == (
        1,
        {("label", "labels have the id 4, expected 0, 1, 2, 7, 9"): 1},
    )
    extraction = extract(tmp_path, [info({}), *frames(1), *labels(1)], "yard")
    assert dict(extraction.dropped) == {("label", "labels have the ids 0, 1, 2, 7, 9, expected 255"): 1}


def test_what_is_beside_the_labels_and_no_label_info_says_nothing(tmp_path: Path) -> None:
    """By the alphabet one comes before vision_msgs and one after it."""
    kinds = ("std_msgs/msg/Header", "visualization_msgs/msg/Marker")
    beside = [Recorded(f"/beside{number}", stamps(1)[0], b"\0\1\0\0", kind) for number, kind in enumerate(kinds)]
    assert extract(tmp_path, [*beside, *frames(1), *labels(1)], classes=None).labels == 1
    assert extract(tmp_path, [info(), *beside, *frames(1), *labels(1)], "hall", class_map=MAP, nothing=(0,)).labels == 1


def test_255_may_be_named_among_what_is_no_class(tmp_path: Path) -> None:
    extraction = extract(tmp_path, [info(), *frames(1), *labels(1)], class_map=MAP, nothing=(0, 255))
    assert extraction.label_ids == "0 nothing, 1 floor, 2 wall, 7 person, 9 nothing, 255 nothing"


def test_the_teacher_of_a_label_stays_told_whatever_another_says_of_its_frame(tmp_path: Path) -> None:
    for number, teacher in enumerate((SAM, *[Teacher("another", "none")] * 5)):
        with FrameIndex(tmp_path) as index:
            index.add({"stamp_ns": 1, "sha256": {}})
            assert write_label(tmp_path, 1, ids(number), index, teacher) == (number == 0)
        (listed,) = json.loads((tmp_path / "frames.json").read_text())
        assert listed["teacher"] == {"name": "SAM 3", "licence": "SAM License"}
    assert (tmp_path / "label/1.png").read_bytes() == png(ids(0))


@pytest.mark.parametrize(
    ("unknown", "told"),
    [
        ([300], "labels have the id 300, expected 0 to 255"),
        (range(300, 310), f"labels have the ids {', '.join(map(str, range(300, 310)))}, expected 0 to 255"),
        (range(300, 311), f"labels have the ids {', '.join(map(str, range(300, 310)))}, ..., expected 0 to 255"),
    ],
)
def test_ten_of_the_ids_that_are_no_class_are_told(unknown: Sequence[int], told: str) -> None:
    with pytest.raises(ImageMessageError, match=f"^{re.escape(told)}$"):
        LabelIds(LabelSource(LABEL), [])(np.array([[0, 254, 255, *unknown]], np.int16), 0)


def test_the_largest_class_that_stays_as_it_is(tmp_path: Path) -> None:
    recorded = [*frames(1), Recorded(LABEL, stamps(1)[0], image(np.full(SIZE, 254, np.uint8), "mono8", stamps(1)[0]))]
    extraction = extract(tmp_path, [info({254: "tv"}), *recorded], classes=None)
    assert (extraction.labels, extraction.label_ids) == (1, "as they are; nothing is 255")
    assert np.unique(label(tmp_path, 0)).tolist() == [254]


def test_a_label_whose_picture_is_damaged_is_told(tmp_path: Path) -> None:
    extract(tmp_path, [*frames(2), *labels(2)], classes=None)
    for file in (tmp_path / "data/kitchen/label").iterdir():
        file.unlink()
    picture = f"{stamps(1)[0]}.png"
    (tmp_path / f"data/kitchen/color/{picture}").write_bytes(b"torn")
    extraction = extract(tmp_path, [], classes=None)
    assert extraction.labels == 1
    ((modality, why),) = extraction.dropped
    assert modality == "label" and why.startswith(f"its picture {picture} cannot be read: ")


def test_labels_of_another_map_are_not_mixed_with_those_that_are_there(tmp_path: Path) -> None:
    recorded = [info(), *frames(2), *labels(2)]
    extract(tmp_path, recorded, class_map=MAP, nothing=(0,))
    with pytest.raises(DatasetError, match=r"kitchen was extracted from .*'nothing': \[0\].* is .*'nothing': \[0, 7\]"):
        extract(tmp_path, recorded, class_map=MAP, nothing=(0, 7))
    for file in (tmp_path / "data/kitchen/label").iterdir():
        file.unlink()
    assert extract(tmp_path, recorded, class_map=MAP, nothing=(0, 7)).labels == 2


def indexed(data: Path) -> dict[str, Teacher | None]:
    """File of each label -> its teacher, as training reads it after training/index_folder.py."""
    recordings = read_recordings(data)
    write_indexes(data, recordings, draw_validation(recordings), ("color", "depth"))
    samples = [sample for name in ("train.json", "val.json") for sample in read_index(data / name)]
    return {sample.label.relative_to(data).as_posix(): sample.teacher for sample in samples if sample.label is not None}


def test_the_index_tells_whose_labels_they_are_until_they_are_corrected(tmp_path: Path) -> None:
    recorded = [info(), *frames(3), *labels(3)]
    for name in ("kitchen", "hall"):
        extract(tmp_path, recorded, name, class_map=MAP, nothing=(0,), teacher=SAM)
    data = tmp_path / "data"
    listed = json.loads((data / "kitchen/frames.json").read_text())
    assert [entry["teacher"] for entry in listed] == 3 * [{"name": "SAM 3", "licence": "SAM License"}]
    assert [sample.teacher for sample in read_index(data / "kitchen/frames.json")] == 3 * [SAM]
    found = indexed(data)
    assert len(found) == 6 and set(found.values()) == {SAM}

    corrected, imported, kept = (f"kitchen/label/{stamp}.png" for stamp in stamps(3))
    assert cv2.imwrite(str(data / corrected), np.zeros(SIZE, np.uint8))
    picture = data / imported.replace("label", "color")
    enter_labels(data, {picture: data / imported})
    expected = {corrected: None, imported: None, kept: SAM}
    assert {file: teacher for file, teacher in indexed(data).items() if file in expected} == expected
    # Extracted again, with its labels and without.
    extract(tmp_path, recorded, "kitchen", class_map=MAP, nothing=(0,), teacher=SAM)
    assert indexed(data)[corrected] is None and indexed(data)[kept] == SAM
    extract_bag(prepare_extraction(tmp_path / "kitchen", data, {"color": None, "depth": None}))
    assert indexed(data)[kept] == SAM
    assert "sam" not in (data / "kitchen/source.yaml").read_text().lower()


def test_a_teacher_that_is_not_told_as_it_should_be_is_no_teacher(tmp_path: Path) -> None:
    extract(tmp_path, [info(), *frames(1), *labels(1)], class_map=MAP, nothing=(0,), teacher=SAM)
    index = tmp_path / "data/kitchen/frames.json"
    index.write_text(index.read_text().replace('"licence": "SAM License"', '"licence": 5'))
    with pytest.raises(DatasetError, match="its teacher should have a name and a licence, got"):
        read_index(index)
    with pytest.raises(DatasetError, match=r"frames\.json cannot be read for who labelled its frames"):
        read_recordings(tmp_path / "data")


def test_ids_without_a_teacher_s_words_are_taken_for_ours(tmp_path: Path) -> None:
    extraction = extract(
        tmp_path, [*frames(1), Recorded(LABEL, stamps(1)[0], image(ids(0) % 3, "mono8", stamps(1)[0]))]
    )
    assert extraction.label_ids == "0 floor, 1 wall, 2 person, 255 nothing"
    np.testing.assert_array_equal(label(tmp_path, 0), ids(0) % 3)
    assert "teacher" not in (tmp_path / "data/kitchen/frames.json").read_text()
