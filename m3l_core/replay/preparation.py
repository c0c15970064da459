"""What can be known of bags and their ground truth before the work starts."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from m3l_core.bags.reader import Bag, deserialize, open_bag
from m3l_core.bags.topics import NONE, choose_topics
from m3l_core.bundle import BundleDescription
from m3l_core.datasets.indexing import LABEL
from m3l_core.errors import DatasetError, ImageMessageError
from m3l_core.registration.cameras import unregistered_depth
from m3l_core.remote_files import Location
from m3l_core.replay.ground_truth import check_label_files, find_label_files
from m3l_core.replay.label_images import LabelFiles
from m3l_core.replay.measures.comparisons import pixels
from m3l_core.streaming.frame_decoding import decode_frame


@dataclass(frozen=True, slots=True)
class PreparedBag:
    """A bag that can be replayed."""

    path: Location
    """A URL only in the report: what is replayed is a copy."""
    name: str
    topics: Mapping[str, str]
    """Modality -> topic."""
    num_messages: int
    """On these topics."""
    label_topic: str | None = None
    """Ground truth in the bag."""
    label_files: LabelFiles | None = None
    """Ground truth beside it."""
    ground_truth: str | None = None
    """Where it comes from, as the user named it."""
    warning: str | None = None
    """What its figures are to be read with."""


def prepare_bag(
    path: Path,
    given: Mapping[str, str | None],
    described: BundleDescription,
    label_topic: str | None = None,
    labels: Path | None = None,
) -> PreparedBag:
    """Find the topics and the ground truth of a bag.

    Args:
        path: the bag.
        given: modality -> topic, 'none' for none, or None to guess it if the bundle uses it.
        described: the bundle.
        label_topic: ground truth in the bag.
        labels: ground truth in files, as ``find_label_files`` takes it.

    Raises:
        DatasetError: the bag cannot be opened, a topic is not there or cannot be guessed, or the ground truth is not
            there, has other classes than the bundle or another size than the color images.
    """
    with open_bag(path) as bag:
        used = {
            name: topic if topic is not None or name in described.modality_names else NONE
            for name, topic in given.items()
        }
        try:
            topics = choose_topics(bag.topics, used)
            if label_topic is not None:
                choose_topics(bag.topics, {LABEL: label_topic})
        except DatasetError as error:
            raise DatasetError(f"{path}: {error}") from error
        files = None if labels is None else find_label_files(labels, bag.name)
        if files is not None:
            check_label_files(files, len(described.labels))
        if "color" in topics:
            _check_size(bag, topics["color"], label_topic, files)
        num_messages = sum(bag.topics[topic].msgcount for topic in topics.values())
        named = label_topic or (None if labels is None else str(labels))
        return PreparedBag(path, bag.name, topics, num_messages, label_topic, files, named, _warning(bag, topics))


def _warning(bag: Bag, topics: Mapping[str, str]) -> str | None:
    """A robot gets depth as it is, so a replay does; extraction would have registered it."""
    with suppress(DatasetError):  # a damage is for the replay to report
        if (told := unregistered_depth(bag, topics)) is not None:
            return f"{told}. It is replayed as a robot would get it"
    return None


def _check_size(bag: Bag, color_topic: str, label_topic: str | None, files: LabelFiles | None) -> None:
    if label_topic is not None:
        truth = _first_size(bag, label_topic)
    else:
        truth = None if files is None else files.read(min(files.files)).size
    color = _first_size(bag, color_topic)
    if color is not None and truth is not None and color != truth:
        raise DatasetError(
            f"{bag.path}: the ground truth is {pixels(truth)}, the color image {pixels(color)}: expected labels of "
            "the images as they were recorded"
        )


def _first_size(bag: Bag, topic: str) -> tuple[int, int] | None:
    """(H, W) of the first image of a topic; None if it cannot be decoded, which is for the replay to report."""
    with suppress(DatasetError, ImageMessageError):
        for recorded in bag.messages((topic,)):
            frame, _ = decode_frame("color", deserialize(recorded))
            return None if frame.data is None else frame.data.shape[:2]
    return None
