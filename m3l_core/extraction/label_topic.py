"""Labels that a bag holds already: of a simulator, or of a large model that labelled while the robot drove.

Whoever labels has ids and classes of its own. vision_msgs/LabelInfo beside the labels says which id is which class; a
class map says which class of ours that is. Without either, ids are taken for ours.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.bags.frame_sets import MODALITIES
from m3l_core.bags.message_types import LABEL_INFO
from m3l_core.bags.reader import Bag, deserialize
from m3l_core.bags.topics import NONE, base_topic
from m3l_core.datasets.folder import Teacher
from m3l_core.datasets.indexing import LABEL
from m3l_core.errors import DatasetError, ImageMessageError
from m3l_core.extraction.frame_index import FrameIndex, sha256
from m3l_core.extraction.frame_set_files import as_png, written_once
from m3l_core.labels import IGNORE
from m3l_core.pictures import picture_bytes, size_of_picture

_TOLD = 10
"""Unknown ids of an image that are told."""


@dataclass(frozen=True, slots=True)
class LabelSource:
    """What is known of the labels of a topic."""

    topic: str
    """Images of class ids; those with the stamp of a frame set are written."""
    info_topic: str | None = None
    """vision_msgs/LabelInfo; None: the one beside the labels, if there is one; 'none': not even that one."""
    classes: tuple[str, ...] | None = None
    """Ours, in the order of their ids; None: the ids stay as they are."""
    class_map: Mapping[str, str | None] | None = None
    """From every class of the topic to one of ``classes`` or to None, which is ignored. In the order of the ids, where
    no LabelInfo says which is which."""
    nothing: tuple[int, ...] = ()
    """Ids that are no class; 255 is one too, unless LabelInfo says otherwise."""
    teacher: Teacher | None = None
    """Who labelled, if the index is to tell."""

    def described(self) -> dict[str, Any]:
        """What makes the labels what they are, in words that a file can hold."""
        told = {"topic": self.topic, "info_topic": self.info_topic, "nothing": list(self.nothing)}
        class_map = None if self.class_map is None else [list(pair) for pair in self.class_map.items()]
        return told | {"classes": None if self.classes is None else list(self.classes), "class_map": class_map}


class LabelIds:
    """From the ids of a topic to ours.

    Args:
        source: of the labels.
        infos: when LabelInfo was recorded, and class by id; in the order of time.

    Raises:
        DatasetError: the topic has a class of which nobody says what it is among ours.
    """

    def __init__(self, source: LabelSource, infos: list[tuple[int, dict[int, str]]]) -> None:
        self.source = source
        if infos:
            self._times = [time_ns for time_ns, _ in infos]
            self._tables = [_of_names(source, names) for _, names in infos]
        else:
            self._times, self._tables = [0], [_of_order(source)]
        self.described = "; then ".join(dict.fromkeys(map(partial(_described, source), self._tables)))
        """Which id becomes what."""

    def __call__(self, ids: NDArray[Any], time_ns: int) -> NDArray[np.uint8]:
        """(H, W) integers of a message -> (H, W) class ids, 255 where there is none.

        What LabelInfo said last before ``time_ns`` counts; what it says first, before that.

        Raises:
            ImageMessageError: an id is no class of the topic.
        """
        table = self._tables[max(0, bisect_right(self._times, time_ns) - 1)]
        found, places = np.unique(ids, return_inverse=True)
        if unknown := [number for number in found.tolist() if number not in table]:
            known = ", ".join(map(str, sorted(set(table) - {IGNORE}))) if len(table) < IGNORE else f"0 to {IGNORE}"
            several = "s" if len(unknown) > 1 else ""
            came = ", ".join(map(str, unknown[:_TOLD])) + (", ..." if len(unknown) > _TOLD else "")
            raise ImageMessageError(f"labels have the id{several} {came}, expected {known or IGNORE}")
        return np.array([table[number] for number in found.tolist()], np.uint8)[places].reshape(ids.shape)


def read_label_ids(bag: Bag, source: LabelSource) -> LabelIds:
    """Read what a bag says of the ids of its labels.

    Raises:
        DatasetError: it cannot be read, or does not say what each class is among ours.
    """
    topic = find_info_topic(bag, source)
    infos: list[tuple[int, dict[int, str]]] = []
    for recorded in bag.messages((topic,)) if topic else ():
        try:
            message = deserialize(recorded)
        except ImageMessageError as error:
            raise DatasetError(f"bag {bag.path}, topic {topic}: {error}") from error
        names = {each.class_id: each.class_name for each in message.class_map}
        if not infos or infos[-1][1] != names:  # it may be repeated all the time
            infos.append((recorded.time_ns, names))
    try:
        return LabelIds(source, infos)
    except DatasetError as error:
        raise DatasetError(f"bag {bag.path}, topic {topic or source.topic}: {error}") from error


def find_info_topic(bag: Bag, source: LabelSource) -> str | None:
    """The topic with the LabelInfo of the labels: the one that is named, or the only one in their namespace.

    Raises:
        DatasetError: it was not recorded, or there are several, or only elsewhere.
    """
    recorded = sorted(name for name, info in bag.topics.items() if info.msgtype == LABEL_INFO and info.msgcount)
    if source.info_topic == NONE or (source.info_topic is None and not recorded):
        return None
    if source.info_topic is not None:
        if source.info_topic not in recorded:
            raise DatasetError(
                f"{bag.path}: no {LABEL_INFO} was recorded on {source.info_topic}; on {', '.join(recorded) or 'none'}"
            )
        return source.info_topic
    namespace = base_topic(source.topic).rpartition("/")[0]
    beside = [name for name in recorded if name.rpartition("/")[0] == namespace]
    if len(beside) != 1:
        raise DatasetError(
            f"{bag.path}: {len(beside)} topics beside {source.topic} say which id is which class, in all "
            f"{', '.join(recorded)}: name the one that does by --label-info, or '{NONE}'"
        )
    return beside[0]


def write_label(
    folder: Path, stamp_ns: int, ids: NDArray[np.uint8], index: FrameIndex, teacher: Teacher | None
) -> bool:
    """Write the label of a frame set, and tell the index whose it is; returns whether there was none yet.

    Args:
        folder: of the recording, with the pictures.
        stamp_ns: of the frame set.
        ids: (H, W) class ids; made as large as the picture, since a model may label at a size of its own.
        index: of the folder.
        teacher: who labelled; None: nobody is told.

    Raises:
        ImageMessageError: the labels have another shape than the picture.
        OSError: the file cannot be written.
    """
    picture = find_picture(folder, stamp_ns)
    content = as_png(ids if picture is None else _of_size(ids, picture))
    new, there = written_once(folder / LABEL / f"{stamp_ns}.png", lambda: content)
    if teacher is not None and there == content:  # else somebody has corrected it
        index.teach(stamp_ns, sha256(content), teacher)
    return new


def find_picture(folder: Path, stamp_ns: int) -> Path | None:
    """A picture of a frame set in the folder of its recording."""
    files = (folder / name / f"{stamp_ns}{end}" for name in MODALITIES for end in (".jpg", ".png"))
    return next((file for file in files if file.exists()), None)


def _of_size(ids: NDArray[np.uint8], picture: Path) -> NDArray[np.uint8]:
    """As large as the picture: a model may label at a size of its own."""
    try:
        height, width = size_of_picture(picture_bytes(picture))
    except ValueError as error:
        raise ImageMessageError(f"its picture {picture.name} cannot be read: {error}") from error
    if ids.shape[0] * width != ids.shape[1] * height:
        raise ImageMessageError(
            f"labels of {ids.shape[1]}x{ids.shape[0]} pixels do not fit pictures of {width}x{height}: have them made "
            "of the whole picture, at its shape"
        )
    return np.asarray(cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def _of_names(source: LabelSource, names: Mapping[int, str]) -> dict[int, int]:
    """Id -> ours, where LabelInfo has the names."""
    ours = source.classes
    nothing = {IGNORE} - names.keys() | set(source.nothing)
    table = dict.fromkeys(nothing, IGNORE)
    wanted = {number: name for number, name in names.items() if number not in nothing}
    if ours is None:
        if wanted and (largest := max(wanted)) >= IGNORE:
            raise DatasetError(
                f"it has the class {largest} {wanted[largest]}, and labels on disk are 0 to {IGNORE - 1}: give your "
                "classes by --labels, and by --class-map what each of its classes is among them"
            )
        return table | {number: number for number in wanted}
    becomes: Mapping[str, str | None] = source.class_map or {name: name for name in ours}
    if unknown := [name for name in wanted.values() if name not in becomes]:
        expected = "the class map has" if source.class_map else "the classes are"
        raise DatasetError(
            f"it labels {', '.join(unknown)}; {expected} {', '.join(becomes)}: say by --class-map what each of its "
            f"classes is, or by --nothing which ids are no class (it has {_listed(names)})"
        )
    targets = {number: becomes[name] for number, name in wanted.items()}
    return table | {number: IGNORE if name is None else ours.index(name) for number, name in targets.items()}


def _of_order(source: LabelSource) -> dict[int, int]:
    """Id -> ours, where the ids count the classes."""
    table = dict.fromkeys((IGNORE, *source.nothing), IGNORE)
    if source.classes is None:
        return {number: number for number in range(IGNORE)} | table
    becomes: Mapping[str, str | None] = source.class_map or {name: name for name in source.classes}
    places = (IGNORE if name is None else source.classes.index(name) for name in becomes.values())
    return dict(enumerate(places)) | table


def _described(source: LabelSource, table: Mapping[int, int]) -> str:
    if source.classes is None:
        nothing = ", ".join(str(number) for number in sorted(table) if table[number] == IGNORE)
        return f"as they are; nothing is {nothing}"
    names = dict(enumerate(source.classes)) | {IGNORE: "nothing"}
    return _listed({number: names[target] for number, target in table.items()})


def _listed(names: Mapping[int, str]) -> str:
    return ", ".join(f"{number} {name}" for number, name in sorted(names.items()))
