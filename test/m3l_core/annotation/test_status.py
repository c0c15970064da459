"""How far the selected frames are, from exports that tell who did what and from those that do not."""

from __future__ import annotations

import numpy as np
import pytest
from support.annotations import Mask

from m3l_core.annotation.annotated import AnnotatedImage, Annotations, Work
from m3l_core.annotation.status import IN_THE_DATA, StatusReader
from m3l_core.errors import DatasetError

PLACES = {"a": 4, "b": 2, "c": 0, "d": 1, "e": 7}


def told(reader: StatusReader) -> dict[str, tuple[str, list[str]]]:
    return {frame.name: (frame.progress, [work.annotator for work in frame.work]) for frame in reader.frames()}


def test_every_selected_frame_has_the_state_of_who_came_farthest() -> None:
    reader = StatusReader(PLACES, labelled=(1, 5))
    first = Work("images/a.jpg", "skipped", "ana", "2026-11-02"), Work("b", "draft", "ben"), Work("c", "empty", "ben")
    reader.add(Annotations("a format", None, iter(()), first))
    last = Work("a", "labelled", "ben", "2026-11-01"), DatasetError("a task is damaged")
    reader.add(Annotations("a format", None, iter(()), last))
    assert told(reader) == {
        "a": ("labelled", ["ben", "ana"]),
        "b": ("draft", ["ben"]),
        "c": ("empty", ["ben"]),
        "d": ("labelled", [IN_THE_DATA]),
        "e": ("untouched", []),
    }
    with pytest.raises(DatasetError, match=r"the status is without these, which cannot be used:\n  a task is damaged$"):
        reader.check()


def test_of_a_format_without_annotators_the_drawn_pixels_count() -> None:
    def image(name: str, value: int) -> AnnotatedImage:
        ids: Mask = np.full((4, 6), value, np.uint8)
        return AnnotatedImage(name, (4, 6), lambda: ids, name)

    reader = StatusReader(PLACES, ())
    images = [image("a.png", 1), DatasetError("b.png is damaged"), image("c.png", 255), image("z.png", 1)]
    reader.add(Annotations("a format", None, iter(images)))
    reader.refuse(DatasetError("other.zip is not there"))
    assert {name: progress for name, (progress, _) in told(reader).items()} == {
        "a": "labelled",
        "b": "untouched",
        "c": "empty",
        "d": "untouched",
        "e": "untouched",
    }
    with pytest.raises(DatasetError) as failure:
        reader.check()
    assert [line.strip().split(" is ")[0] for line in str(failure.value).splitlines()[1:]] == [
        "b.png",
        "z.png",
        "other.zip",
    ]
