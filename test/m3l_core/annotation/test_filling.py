"""Labels go into the data folder and the index, or nothing changes at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.annotations import LABELS, Mask
from support.rooms import SIZE, draw_room, write_images

from m3l_core.annotation.annotated import AnnotatedImage, Annotations
from m3l_core.annotation.filling import Filling, LabelChecker, label_file, write_labels
from m3l_core.annotation.frame_names import FrameFinder
from m3l_core.datasets.folder import Sample, read_image, read_index, read_sample
from m3l_core.errors import DatasetError
from m3l_core.labels import IGNORE


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Three frames of two recordings, of which one is labelled, with what other programs left in the entries."""
    random = np.random.default_rng(0)
    entries: list[dict[str, Any]] = []
    for recording, stem in (("hall", "1"), ("hall", "2"), ("yard", "7")):
        entry = write_images(tmp_path / recording, stem, *draw_room(random))
        entries.append({kind: f"{recording}/{file}" for kind, file in entry.items()} | {"room": recording, "fx": 250.5})
    for entry in entries[1:]:
        (tmp_path / entry.pop("label")).unlink()
    entries[2]["depth"] = None
    (tmp_path / "train.json").write_text(json.dumps(entries))
    return tmp_path / "train.json"


def mask(number: int = 1, size: tuple[int, int] = SIZE) -> Mask:
    ids = np.full(size, number, np.uint8)
    ids[:8] = IGNORE
    return ids


def check(index: Path, *images: tuple[str, Mask], classes: tuple[str, ...] | None = None, **options: bool) -> Filling:
    samples = read_index(index)
    checker = LabelChecker(samples, FrameFinder.of_index(samples, index.parent), LABELS, **options)

    def annotated() -> Iterator[AnnotatedImage]:
        return (AnnotatedImage(name, ids.shape, lambda ids=ids: ids, f"export: {name}") for name, ids in images)

    assert checker.add(Path("export"), Annotations("a format", classes, annotated())) == len(images)
    return checker.finish()


def test_labels_are_written_and_the_rest_of_the_index_stays(index: Path) -> None:
    before = json.loads(index.read_text())
    filling = check(index, ("yard__7.png", mask(2)), ("hall__2.png", mask(3)))
    assert json.loads(index.read_text()) == before
    assert [(label.recording, label.outcome) for label in filling.labels] == [("hall", "new"), ("yard", "new")]
    assert filling.labels[0].pixels.tolist() == [0, 0, 0, (SIZE[0] - 8) * SIZE[1]]
    assert filling.labels[0].share == pytest.approx(1 - 8 / SIZE[0])
    write_labels(index, filling)
    after = json.loads(index.read_text())
    assert [entry.pop("label") for entry in after[1:]] == ["hall/label/2.png", "yard/label/7.png"]
    assert after == before
    _, label = read_sample(read_index(index)[2], num_classes=len(LABELS))
    np.testing.assert_array_equal(label, mask(2))


def test_the_same_again_changes_nothing(index: Path) -> None:
    write_labels(index, check(index, ("hall__2.png", mask())))
    content = index.read_text()
    filling = check(index, ("hall__2.png", mask()))
    assert [label.outcome for label in filling.labels] == ["unchanged"]
    write_labels(index, filling)
    assert index.read_text() == content
    # As if the index had not been reached the first time.
    interrupted = [{key: value for key, value in entry.items() if key != "label"} for entry in json.loads(content)]
    index.write_text(json.dumps(interrupted))
    write_labels(index, filling)
    assert read_index(index)[1].label == index.parent / "hall/label/2.png"


def test_another_label_is_kept_unless_it_is_to_be_replaced(index: Path) -> None:
    label = index.parent / "hall/label/1.png"
    content = label.read_bytes()
    with pytest.raises(DatasetError, match="has another label already"):
        check(index, ("hall__1.png", mask()))
    assert label.read_bytes() == content
    filling = check(index, ("hall__1.png", mask()), overwrite=True)
    assert [each.outcome for each in filling.labels] == ["changed"]
    write_labels(index, filling)
    np.testing.assert_array_equal(read_image(label, "label"), mask())


def test_a_damaged_label_can_be_replaced(index: Path) -> None:
    label = index.parent / "hall/label/1.png"
    label.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"hall/label/1\.png"):
        check(index, ("hall__1.png", mask()))
    write_labels(index, check(index, ("hall__1.png", mask()), overwrite=True))
    np.testing.assert_array_equal(read_image(label, "label"), mask())


