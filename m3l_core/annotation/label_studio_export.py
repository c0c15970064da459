"""What annotators did in Label Studio, from its export as "JSON": brushed regions and polygons, task by task.

Of several annotations of one task the starred one counts (``ground_truth``), else the newest of an annotator that the
user names; who is to be believed otherwise is not for us to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from textwrap import shorten
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from m3l_core.annotation.annotated import (
    AnnotatedImage,
    Annotations,
    Drawing,
    Region,
    State,
    Work,
    paint,
    read_each,
)
from m3l_core.annotation.brush_rle import decode_brush
from m3l_core.annotation.export_files import ExportFiles
from m3l_core.annotation.label_studio import BRUSH, FRAME, IMAGE, POLYGON
from m3l_core.datasets.coco_masks import draw_segmentation
from m3l_core.errors import DatasetError
from m3l_core.labels import IGNORE, LabelSet
from m3l_core.validation import checked

_LONGEST_LIST = 300


class _Value(BaseModel):
    format: str | None = None
    rle: list[int] | None = None
    points: list[tuple[float, float]] | None = None
    closed: bool = True
    brushlabels: list[str] = []
    polygonlabels: list[str] = []


class _Result(BaseModel):
    type: str
    original_width: int = Field(gt=0)
    original_height: int = Field(gt=0)
    image_rotation: float = 0
    value: _Value


class _Submitted(BaseModel):
    """An annotation or a draft."""

    id: int | None = None
    completed_by: int | str | dict[str, Any] | None = None
    """Number of a user, or that with name and e-mail address; a draft has no such thing, but the next two."""
    user: str | int | None = None
    created_username: str | None = None
    was_cancelled: bool = False
    ground_truth: bool = False
    created_at: str | None = None
    updated_at: str | None = None
    result: list[dict[str, Any]]

    @property
    def date(self) -> str:
        return self.updated_at or self.created_at or ""

    @property
    def number(self) -> str:
        """Of the annotator; a draft's text ends in it."""
        if self.completed_by is None:
            return (self.created_username or "").rpartition(", ")[2]
        return str(self.completed_by.get("id", "") if isinstance(self.completed_by, dict) else self.completed_by)

    def names(self) -> list[str]:
        """E-mail address and name of the annotator, as far as they are told here."""
        if not isinstance(self.completed_by, dict):
            return [] if self.user is None else [str(self.user)]
        name = " ".join(
            str(self.completed_by[key]) for key in ("first_name", "last_name") if self.completed_by.get(key)
        )
        return [str(each) for each in (self.completed_by.get("email"), name) if each]

    def has_regions(self) -> bool:
        return any(str(entry.get("type")).endswith("labels") for entry in self.result)


class _Task(BaseModel):
    id: int | None = None
    data: dict[str, Any]
    annotations: list[_Submitted]
    drafts: list[Any] = []
    """Whole, or only their numbers."""

    def saved(self) -> list[_Submitted]:
        """The drafts that are there whole."""
        found = []
        for draft in self.drafts:
            with suppress(ValueError):
                found.append(checked(_Submitted, draft))
        return found


class _People:
    """Who is who: most annotations tell only a number, of which others tell more."""

    def __init__(self, tasks: Iterable[_Task]) -> None:
        self._names: dict[str, list[str]] = {}
        for task in tasks:
            for each in (*task.annotations, *task.saved()):
                if each.names():
                    self._names[each.number] = each.names()

    def name(self, work: _Submitted) -> str:
        return next(iter(self._names.get(work.number, [])), work.number)

    def is_called(self, work: _Submitted, name: str | None) -> bool:
        return name in (work.number, *self._names.get(work.number, []))


class _Layer(NamedTuple):
    """One annotation, not drawn yet."""

    size: tuple[int, int]
    draw: Drawing


def read_label_studio(files: ExportFiles, labels: LabelSet, annotator: str | None = None) -> Annotations | None:
    """What annotators submitted; predictions, drafts and skipped tasks do not count.

    Args:
        files: the export.
        labels: the classes.
        annotator: whose newest annotation counts where a task has several, none of them starred: the e-mail address,
            the name or the number of a user.

    Returns:
        None if there is no list of tasks in the export.
    """
    found = {name: content for name, content in files.documents().items() if isinstance(content, list)}
    if not found:
        return None
    read = [(files.place(name), _task(files.place(name), each)) for name, content in found.items() for each in content]
    people = _People(task for _, task in read if isinstance(task, _Task))
    work = tuple(work for place, task in read for work in _work(place, task, people))
    return Annotations(
        "Label Studio", None, read_each(read, lambda found: _images(*found, labels, annotator, people)), work
    )


def _task(place: str, content: Any) -> _Task | DatasetError:
    """A task, or why it is none."""
    try:
        return checked(_Task, content)
    except ValueError as error:
        return DatasetError(f'{place} is no list of tasks with annotations, export it as "JSON": {error}')


def _name(place: str, each: _Task) -> str:
    url = each.data.get(IMAGE)
    name = each.data.get(FRAME) or (unquote(url).rpartition("=")[2] if isinstance(url, str) else None)
    if not isinstance(name, str) or not name:
        told = shorten(", ".join(each.data), _LONGEST_LIST, placeholder="...")
        raise DatasetError(f"{place}: a task names its image neither in '{FRAME}' nor in '{IMAGE}', it has {told}")
    return name


