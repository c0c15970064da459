"""Recorded bags become folders of pictures, as ``indexing.py`` takes them, each with an index of its own.

    DATA/RECORDING/color/STAMP_NS.jpg  DATA/RECORDING/depth/STAMP_NS.png  DATA/RECORDING/label/STAMP_NS.png
    DATA/RECORDING/source.yaml  DATA/RECORDING/frames.json

STAMP_NS is the stamp of the frame set's reference frame; source.yaml says what the folder was made from, and with
which cameras. Files that are there are kept, so an extraction that was interrupted goes on where it was.
"""

from __future__ import annotations

import sqlite3
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from m3l_core.bags.arrivals import Arrival, stamped
from m3l_core.bags.frame_sets import MODALITIES, BagFrames
from m3l_core.bags.reader import Bag, deserialize, open_bag
from m3l_core.datasets.indexing import LABEL
from m3l_core.depth_geometry import Focal
from m3l_core.errors import DatasetError, ImageMessageError, M3LError
from m3l_core.extraction.frame_choice import changing, thinned
from m3l_core.extraction.frame_index import FrameIndex
from m3l_core.extraction.frame_set_files import WrittenSet, write_frame_set
from m3l_core.extraction.label_topic import LabelIds, find_picture, read_label_ids, write_label
from m3l_core.extraction.source import AS_RECORDED, LABELS, REGISTERED, begin
from m3l_core.extraction.task import ExtractionSettings, ExtractionTask
from m3l_core.files import sole_user
from m3l_core.frames import FrameSet
from m3l_core.parallel import in_processes, in_threads
from m3l_core.registration.cameras import RecordedCameras, field_of_view_deg, read_cameras
from m3l_core.streaming.image_messages import decode_label, stamp_to_ns

_OUTSIDE = "outside of the time range"


@dataclass(slots=True)
class Extraction:
    """What came out of a bag."""

    name: str
    registered: bool = False
    """Whether depth was registered to color here."""
    frame_sets: int = 0
    without: Counter[str] = field(default_factory=Counter)
    """Modality -> frame sets that lack it."""
    labels: int = 0
    label_ids: str = ""
    """What their ids became."""
    written: int = 0
    """Files; the others were there already."""
    skipped: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(what, why) -> how many were not wanted."""
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(modality, why) -> messages that were of no use."""
    damage: str = ""
    """Why this is not the whole bag; what came until then is sound."""
    unused: str = ""
    """Which sensor's images are in no frame set though they were recorded, or never with the other's, and why."""
    remarks: list[str] = field(default_factory=list)
    """What kept frames from being used, and which of the node's parameters helps."""

    def skip_messages(self, modality: str, number: int) -> None:
        self.skipped[f"{modality} messages", _OUTSIDE] += number


def extract_bags(
    tasks: Sequence[ExtractionTask], jobs: int = 1, advance: Callable[[int], None] = lambda messages: None
) -> Iterator[Extraction | DatasetError]:
    """What comes of each task, in their order; the files are the same whatever the number of processes.

    Args:
        tasks: bags of different names.
        jobs: processes.
        advance: called with the number of messages that are done with since the last time; of several processes
            never.

    Raises:
        DatasetError: a process died.
    """
    if jobs <= 1:
        yield from (extraction_or_reason(task, advance) for task in tasks)
    else:
        yield from in_processes(extraction_or_reason, tasks, jobs, chunk=1)


def extraction_or_reason(
    task: ExtractionTask, advance: Callable[[int], None] = lambda messages: None
) -> Extraction | DatasetError:
    """What comes of a bag, or why nothing does."""
    try:
        return extract_bag(task, advance)
    except M3LError as error:
        return DatasetError(str(error))
    except Exception:  # costs no other bag
        return DatasetError(f"{task.path}: {traceback.format_exc()}")


def extract_bag(task: ExtractionTask, advance: Callable[[int], None] = lambda messages: None) -> Extraction:
    """Write the frame sets of a bag.

    Args:
        task: the bag.
        advance: called with the number of messages that are done with since the last time.

    Raises:
        DatasetError: the bag cannot be opened or holds no frame that is of use, its depth cannot be registered, or
            its folder cannot be written or holds another bag. What was written until then is sound.
    """
    with open_bag(task.path) as bag:
        try:
            cameras = read_cameras(bag, task.topics, task.settings.depth_as_is)
            labels = None if task.settings.labels is None else read_label_ids(bag, task.settings.labels)
            with sole_user(task.folder):
                return _extract(bag, task, cameras, labels, advance)
        except (OSError, sqlite3.Error) as error:
            message = f"{task.folder} cannot be written: {error}; the same command goes on from here"
            raise DatasetError(message) from error