def test_a_label_that_the_index_does_not_know_counts_too(index: Path) -> None:
    """As after an import that was interrupted between the labels and the index."""
    (index.parent / "yard/label").mkdir(exist_ok=True)
    cv2.imwrite(str(index.parent / "yard/label/7.png"), mask())
    with pytest.raises(DatasetError, match="has another label already"):
        check(index, ("yard__7.png", mask(2)))
    filling = check(index, ("yard__7.png", mask()))
    assert [label.outcome for label in filling.labels] == ["new"]
    write_labels(index, filling)
    assert read_index(index)[2].label == index.parent / "yard/label/7.png"


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_written(index: Path) -> None:
    before = index.read_text()
    with pytest.raises(DatasetError) as failure:
        check(
            index,
            ("hall__2.png", mask()),
            ("a/hall__2.png", mask(2)),
            ("yard__8.png", mask()),
            ("yard__7.png", mask(size=(SIZE[1], SIZE[0]))),
        )
    told = str(failure.value).splitlines()
    assert told[0].startswith("nothing is written")
    assert "export: a/hall__2.png and export: hall__2.png are both of" in told[1]
    assert "yard__8.png is of no frame" in told[2]
    assert f"is of {SIZE[0]}x{SIZE[1]} pixels" in told[3] and f"of {SIZE[1]}x{SIZE[0]}" in told[3]
    assert index.read_text() == before
    many = [(f"none_{number}.png", mask()) for number in range(130)]
    with pytest.raises(DatasetError, match="and 30 more"):
        check(index, *many)


def test_what_an_export_says_of_a_size_takes_no_memory(index: Path) -> None:
    def drawn() -> Mask:
        raise AssertionError("it was drawn")

    samples = read_index(index)
    checker = LabelChecker(samples, FrameFinder.of_index(samples, index.parent), LABELS)
    images = iter([AnnotatedImage("hall__2.png", (8000, 8000), drawn, "export: hall__2.png")])
    checker.add(Path("export"), Annotations("a format", None, images))
    with pytest.raises(DatasetError, match=r"export: hall__2.png is of 8000x8000 pixels, .* label the image as it is"):
        checker.finish()


def test_a_label_is_not_written_through_a_link_that_leads_out(index: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path.parent / f"{tmp_path.name}_elsewhere"
    elsewhere.mkdir()
    (elsewhere / "2.png").write_bytes(b"precious")
    shutil.rmtree(index.parent / "yard/label", ignore_errors=True)
    (index.parent / "yard/label").symlink_to(elsewhere)
    samples = read_index(index)
    finder = FrameFinder.of_index(samples, index.parent)
    for root in (index.parent, None):
        checker = LabelChecker(samples, finder, LABELS, overwrite=True, root=root)
        ids = mask()
        images = iter([AnnotatedImage("yard__7.png", ids.shape, lambda ids=ids: ids, "export: yard__7.png")])
        checker.add(Path("export"), Annotations("a format", None, images))
        if root is None:
            assert len(checker.finish().labels) == 1
        else:
            with pytest.raises(DatasetError, match=r"would lie outside of .*--files-anywhere"):
                checker.finish()
    assert (elsewhere / "2.png").read_bytes() == b"precious"


def test_a_class_that_annotators_could_not_choose_is_told(index: Path) -> None:
    some = LABELS.names[:2]
    with pytest.raises(DatasetError, match="export knows floor, wall, but not arm chair, lamp"):
        check(index, ("hall__2.png", mask()), classes=some)
    assert len(check(index, ("hall__2.png", mask()), classes=some, some_classes=True).labels) == 1
    assert len(check(index, ("hall__2.png", mask()), classes=(*LABELS.names, "sky")).labels) == 1


def test_frames_without_a_labelled_pixel_stay_unlabelled(index: Path) -> None:
    nothing = np.full(SIZE, IGNORE, np.uint8)
    filling = check(index, ("hall__2.png", nothing), ("yard__7.png", mask()))
    assert (filling.empty, len(filling.labels)) == (1, 1)
    with pytest.raises(DatasetError, match="no frame is labelled; 1 are there without a labelled pixel"):
        check(index, ("hall__2.png", nothing))


def test_labels_lie_beside_the_images() -> None:
    for image, label in {
        "train/color/1.jpg": "train/label/1.png",
        "color/1.jpg": "label/1.png",
        "hall/1.jpg": "hall/label/1.png",
        "1.jpg": "label/1.png",
    }.items():
        assert label_file(Sample({"color": Path(image)}, None, "hall")) == Path(label)


def test_one_label_file_for_two_frames_is_refused(index: Path) -> None:
    entries = json.loads(index.read_text())
    (index.parent / "hall/color/2.png").write_bytes((index.parent / "hall/color/1.jpg").read_bytes())
    entries.append(entries[1] | {"color": "hall/color/2.png", "room": "annex"})
    index.write_text(json.dumps(entries))
    with pytest.raises(DatasetError, match=r"hall/label/2\.png would be the label of two frames"):
        check(index, ("hall__2.png", mask()), ("annex__2.png", mask()))


def test_a_folder_that_cannot_be_written_leaves_the_index(index: Path) -> None:
    before = index.read_text()
    (index.parent / "yard/label").rmdir()
    (index.parent / "yard/label").write_text("in the way")
    with pytest.raises(DatasetError, match=r"cannot be written: .*; the same command goes on from here"):
        write_labels(index, check(index, ("yard__7.png", mask())))
    assert index.read_text() == before