def _work(place: str, task: _Task | DatasetError, people: _People) -> Iterator[Work | DatasetError]:
    """What each annotator made of a task, or why that cannot be told."""
    try:
        if isinstance(task, DatasetError):
            raise task
        name = _name(place, task)
    except DatasetError as error:
        yield error
        return
    for annotation in task.annotations:
        state: State = "labelled" if annotation.has_regions() else "empty"
        state = "skipped" if annotation.was_cancelled else state
        yield Work(name, state, people.name(annotation), annotation.date)
    for draft in task.saved():
        if draft.has_regions():
            yield Work(name, "draft", people.name(draft), draft.date)


def _images(
    place: str, task: _Task | DatasetError, labels: LabelSet, annotator: str | None, people: _People
) -> Iterator[AnnotatedImage]:
    if isinstance(task, DatasetError):
        raise task
    name = _name(place, task)
    origin = f"{place}: {name}"
    chosen = _chosen(task.annotations, lambda annotation: people.is_called(annotation, annotator))
    layers = [layer for annotation in chosen if (layer := _layer(annotation, labels, origin)) is not None]
    if not layers:
        return
    if len({layer.size for layer in layers}) > 1:
        raise DatasetError(f"{origin}: the annotations are of images of different sizes")
    draw = layers[0].draw
    if len(layers) > 1:
        told = [f"{each.id} by {people.name(each) or 'somebody'} of {each.date}" for each in chosen]
        starred = len(chosen) if chosen[0].ground_truth else "none"
        which = f"{origin}: task {task.id} has {len(chosen)} annotations, {starred} of them starred: {'; '.join(told)}"
        draw = partial(_undecided, which, [layer.draw for layer in layers])
    yield AnnotatedImage(name, layers[0].size, draw, origin)


def _chosen(annotations: Sequence[_Submitted], is_named: Callable[[_Submitted], bool]) -> list[_Submitted]:
    """The annotation that counts; several where that is not clear, none where nothing was drawn."""
    submitted = [annotation for annotation in annotations if not annotation.was_cancelled]
    pool = [annotation for annotation in submitted if annotation.ground_truth] or submitted
    named = [annotation for annotation in pool if is_named(annotation)]
    if len(pool) > 1 and named:
        return [max(named, key=lambda annotation: annotation.date)]
    return [annotation for annotation in pool if annotation.has_regions()]


def _undecided(which: str, layers: Sequence[Drawing]) -> NDArray[np.uint8]:
    drawn = np.stack([draw() for draw in layers])
    of_any = (drawn != IGNORE).any(axis=0)
    same = (drawn == drawn[0]).all(axis=0)
    raise DatasetError(
        f"{which}; they agree in {(same & of_any).sum() / max(1, of_any.sum()):.1%} of the pixels that any of them "
        "labels. Star one in Label Studio, or say whose newest counts by --annotator"
    )


def _layer(annotation: _Submitted, labels: LabelSet, origin: str) -> _Layer | None:
    """None if there is no region in it."""
    found: list[_Result] = []
    problems: dict[str, None] = {}
    for entry in annotation.result:
        try:
            found += [result] if (result := _region_result(entry, origin)) is not None else []
        except DatasetError as error:
            problems[str(error)] = None
    if problems:
        raise DatasetError("\n".join(problems))
    if not found:
        return None
    sizes = {(result.original_height, result.original_width) for result in found}
    if len(sizes) > 1 or any(result.image_rotation for result in found):
        raise DatasetError(f"{origin}: the regions are of images of different sizes, or of a rotated one")
    size = sizes.pop()
    regions = [partial(_region, result, size, origin) for result in found]
    return _Layer(size, partial(paint, size, regions, labels, origin))


def _region_result(entry: dict[str, Any], origin: str) -> _Result | None:
    """A region; None for what is none, such as a choice."""
    kind = str(entry.get("type"))
    if kind not in (BRUSH, POLYGON):
        if kind.endswith("labels"):
            raise DatasetError(
                f"{origin} has a region of type {kind}, expected {BRUSH} or {POLYGON}: draw it with the brush or as a "
                "polygon"
            )
        return None
    try:
        return checked(_Result, entry)
    except ValueError as error:
        raise DatasetError(f"{origin}: a region of type {kind} cannot be understood: {error}") from error


def _region(result: _Result, size: tuple[int, int], origin: str) -> Region:
    value = result.value
    names = value.brushlabels if result.type == BRUSH else value.polygonlabels
    if len(names) != 1:
        raise DatasetError(f"{origin}: a region of type {result.type} needs one class, it has {names}")
    try:
        if result.type == BRUSH:
            if value.format != "rle" or value.rle is None:
                raise ValueError(f"expected run lengths, got the format {value.format}")
            return names[0], decode_brush(value.rle, size)
        if value.points is None or not value.closed:
            raise ValueError("the polygon has no corners, or is not closed")
        # Percent of the image's sides.
        corners = [c for x, y in value.points for c in (x * size[1] / 100, y * size[0] / 100)]
        return names[0], draw_segmentation(size, [corners])
    except (ValueError, DatasetError) as error:
        raise DatasetError(f"{origin}: a region of {names[0]}: {error}") from error
