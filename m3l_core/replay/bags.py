"""Many bags under many scenarios, in this process or in several; the results are the same."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from m3l_core.bags.reader import open_bag
from m3l_core.bundle import ModelBundle
from m3l_core.engines.engine import load_engine
from m3l_core.errors import DatasetError
from m3l_core.parallel import in_processes
from m3l_core.registration.cameras import field_of_view_deg
from m3l_core.replay.faults.scenario import Scenario
from m3l_core.replay.ground_truth import read_label_topic
from m3l_core.replay.label_images import LabelImages, LabelStore
from m3l_core.replay.preparation import PreparedBag
from m3l_core.replay.recordings.sinks import OpenSink, RunInfo
from m3l_core.replay.replay import ReplayResult, ReplaySettings, replay
from m3l_core.segmenter import Segmenter

Outcome = list[ReplayResult] | DatasetError
"""Of a bag: a result for each scenario, or why there is none."""


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """A bundle on an engine, to be loaded wherever it is needed."""

    bundle: Path
    engine: str
    precision: str
    num_threads: int = 0

    def __call__(self) -> Segmenter:
        bundle = ModelBundle.load(self.bundle)
        return Segmenter(bundle.description, load_engine(bundle, self.engine, self.precision, self.num_threads))


@dataclass(frozen=True, slots=True)
class BagTask:
    """One bag under all scenarios."""

    bag: PreparedBag
    scenarios: tuple[Scenario, ...]
    settings: ReplaySettings
    load: Callable[[], Segmenter]
    """Equal ones give equal segmenters, one of which a process keeps."""
    sinks: tuple[OpenSink, ...] = ()
    """Opened for each scenario."""
    replay: Callable[..., ReplayResult] = replay
    """Plays it under one of them, with the arguments of ``replay``."""


def replay_bags(
    tasks: Sequence[BagTask], jobs: int = 1, advance: Callable[[int], None] = lambda messages: None
) -> Iterator[Outcome]:
    """What comes of each task, in their order.

    Args:
        tasks: the bags.
        jobs: processes, each with a segmenter of its own.
        advance: called now and then with the number of messages since the last time.

    Raises:
        DatasetError: a process died.
        EngineError: the engine cannot run.
    """
    if jobs <= 1:
        for task in tasks:
            yield _outcome(task, lambda: advance(1))
        return
    for outcome in in_processes(_outcome, tasks, jobs, chunk=1):
        yield outcome
        if not isinstance(outcome, DatasetError):
            advance(sum(counts.recorded for result in outcome for counts in result.measures.modalities.values()))


def _outcome(task: BagTask, advance: Callable[[], None] = lambda: None) -> Outcome:
    try:
        return replay_bag(task, advance)
    except DatasetError as error:
        return error


def replay_bag(task: BagTask, advance: Callable[[], None] = lambda: None) -> list[ReplayResult]:
    """One bag under its scenarios.

    The first scenario without faults comes before the others, which are compared with it.

    Raises:
        DatasetError: the bag has no message on its topics, its ground truth does not fit, or the disk is full.
        EngineError: the engine cannot run.
    """
    segmenter = _segmenter(task.load)
    full_first = sorted(task.scenarios, key=lambda scenario: bool(scenario.faults))
    results: dict[str, ReplayResult] = {}
    try:
        with open_bag(Path(task.bag.path)) as bag, LabelStore() as recorded, LabelStore() as full:
            segmenter.horizontal_fov_deg = field_of_view_deg(bag, task.bag.topics)
            truth: LabelImages | None = task.bag.label_files
            if (topic := task.bag.label_topic) is not None:
                num_classes = len(segmenter.description.labels)
                read_label_topic(bag, topic, task.settings.stamps, num_classes, recorded)
                truth = recorded
            for number, scenario in enumerate(full_first):
                makes_full = number == 0 and not scenario.faults and len(full_first) > 1
                run = RunInfo(bag.name, scenario.name, task.bag.topics, segmenter.description, truth is not None)
                with ExitStack() as opened:
                    results[scenario.name] = task.replay(
                        bag,
                        task.bag.topics,
                        segmenter,
                        scenario.faults_for(bag.name),
                        task.settings,
                        scenario=scenario.name,
                        truth=truth,
                        full=full if number and len(full) else None,
                        keep=full if makes_full else None,
                        sinks=[opened.enter_context(open_sink(run)) for open_sink in task.sinks],
                        advance=advance,
                    )
                if not scenario.faults and not results[scenario.name].measures.live:
                    _check_stamps([results[scenario.name]], truth)
            _check_stamps([*results.values()], truth)
    except OSError as error:
        raise DatasetError(
            f"labels of {task.bag.name} cannot be kept on disk: {error}; is the output folder full, or TMPDIR?"
        ) from error
    return [results[scenario.name] for scenario in task.scenarios]


def _check_stamps(results: Sequence[ReplayResult], truth: LabelImages | None) -> None:
    measured = [result.measures for result in results]
    labelled = any(measures.delivery.number for measures in measured)
    if truth and labelled and not any(measures.scores.accuracy.frames for measures in measured):
        raise DatasetError(
            f"none of the {len(truth)} label images of the ground truth of {results[0].bag} belongs to a frame: "
            "expected the stamps of the images (--stamps says which) in ns; the recording begins at "
            f"{results[0].start_ns}"
        )


@functools.cache
def _segmenter(load: Callable[[], Segmenter]) -> Segmenter:
    return load()
