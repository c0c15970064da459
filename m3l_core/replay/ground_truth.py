"""Where the ground truth of a recording comes from: a folder of label images, a list of frames, or a topic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3l_core.bags.arrivals import Stamps
from m3l_core.bags.reader import Bag, RecordedMessage, deserialize
from m3l_core.datasets.indexing import LABEL
from m3l_core.errors import DatasetError, ImageMessageError
from m3l_core.files import lies_below
from m3l_core.json_files import read_json
from m3l_core.labels import IGNORE
from m3l_core.replay.label_images import LabelFiles, LabelStore
from m3l_core.streaming.image_messages import decode_label, stamp_to_ns

FRAME_LIST = "frames.json"


def find_label_files(path: Path, recording: str) -> LabelFiles:
    """The label images of a recording; none is opened.

    Args:
        path: a folder of STAMP_NS.png, or one that holds it as ``label``, ``RECORDING/label`` or ``RECORDING``; or a
            JSON list of frames, or a folder that holds it as frames.json or RECORDING/frames.json. Each frame has a
            ``stamp_ns``, and either a ``name``, with label/NAME.png beside the list, or, as ``extract_bag.py`` writes
            them, its ``label`` if it bears one.
        recording: name of the bag.

    Raises:
        DatasetError: there are none, one is missing, or the list cannot be used.
    """
    for frames in (path, path / recording / FRAME_LIST, path / FRAME_LIST):
        if frames.is_file():
            return _listed(frames)
    for folder in (path / recording / LABEL, path / recording, path / LABEL, path):
        if files := {int(file.stem): file for file in folder.glob("*.png") if file.stem.isdecimal()}:
            return LabelFiles(files)
    raise DatasetError(
        f"{path} has no labels of {recording}: expected STAMP_NS.png in it, in {LABEL} or in {recording}/{LABEL}, "
        f"or a list {FRAME_LIST}"
    )


def check_label_files(labels: LabelFiles, num_classes: int) -> None:
    """Read every file once.

    Raises:
        DatasetError: one is no label image or has a class that the bundle lacks.
    """
    for stamp_ns, file in labels.files.items():
        check_classes(labels.read(stamp_ns).ids, num_classes, str(file))


def read_label_topic(bag: Bag, topic: str, stamps: Stamps, num_classes: int, store: LabelStore) -> None:
    """Put the label images of a topic into ``store``: a label may be recorded long after its frame.

    Raises:
        DatasetError: a message is no label image or has a class that the bundle lacks.
        OSError: the store cannot be written.
    """
    for recorded in _until_damaged(bag.messages((topic,))):
        try:
            message = deserialize(recorded)
            ids = decode_label(message)
        except ImageMessageError as error:
            raise DatasetError(f"bag {bag.path}, topic {topic}: {error}") from error
        stamp_ns = recorded.time_ns if stamps == "receive" else stamp_to_ns(message.header.stamp)
        check_classes(ids, num_classes, f"bag {bag.path}, topic {topic}, stamp {stamp_ns}")
        store.add(stamp_ns, ids.astype(np.uint8))


def check_classes(ids: NDArray[Any], num_classes: int, where: str) -> None:
    """Look for class ids that the bundle lacks.

    Raises:
        DatasetError: there is one.
    """
    if (unknown := ids[(ids < 0) | ((ids >= num_classes) & (ids != IGNORE))]).size:
        raise DatasetError(
            f"{where}: class id {unknown.max()}, but the bundle has {num_classes} classes: expected 0 to "
            f"{num_classes - 1}, and {IGNORE} where nothing is labelled"
        )


def _until_damaged(messages: Iterator[RecordedMessage]) -> Iterator[RecordedMessage]:
    with suppress(DatasetError):  # the replay itself will come upon the damage, and report it
        yield from messages


def _listed(path: Path) -> LabelFiles:
    try:
        entries = read_json(path)
        labels = {int(entry["stamp_ns"]): _label_of(entry) for entry in entries}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{path} is no list of frames ({error!r}): expected JSON with stamp_ns and name, or label, of each"
        ) from error
    files = {stamp_ns: path.parent / label for stamp_ns, label in labels.items() if label is not None}
    if not files:
        raise DatasetError(f"{path} lists {f'{len(labels)} frames, none of them labelled' if labels else 'no frames'}")
    if outside := [file for file in files.values() if not lies_below(file, path.parent)]:
        raise DatasetError(f"{path} names label images outside of its folder, the first is {str(outside[0])[:300]}")
    if missing := [file for file in files.values() if not file.is_file()]:
        raise DatasetError(f"{path} lists {len(missing)} frames without a label image, the first is {missing[0]}")
    return LabelFiles(files)


def _label_of(entry: dict[str, Any]) -> str | None:
    """Relative to its list; None if an extracted frame has none."""
    if "color" in entry or "depth" in entry:
        return entry.get(LABEL)
    return f"{LABEL}/{entry['name']}.png"