def _extract(
    bag: Bag,
    task: ExtractionTask,
    cameras: RecordedCameras,
    label_ids: LabelIds | None,
    advance: Callable[[int], None],
) -> Extraction:
    settings, folder = task.settings, task.folder
    begin(folder, _source(bag, task, cameras), bag.path)
    extraction = Extraction(task.name, registered=cameras.registration is not None)
    recorded = {name: bag.topics[topic].msgcount for name, topic in task.topics.items()}

    def needed(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        arrivals = stamped(arrivals, settings.stamps)
        return settings.time_range.needed(arrivals, bag.start_ns, recorded, extraction.skip_messages)

    frames = BagFrames(bag, task.topics, settings.sync, faults=needed, advance=lambda: advance(1))
    extraction.dropped, extraction.remarks = frames.dropped, frames.remarks
    write = partial(write_frame_set, folder, task.name, cameras.registration)
    with FrameIndex(folder, _focal_length(bag, task, cameras)) as index:
        try:
            wanted = _wanted(frames, bag.start_ns, settings, extraction, index)
            for written in in_threads(write, wanted, task.threads):
                _count(written, extraction, frames.drop)
                if written.entry["sha256"]:
                    index.add(written.entry)
        except DatasetError as error:
            extraction.damage = str(error)
        if label_ids is not None:
            extraction.label_ids = label_ids.described
            _extract_labels(bag, folder, label_ids, extraction, index, frames.drop, advance)
    extraction.unused = _unused(frames, extraction)
    if not extraction.frame_sets:
        raise DatasetError(extraction.damage or _nothing(bag, task, extraction))
    return extraction


def _source(bag: Bag, task: ExtractionTask, cameras: RecordedCameras) -> dict[str, Any]:
    return {
        "bag": task.name,
        "start_ns": bag.start_ns,
        "topics": dict(task.topics),
        "stamps": task.settings.stamps,
        "synchronizer": asdict(task.settings.sync),
        "depth": AS_RECORDED if cameras.registration is None else REGISTERED,
        "cameras": cameras.described(),
        **({} if task.settings.labels is None else {LABELS: task.settings.labels.described()}),
        "last_choice": task.settings.described(),
    }


def _focal_length(bag: Bag, task: ExtractionTask, cameras: RecordedCameras) -> float | None:
    """In pixels of the files, if it is known."""
    fov_deg, size = field_of_view_deg(bag, task.topics), cameras.size
    return None if fov_deg is None or size is None else Focal.of_view(fov_deg, size).in_widths * size[1]


def _wanted(
    frames: BagFrames, start_ns: int, settings: ExtractionSettings, extraction: Extraction, index: FrameIndex
) -> Iterator[FrameSet]:
    def skip(why: str) -> None:
        extraction.skipped["frame sets", why] += 1

    def in_range() -> Iterator[FrameSet]:
        for frame_set in frames:
            stamp_ns = frame_set.reference_frame.stamp_ns
            if not settings.time_range.holds(frames.now_ns - start_ns, stamp_ns):
                skip(_OUTSIDE)
            elif index.meet(stamp_ns):
                yield frame_set
            else:  # of a recording that loops: two threads must not write one file
                skip("their stamp came before")

    chosen = thinned(in_range(), settings.rate_hz)
    return changing(chosen, settings.stillness, lambda: skip("hardly differ from the last one kept"))


def _count(written: WrittenSet, extraction: Extraction, drop: Callable[[str, str], None]) -> None:
    for modality, reason in written.useless.items():
        drop(modality, reason)
    extraction.written += written.written
    if written.entry["sha256"]:
        extraction.frame_sets += 1
        extraction.without.update(name for name in MODALITIES if written.entry[name] is None)


def _extract_labels(
    bag: Bag,
    folder: Path,
    to_ours: LabelIds,
    extraction: Extraction,
    index: FrameIndex,
    drop: Callable[[str, str], None],
    advance: Callable[[int], None],
) -> None:
    """A second reading of the bag: a label may be recorded long after its frame, when that is on the disk."""
    try:
        for recorded in bag.messages((to_ours.source.topic,)):
            try:
                message = deserialize(recorded)
                ids = to_ours(decode_label(message), recorded.time_ns)
                stamp_ns = stamp_to_ns(message.header.stamp)
                if find_picture(folder, stamp_ns) is not None:
                    extraction.written += write_label(folder, stamp_ns, ids, index, to_ours.source.teacher)
                    extraction.labels += 1
                elif index.has_met(stamp_ns):
                    extraction.skipped["label messages", "their frame set was not kept"] += 1
                else:
                    drop(LABEL, "no frame set has its stamp")
            except ImageMessageError as error:
                drop(LABEL, str(error))
            advance(1)
    except DatasetError as error:
        extraction.damage = str(error)


def _unused(frames: BagFrames, extraction: Extraction) -> str:
    remarks = "; ".join(frames.remarks)
    for name in frames.recorded:
        if extraction.without[name] == extraction.frame_sets:
            return f"no {name} image is in any frame set. {remarks or _reasons(extraction, name)}"
    apart = remarks and not frames.synchronizer.complete_sets
    return f"no frame set has both {' and '.join(frames.recorded)}. {remarks}" if apart else ""


def _reasons(extraction: Extraction, of: str = "") -> str:
    """Why messages were dropped, of all modalities or of one."""
    dropped = [(modality, why, count) for (modality, why), count in extraction.dropped.items() if of in ("", modality)]
    return "; ".join(f"{modality}: {count} x {why}" for modality, why, count in dropped)


def _nothing(bag: Bag, task: ExtractionTask, extraction: Extraction) -> str:
    reasons = _reasons(extraction)
    skipped = "; ".join(f"{count} {what} {why}" for (what, why), count in extraction.skipped.items())
    found = ". ".join(filter(None, (reasons, skipped)))
    return f"bag {bag.path} has no usable frame on {', '.join(task.topics.values())}. {found}".rstrip(". ")
