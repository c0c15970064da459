"""One bag, and what is wanted of it: all that a process needs which extracts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from m3l_core.bags.arrivals import Stamps
from m3l_core.bags.reader import open_bag
from m3l_core.bags.time_range import TimeRange
from m3l_core.bags.topics import choose_topics
from m3l_core.datasets.indexing import LABEL
from m3l_core.errors import DatasetError
from m3l_core.extraction.label_topic import LabelSource
from m3l_core.streaming.sync_config import SyncConfig


@dataclass(frozen=True, slots=True)
class ExtractionSettings:
    """What is wanted of every bag."""

    labels: LabelSource | None = None
    """Labels that the bag holds."""
    rate_hz: float | None = None
    """At most so many frame sets a second, evenly; None for all."""
    stillness: float | None = None
    """Least share of the picture that must have changed, as ``changing`` measures it; None for all."""
    time_range: TimeRange = field(default_factory=TimeRange)
    sync: SyncConfig = field(default_factory=SyncConfig)
    depth_as_is: bool = False
    """Depth is taken for registered to color."""
    stamps: Stamps = "header"
    """What counts as an image's stamp, and is the name of its files."""

    def described(self) -> dict[str, Any]:
        """Which frame sets are chosen, in words that a file can hold."""
        limits = {"start": self.time_range.start, "end": self.time_range.end}
        moments = {name: None if limit is None else asdict(limit) for name, limit in limits.items()}
        return {"rate_hz": self.rate_hz, "stillness": self.stillness, **moments}


@dataclass(frozen=True, slots=True)
class ExtractionTask:
    """Made by ``prepare_extraction``."""

    path: Path
    name: str
    """Of the bag and of its folder in ``output``."""
    topics: Mapping[str, str]
    """Modality (color, depth) -> topic; a modality without one is missing throughout."""
    messages: int
    """That are to be read, labels included."""
    output: Path
    """The data folder."""
    settings: ExtractionSettings = field(default_factory=ExtractionSettings)
    threads: int = 1
    """That encode and write."""

    @property
    def folder(self) -> Path:
        return self.output / self.name


def prepare_extraction(
    path: Path,
    output: Path,
    given: Mapping[str, str | None],
    settings: ExtractionSettings | None = None,
    threads: int = 1,
) -> ExtractionTask:
    """Look at what a bag holds.

    Args:
        path: the bag.
        output: the data folder.
        given: modality -> topic, 'none' for none, or None to guess it.
        settings: what is wanted.
        threads: that encode and write.

    Raises:
        DatasetError: the bag cannot be opened, or a topic is not there or cannot be guessed.
    """
    settings = settings or ExtractionSettings()
    with open_bag(path) as bag:
        try:
            topics = choose_topics(bag.topics, given)
            labels = {}
            if settings.labels is not None:
                labels = choose_topics(bag.topics, {LABEL: settings.labels.topic})
        except DatasetError as error:
            raise DatasetError(f"{path}: {error}") from error
        messages = sum(bag.topics[topic].msgcount for topic in (*topics.values(), *labels.values()))
        return ExtractionTask(path, bag.name, topics, messages, output, settings, threads)
