"""Replays of bags that may be on another machine or in object storage: all that is done to one is one piece of work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from m3l_core.bundle import BundleDescription
from m3l_core.errors import DatasetError
from m3l_core.extraction.stored_bags import bag_name
from m3l_core.fleet import spread
from m3l_core.remote_files import Location, cached_copy, local_copy, local_folder
from m3l_core.replay.bags import BagTask, EngineChoice, Outcome, replay_bag
from m3l_core.replay.preparation import PreparedBag, prepare_bag
from m3l_core.replay.recordings.sinks import RunInfo, Sink
from m3l_core.segmenter import Segmenter
from m3l_core.shipped import shipped_bundle


@dataclass(frozen=True, slots=True)
class BagRequest:
    """A bag that is to be replayed; the fields are arguments of ``prepare_bag``."""

    location: Location
    given: Mapping[str, str | None]
    described: BundleDescription
    label_topic: str | None = None
    labels: Location | None = None

    def __str__(self) -> str:
        return str(self.location)

    @property
    def name(self) -> str:
        return bag_name(self.location)

    @property
    def ground_truth(self) -> str | None:
        """As the user named it."""
        return self.label_topic or (None if self.labels is None else str(self.labels))


class StoredReplay(NamedTuple):
    """What was found in a bag, and what came of it."""

    bag: PreparedBag
    """Without its label files."""
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class EngineAnywhere:
    """An ``EngineChoice`` for machines that have their own copy of the bundle, or make one."""

    bundle: Location | None
    """None for the one that comes with this package, wherever that is installed."""
    engine: str
    precision: str
    num_threads: int

    def __call__(self) -> Segmenter:
        folder = shipped_bundle() if self.bundle is None else cached_copy(self.bundle)
        return EngineChoice(folder, self.engine, self.precision, self.num_threads)()


@contextmanager
def prepared(request: BagRequest) -> Iterator[PreparedBag]:
    """The bag on this machine, while the block runs; of a path it stays.

    Raises:
        DatasetError: as ``prepare_bag``, or it cannot be copied.
    """
    with ExitStack() as copies:
        path = copies.enter_context(local_copy(request.location))
        labels = None if request.labels is None else copies.enter_context(local_copy(request.labels))
        yield prepare_bag(path, request.given, request.described, request.label_topic, labels)


def replay_stored_bags(
    requests: Sequence[BagRequest],
    make_task: Callable[[PreparedBag], BagTask],
    ray: str | None,
    jobs: int = 1,
    cpus: int = 1,
    gpus: int = 0,
) -> Iterator[StoredReplay]:
    """What comes of each bag, in their order; the same whatever they are replayed on.

    Args:
        requests: the bags.
        make_task: says how one is replayed.
        ray: address of a cluster; None = in ``jobs`` processes here.
        jobs: processes.
        cpus: cores that a bag takes on the cluster.
        gpus: GPUs that a bag takes on the cluster.

    Raises:
        DatasetError: a process died, or there is no cluster.
        EngineError: the engine cannot run in a process.
        MissingPackageError: Ray is not installed.
    """
    outcomes = spread(partial(_replay_stored_bag, make_task), requests, ray, jobs, cpus, gpus)
    for request, outcome in zip(requests, outcomes, strict=True):
        yield _failed(request, outcome) if isinstance(outcome, DatasetError) else outcome


def _replay_stored_bag(make_task: Callable[[PreparedBag], BagTask], request: BagRequest) -> StoredReplay:
    try:
        with prepared(request) as bag:
            results = replay_bag(make_task(bag))
    except DatasetError as error:
        return _failed(request, error)
    copy, original = str(bag.path), str(request)
    named = [replace(each, damage=each.damage and each.damage.replace(copy, original)) for each in results]
    found = replace(bag, path=request.location, label_files=None, ground_truth=request.ground_truth)
    return StoredReplay(found, named)


def _failed(request: BagRequest, error: DatasetError) -> StoredReplay:
    bag = PreparedBag(request.location, request.name, {}, 0, request.label_topic, ground_truth=request.ground_truth)
    return StoredReplay(bag, error)


@contextmanager
def stored_sink(
    open_in: Callable[[Path, RunInfo], AbstractContextManager[Sink]], folder: Location, run: RunInfo
) -> Iterator[Sink]:
    """A sink that writes to a folder, wherever that is.

    Raises:
        DatasetError: it cannot be uploaded.
        OSError: it cannot be written.
    """
    with local_folder(folder) as local, open_in(local, run) as sink:
        yield sink
