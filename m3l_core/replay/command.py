"""``m3l_replay``: what a robot would have made of recordings, as they are and with sensors lost or damaged.

    m3l_replay bags/kitchen --bundle my_bundle --label-topic /labels --output report
    m3l_replay bags/kitchen --scenario no_depth --output report --annotate
    m3l_replay bags/* --jobs 4 --scenario none intermittent my_scenario.yaml --fail-under rate=9,gap=0.5
    m3l_replay bags/kitchen --live --scenario none intermittent --output report
    m3l_replay s3://fleet/bags/kitchen s3://fleet/bags/hall --ray auto --output s3://fleet/reports/monday

Replays each bag under each scenario through the node's own decoding, health checks, synchronizer and model, by the
bag's clock and as fast as this machine goes. With --live each is played into the running node over DDS in real time,
so that the latency of its labels is measured, too, and then replayed offline to compare the labels. Ends with status 1
if a figure is beyond its limit or a bag is damaged.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from rich.progress import Progress

from m3l_core.bags.frame_sets import KINDS
from m3l_core.bundle import ModelBundle
from m3l_core.command_line import readable, run
from m3l_core.engines.engine import load_engine
from m3l_core.errors import DatasetError, MissingPackageError
from m3l_core.files import sole_user
from m3l_core.remote_files import Location, cached_copy, joined, local_folder, make_folder
from m3l_core.replay.arguments import (
    LiveOptions,
    are_elsewhere,
    bags_of,
    live_options_of,
    parse,
    settings_of,
    sinks_of,
)
from m3l_core.replay.bags import BagTask, EngineChoice, Outcome, replay_bags
from m3l_core.replay.faults.scenario import Scenario, check_sensors
from m3l_core.replay.preparation import PreparedBag
from m3l_core.replay.recordings.sinks import sensors
from m3l_core.replay.replay import ReplayResult, replay
from m3l_core.replay.report.console import tables
from m3l_core.replay.report.page import write_page
from m3l_core.replay.report.report import ReplayReport, to_dict, write_json
from m3l_core.replay.stored_bags import (
    BagRequest,
    EngineAnywhere,
    StoredReplay,
    prepared,
    replay_stored_bags,
)
from m3l_core.segmenter import Segmenter
from m3l_core.shipped import shipped_bundle
from m3l_core.terminal import PlainConsole

OpenLive = Callable[[EngineChoice, LiveOptions], AbstractContextManager[Callable[..., ReplayResult]]]
"""Gives what replays as ``replay`` does, but through the running node."""


def main(live: Callable[[], OpenLive] | None = None) -> None:
    """Entry point of ``m3l_replay``; ``live`` loads what ``--live`` needs, which is not in this package."""
    run(lambda: _main(live))


def _main(live: Callable[[], OpenLive] | None) -> None:
    arguments, scenarios = parse(__doc__ or "")
    open_live = None
    if arguments.live:
        if live is None:
            raise MissingPackageError("--live needs m3l_ros: install it anew, or call m3l_ros.commands.replay")
        open_live = live()  # before the work: it may be that ROS is missing
    if arguments.output is not None:
        make_folder(arguments.output)
    is_here = isinstance(arguments.output, Path)
    with sole_user(arguments.output) if is_here else nullcontext():
        _replay_and_report(arguments, scenarios, open_live)


def _replay_and_report(
    arguments: argparse.Namespace, scenarios: Sequence[Scenario], open_live: OpenLive | None
) -> None:
    bundle = ModelBundle.load(cached_copy(arguments.bundle))
    described = bundle.description
    console = PlainConsole(stderr=True, highlight=False)
    requests = bags_of(arguments, described)
    elsewhere = are_elsewhere(arguments)
    bags = [] if elsewhere else _prepare(requests, console)
    sinks = sinks_of(arguments, requests, scenarios)
    engine = load_engine(bundle, arguments.engine, arguments.precision, arguments.threads)
    segmenter = Segmenter(described, engine)
    # What is chosen here runs in every process: left to themselves they could choose differently.
    name = engine.name if arguments.engine == "auto" else arguments.engine
    choice = EngineChoice(bundle.folder, name, engine.precision, arguments.threads)
    jobs = min(arguments.jobs, len(requests))
    load: Callable[[], Segmenter] = choice if jobs > 1 else lambda: segmenter
    if arguments.ray is not None:
        anywhere = None if arguments.bundle == shipped_bundle() else arguments.bundle
        load = EngineAnywhere(anywhere, name, engine.precision, arguments.threads)
    settings = settings_of(arguments, described)
    check_sensors(scenarios, sensors(described, KINDS))
    started_s = time.perf_counter()
    with nullcontext(replay) if open_live is None else open_live(choice, live_options_of(arguments)) as play:
        make_task = partial(BagTask, scenarios=tuple(scenarios), settings=settings, load=load, sinks=sinks, replay=play)
        if elsewhere:
            gpus = int(engine.device != "CPU")
            replays = replay_stored_bags(requests, make_task, arguments.ray, jobs, arguments.threads, gpus)
            bags, outcomes = _collect(replays, requests, console)
        else:
            outcomes = _replay([make_task(bag) for bag in bags], jobs, console)
        _check(outcomes, time.perf_counter() - started_s, console)
    limits = arguments.fail_under
    report = ReplayReport(described, name, engine.precision, settings, scenarios, bags, outcomes, limits)

    # A file or another program gets the tables in full width.
    PlainConsole(width=None if sys.stdout.isatty() else 200).print(*tables(report), sep="\n")
    if arguments.output is not None:
        print(f"written: {_write(arguments.output, report)}")
    if problems := [*report.damages, *report.failures]:
        sys.exit("\n".join(f"m3l_replay: {readable(problem)}" for problem in problems))


def _prepare(requests: Sequence[BagRequest], console: PlainConsole) -> list[PreparedBag]:
    bags = []
    for request in requests:
        with prepared(request) as bag:
            bags.append(bag)
        _print_topics(bag, request, console)
    return bags


def _print_topics(bag: PreparedBag, request: BagRequest, console: PlainConsole) -> None:
    chosen = [f"{name} {topic}{'' if request.given[name] else ' (guessed)'}" for name, topic in bag.topics.items()]
    console.print(f"{bag.name}: {', '.join(chosen)}", soft_wrap=True)
    if bag.warning is not None:
        console.print(f"{bag.name}: {bag.warning}", soft_wrap=True)


def _replay(tasks: Sequence[BagTask], jobs: int, console: PlainConsole) -> list[Outcome]:
    with Progress(console=console) as progress:
        messages = sum(task.bag.num_messages * len(task.scenarios) for task in tasks)
        shown = progress.add_task(f"{len(tasks)} x {len(tasks[0].scenarios)} replays", total=messages)
        return list(replay_bags(tasks, jobs, lambda number: progress.advance(shown, number)))


def _collect(
    replays: Iterator[StoredReplay], requests: Sequence[BagRequest], console: PlainConsole
) -> tuple[list[PreparedBag], list[Outcome]]:
    bags, outcomes = [], []
    with Progress(console=console) as progress:
        shown = progress.track(replays, total=len(requests), description="bags")
        for request, (bag, outcome) in zip(requests, shown, strict=True):
            if bag.topics:
                _print_topics(bag, request, console)
            bags.append(bag)
            outcomes.append(outcome)
    return bags, outcomes


def _check(outcomes: Sequence[Outcome], took_s: float, console: PlainConsole) -> None:
    results = [result for outcome in outcomes if not isinstance(outcome, DatasetError) for result in outcome]
    if not results:
        raise DatasetError("\n".join(map(str, outcomes)))
    replayed_s = sum(result.measures.delivery.run_ns for result in results) / 1e9
    console.print(f"{replayed_s:.1f} s replayed in {took_s:.1f} s, {replayed_s / took_s:.1f} times real time")


def _write(output: Location, report: ReplayReport) -> Location:
    """Returns the page."""
    content = to_dict(report)
    with local_folder(output) as folder:
        for name, write in (("report.json", write_json), ("report.html", write_page)):
            try:
                write(folder / name, content)
            except OSError as error:
                raise DatasetError(f"{joined(output, name)} cannot be written: {error}") from error
    return joined(output, "report.html")
