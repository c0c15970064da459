"""Recorded bags become folders of pictures, as ``indexing.py`` takes them.

    DATA/RECORDING/color/STAMP_NS.jpg  DATA/RECORDING/depth/STAMP_NS.png  DATA/RECORDING/label/STAMP_NS.png

STAMP_NS is the stamp of the frame set's reference frame. Files that are there are kept, so an extraction that was
interrupted goes on where it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from m3l_core.datasets.bag_frames import MODALITIES, BagFrames, RecordedFrame
from m3l_core.datasets.bag_reader import Bag, deserialize
from m3l_core.datasets.indexing import LABEL
from m3l_core.datasets.published import to_millimetres
from m3l_core.errors import DatasetError, ImageMessageError
from m3l_core.files import replacing_file
from m3l_core.frames import Frame, FrameSet
from m3l_core.streaming.image_messages import decode_color, stamp_to_ns
from m3l_core.streaming.sync_config import SyncConfig

SOURCE_FILE = "source.yaml"
_PNG_HEAD = b"\x89PNG"


@dataclass
class Extraction:
    """What came out of a bag."""

    frame_sets: int = 0
    without: Counter[str] = field(default_factory=Counter)
    """Modality -> frame sets that lack it."""
    labels: int = 0
    written: int = 0
    """Files; the others were there already."""
    dropped: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """(modality, why) -> messages that were of no use."""


def extract_bag(
    bag: Bag,
    output: Path,
    topics: Mapping[str, str],
    *,
    label_topic: str | None = None,
    rate_hz: float | None = None,
    config: SyncConfig | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Extraction:
    """Write the frame sets of a bag to ``output/NAME``, NAME being the bag's.

    Args:
        bag: an open bag.
        output: the data folder.
        topics: modality (color, depth) -> topic; a modality without one is missing throughout.
        label_topic: mono8 or 8UC1 images of class ids; those with the stamp of a frame set are written.
        rate_hz: at most so many frame sets a second, evenly; None for all.
        config: waits and windows of the synchronizer.
        advance: called after every message.

    Raises:
        DatasetError: the bag is damaged or holds no frame that is of use, or its folder cannot be written or holds
            another bag. What was written until then is sound.
    """
    folder = output / bag.name
    frames = BagFrames(bag, topics, config, advance=advance)
    extraction = Extraction(dropped=frames.dropped)
    try:
        _begin(folder, bag, topics)
        for frame_set in _thinned(frames, rate_hz):
            extraction.frame_sets += 1
            extraction.without.update(frame_set.missing.keys())
            stem = str(frame_set.reference_frame.stamp_ns)
            for modality, frame in frame_set.frames.items():
                extraction.written += _write_frame(folder / modality, stem, frame)
        if label_topic is not None:
            _extract_labels(bag, folder, label_topic, extraction, frames.drop, advance)
    except OSError as error:
        raise DatasetError(f"{folder} cannot be written: {error}; the same command goes on from here") from error
    if not extraction.frame_sets:
        reasons = "; ".join(f"{modality}: {count} x {why}" for (modality, why), count in frames.dropped.items())
        raise DatasetError(f"bag {bag.path} has no usable frame on {', '.join(topics.values())}. {reasons}".rstrip())
    return extraction


def _begin(folder: Path, bag: Bag, topics: Mapping[str, str]) -> None:
    """Write what the folder is made from, or check that it is the same as before."""
    source = {"start_ns": bag.start_ns, "topics": dict(topics)}
    path = folder / SOURCE_FILE
    if path.is_file():
        try:
            former = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            raise DatasetError(f"{path} does not say what {folder} holds ({error}): remove {folder}") from error
        if former != source:
            raise DatasetError(
                f"{folder} was extracted from {former}, bag {bag.path} is {source}: give the bag's folder another "
                f"name, or remove {folder}"
            )
    elif folder.exists() and any(folder.iterdir()):
        raise DatasetError(f"{folder} holds something else: choose another folder, or rename the bag's")
    else:
        with replacing_file(path) as temporary:
            temporary.write_text(yaml.safe_dump(source, sort_keys=False), encoding="utf-8")


def _thinned(frame_sets: Iterable[FrameSet], rate_hz: float | None) -> Iterator[FrameSet]:
    """The frame sets nearest to the ticks of ``rate_hz``."""
    period_ns = 0 if rate_hz is None else round(1e9 / rate_hz)
    due_ns = previous_ns = None
    for frame_set in frame_sets:
        stamp_ns = frame_set.reference_frame.stamp_ns
        if due_ns is None or previous_ns is None or stamp_ns < previous_ns:  # the first one, or of a new timeline
            due_ns = previous_ns = stamp_ns
        # Whichever is nearer, this one or the next one: jitter then costs no frame.
        if stamp_ns + (stamp_ns - previous_ns) // 2 >= due_ns:
            yield frame_set
            due_ns = max(due_ns + period_ns, stamp_ns + period_ns // 2)
        previous_ns = stamp_ns


def _write_frame(folder: Path, stem: str, frame: Frame) -> bool:
    if frame.modality == "depth":
        return _write(folder / f"{stem}.png", lambda: _as_png(_millimetres(frame.data)))
    carried = frame.compressed if isinstance(frame, RecordedFrame) else None
    if carried is None:
        return _write(folder / f"{stem}.png", lambda: _as_png(cv2.cvtColor(frame.data, cv2.COLOR_RGB2BGR)))
    content = carried.tobytes()
    return _write(folder / f"{stem}{'.png' if content.startswith(_PNG_HEAD) else '.jpg'}", lambda: content)


def _extract_labels(
    bag: Bag,
    folder: Path,
    topic: str,
    extraction: Extraction,
    drop: Callable[[str, str], None],
    advance: Callable[[], None],
) -> None:
    """A second reading of the bag: a label may be recorded long after its frame, when that is on the disk."""
    for recorded in bag.messages((topic,)):
        try:
            message = deserialize(recorded)
            if message.encoding not in ("mono8", "8UC1"):
                raise ImageMessageError(f"labels must be mono8 or 8UC1, got '{message.encoding}'")
            # Labels are ids, not gray values: any one channel of what a mono8 image decodes to.
            ids = decode_color(message)[..., 0]
        except ImageMessageError as error:
            drop(LABEL, str(error))
        else:
            stem = str(stamp_to_ns(message.header.stamp))
            if any((folder / name / f"{stem}{suffix}").exists() for name in MODALITIES for suffix in (".jpg", ".png")):
                extraction.labels += 1
                extraction.written += _write(folder / LABEL / f"{stem}.png", partial(_as_png, ids))
            else:
                drop(LABEL, "no frame set has its stamp")
        advance()


def _write(path: Path, content: Callable[[], bytes]) -> bool:
    """Whether the file was not there yet."""
    if path.exists():
        return False
    with replacing_file(path) as temporary:
        temporary.write_bytes(content())
    return True


def _millimetres(depth: NDArray[Any]) -> NDArray[np.uint16]:
    """(H, W) uint16 [mm] or float32 [m] -> (H, W) uint16 [mm], 0 = invalid."""
    return depth if depth.dtype == np.uint16 else to_millimetres(depth, np.isfinite(depth) & (depth > 0))


def _as_png(pixels: NDArray[Any]) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()
