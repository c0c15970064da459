from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from m3l_core.labels import IGNORE, LabelSet, SemanticClass

FLOOR = SemanticClass(name="floor", color=(150, 120, 80))
WALL = SemanticClass(name="wall", color=(1, 2, 3))
LABELS = LabelSet(classes=(FLOOR, WALL))


def test_the_id_of_a_class_is_its_place() -> None:
    assert LABELS.names == ("floor", "wall")
    assert len(LABELS) == 2


def test_ids_become_the_colors_of_their_classes_and_ids_without_a_class_black() -> None:
    labels = np.array([[0, 1], [2, IGNORE]], np.uint8)
    colored = LABELS.colorize(labels)
    assert colored.dtype == np.uint8
    assert colored.tolist() == [[[150, 120, 80], [1, 2, 3]], [[0, 0, 0], [0, 0, 0]]]


def test_255_classes_leave_one_id_for_no_label() -> None:
    most = tuple(SemanticClass(name=str(index), color=(index, 0, 0)) for index in range(255))
    assert len(LabelSet(classes=most)) == IGNORE
    with pytest.raises(ValidationError, match="at most 255"):
        LabelSet(classes=(*most, WALL))


def test_names_must_differ() -> None:
    with pytest.raises(ValidationError, match="class names must differ"):
        LabelSet(classes=(FLOOR, WALL, FLOOR))


@pytest.mark.parametrize("name", ["", " ", "night\nstand", "a\tb", "\u202efloor"])
def test_names_can_be_read_in_one_line(name: str) -> None:
    with pytest.raises(ValidationError, match="can be read in one line"):
        LabelSet(classes=(FLOOR, SemanticClass(name=name, color=(0, 0, 0))))


def test_one_class_alone_is_no_task() -> None:
    with pytest.raises(ValidationError, match="at least 2"):
        LabelSet(classes=(FLOOR,))


@pytest.mark.parametrize("color", [(0, 0, 256), (-1, 0, 0), (0, 0)])
def test_colors_are_three_bytes(color: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError):
        SemanticClass.model_validate({"name": "wall", "color": color})


def test_unknown_keys_are_errors_and_values_do_not_change() -> None:
    with pytest.raises(ValidationError, match="flavour"):
        SemanticClass.model_validate({"name": "wall", "color": (0, 0, 0), "flavour": "sweet"})
    with pytest.raises(ValidationError, match="frozen"):
        FLOOR.name = "ceiling"  # type: ignore[misc]


def test_a_label_set_survives_the_way_through_json() -> None:
    assert LabelSet.model_validate_json(LABELS.model_dump_json()) == LABELS
