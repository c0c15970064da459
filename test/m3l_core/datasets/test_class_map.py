"""Labels of sets with other classes become the model's, and nothing is guessed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.rooms import CHAIR, FLOOR, WALL, read_rooms, write_rooms

from m3l_core.datasets.class_map import ClassMap, read_mapping
from m3l_core.datasets.folder import classes_of, read_sample
from m3l_core.errors import DatasetError
from m3l_core.labels import IGNORE

CLASSES = ("floor", "wall", "object")
MAPPING = {"carpet": "floor", "seat": "object", "other": None, "lamp": "object"}


@given(st.lists(st.sampled_from([*CLASSES, None]), min_size=1, max_size=255), st.randoms(use_true_random=False))
def test_every_id_becomes_what_its_class_is_mapped_to(targets: list[str | None], random: object) -> None:
    class_map = ClassMap.of({f"class {number}": target for number, target in enumerate(targets)}, CLASSES)
    label = np.arange(256, dtype=np.uint8).reshape(16, 16)
    found = class_map.apply(label).ravel()
    for number, target in enumerate(targets):
        assert found[number] == (IGNORE if target is None else CLASSES.index(target))
    assert (found[len(targets) :] == IGNORE).all()
    assert class_map.classes == {CLASSES.index(target) for target in targets if target is not None}


def test_labels_are_mapped_when_they_are_read(tmp_path: Path) -> None:
    _, samples = read_rooms(write_rooms(tmp_path))
    _, plain = read_sample(samples[0])
    # The set's floor, wall and chair.
    class_map = ClassMap.of({"ground": "floor", "side": None, "seat": "object"}, CLASSES)
    _, mapped = read_sample(replace(samples[0], class_map=class_map), num_classes=3)
    assert plain is not None
    assert mapped is not None
    for old, new in {FLOOR: 0, WALL: IGNORE, CHAIR: 2, IGNORE: IGNORE}.items():
        assert (mapped[plain == old] == new).all()


def test_a_label_that_the_map_does_not_know_is_refused(tmp_path: Path) -> None:
    _, samples = read_rooms(write_rooms(tmp_path))
    class_map = ClassMap.of({"ground": "floor", "side": "wall"}, CLASSES)
    with pytest.raises(DatasetError, match=r"class id 2, but there are 2 classes in the class map: expected 0 to 1"):
        read_sample(replace(samples[0], class_map=class_map), num_classes=3)


def test_sets_have_the_classes_that_their_maps_reach(tmp_path: Path) -> None:
    _, (sample, *_) = read_rooms(write_rooms(tmp_path))
    one, other = (replace(sample, class_map=ClassMap.of({"a": name, "b": None}, CLASSES)) for name in ("wall", "floor"))
    assert classes_of([one]) == {1}
    assert classes_of([one, other, one]) == {0, 1}
    assert classes_of([one, sample]) is None
    assert classes_of([]) == frozenset()


@pytest.mark.parametrize(
    ("mapping", "reason"),
    [
        ({"a": "roof", "b": "floor"}, r"names roof; the classes are floor, wall, object"),
        ({}, r"has 1 to 255 classes, got 0"),
        ({str(number): None for number in range(256)}, r"has 1 to 255 classes, got 256"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(mapping: dict[str, str | None], reason: str) -> None:
    with pytest.raises(DatasetError, match=reason):
        ClassMap.of(mapping, CLASSES)


@pytest.mark.parametrize(
    ("name", "content", "key"),
    [
        ("map.json", MAPPING, ""),
        ("map.yaml", MAPPING, ""),
        ("maps.json", {"classes": CLASSES, "from_shop": MAPPING}, "#from_shop"),
        ("recipe.yaml", {"data": [{"labelled": "a.json"}, {"class_map": MAPPING}]}, "#data.1.class_map"),
    ],
)
def test_a_map_is_read_from_a_file_or_a_part_of_it(tmp_path: Path, name: str, content: object, key: str) -> None:
    (tmp_path / name).write_text(json.dumps(content))  # which is YAML as well
    found = read_mapping(f"{tmp_path / name}{key}")
    assert found == MAPPING
    assert list(found) == list(MAPPING), "ids are places"


@pytest.mark.parametrize(
    ("write", "source", "reason"),
    [
        (lambda path: None, "map.json", r"map\.json cannot be read for a class map"),
        (lambda path: path.write_text("{"), "map.json", r"map\.json cannot be read for a class map"),
        (lambda path: path.write_text('{"a": "b", "a": "c"}'), "map.yaml", r"map\.yaml cannot be read.*twice"),
        (lambda path: path.write_text('{"from_shop": {"a": null}}'), "map.json", r"is it map\.json#from_shop\?"),
        (lambda path: path.write_text('{"from_shop": {"a": 3}}'), "map.json#from_shop", r"expected a mapping from"),
        (lambda path: path.write_text('{"from_shop": {}}'), "map.json#shop", r"has no 'shop'"),
        (lambda path: path.write_text("no: wall"), "map.yaml", r"map\.yaml: YAML reads a class as False: put names"),
        (lambda path: path.write_text("[1]"), "map.json#1.x", r"has no '1\.x'"),
    ],
)
def test_what_is_no_map_is_told(tmp_path: Path, write: Callable[[Path], object], source: str, reason: str) -> None:
    write(tmp_path / source.partition("#")[0])
    with pytest.raises(DatasetError, match=reason):
        read_mapping(str(tmp_path / source))
