"""How far the selected frames are labelled, and by whom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from m3l_core.annotation.annotated import Annotations, State, Work, listed
from m3l_core.annotation.frame_names import FrameFinder
from m3l_core.errors import DatasetError
from m3l_core.labels import IGNORE

Progress = State | Literal["untouched"]
PROGRESS: tuple[Progress, ...] = ("labelled", "draft", "empty", "skipped", "untouched")
"""From the farthest on."""
IN_THE_DATA = "in the data already"
"""In the place of an annotator."""


@dataclass(frozen=True, slots=True)
class FrameStatus:
    """What was made of one selected frame."""

    name: str
    work: tuple[Work, ...]
    """Of each annotator, the oldest first; none of a frame that nobody touched."""

    @property
    def progress(self) -> Progress:
        """That of the annotator who came farthest."""
        return next((each for each in PROGRESS if any(work.state == each for work in self.work)), "untouched")


class StatusReader:
    """Gathers what exports say of the selected frames; nothing is written.

    Args:
        places: name of each selected frame -> its place.
        labelled: places of the frames that have a label already.
    """

    def __init__(self, places: Mapping[str, int], labelled: Iterable[int]) -> None:
        self._finder = FrameFinder.of_names(places)
        self._names = {place: name for name, place in places.items()}
        self._work: dict[int, list[Work]] = {place: [] for place in self._names}
        self._labelled = set(labelled)
        self._problems: list[str] = []

    def add(self, annotations: Annotations) -> None:
        """Take in an export."""
        for each in annotations.work if annotations.work is not None else _seen(annotations):
            try:
                if isinstance(each, DatasetError):
                    raise each
                self._work[self._finder.find(each.name)].append(each)
            except DatasetError as error:
                self.refuse(error)

    def refuse(self, error: DatasetError) -> None:
        """Note what cannot be used, a line each."""
        self._problems += str(error).splitlines()

    def check(self) -> None:
        """Look whether all could be used.

        Raises:
            DatasetError: something could not; all of it is told.
        """
        if self._problems:
            raise DatasetError(f"the status is without these, which cannot be used:{listed(self._problems)}")

    def frames(self) -> list[FrameStatus]:
        """Every selected frame, in the order of the selection."""
        return [FrameStatus(self._names[place], tuple(self._with_data(place))) for place in self._work]

    def _with_data(self, place: int) -> list[Work]:
        work = sorted(self._work[place], key=lambda each: each.date)
        if place in self._labelled and not any(each.state == "labelled" for each in work):
            work.append(Work(self._names[place], "labelled", IN_THE_DATA))
        return work


def _seen(annotations: Annotations) -> Iterator[Work | DatasetError]:
    """Of a format that does not tell who did what: whether something is drawn."""
    for image in annotations.images:
        try:
            if isinstance(image, DatasetError):
                raise image
            yield Work(image.name, "labelled" if (image.draw() != IGNORE).any() else "empty")
        except DatasetError as error:
            yield error
