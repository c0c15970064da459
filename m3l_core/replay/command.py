"""``m3l_replay``: what a robot would have made of recordings, as they are and with sensors lost or damaged.

    m3l_replay bags/kitchen --bundle my_bundle --label-topic /labels --output report
    m3l_replay bags/kitchen --scenario no_depth --output report --annotate
    m3l_replay bags/* --jobs 4 --scenario none intermittent my_scenario.yaml --fail-under rate=9,gap=0.5
    m3l_replay bags/kitchen --live --scenario none intermittent --output report

Replays each bag under each scenario through the node's own decoding, health checks, synchronizer and model, by the
bag's clock and as fast as this machine goes. With --live each is played into the running node over DDS in real time,
so that the latency of its labels is measured, too, and then replayed offline to compare the labels. Ends with status 1
if a figure is beyond its limit or a bag is damaged.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from m3l_core.bundle import BundleDescription, ModelBundle
from m3l_core.command_line import run
from m3l_core.engines.engine import load_engine
from m3l_core.errors import DatasetError, MissingPackageError
from m3l_core.replay.arguments import LiveOptions, live_options_of, parse, settings_of, sinks_of
from m3l_core.replay.console import tables
from m3l_core.replay.page import write_page
from m3l_core.replay.preparation import PreparedBag, prepare_bag
from m3l_core.replay.replay import ReplayResult, replay
from m3l_core.replay.replay_bags import BagTask, EngineChoice, Outcome, replay_bags
from m3l_core.replay.report import ReplayReport, to_dict, write_json
from m3l_core.segmenter import Segmenter

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
        _make_folder(arguments.output)
    bundle = ModelBundle.load(arguments.bundle)
    described = bundle.description
    console = Console(stderr=True, highlight=False, markup=False)
    bags = _prepare(arguments, described, console)
    sinks = sinks_of(arguments, bags, scenarios)
    engine = load_engine(bundle, arguments.engine, arguments.precision, arguments.threads)
    segmenter = Segmenter(described, engine)
    # What is chosen here runs in every process: left to themselves they could choose differently.
    name = engine.name if arguments.engine == "auto" else arguments.engine
    choice = EngineChoice(bundle.folder, name, engine.precision, arguments.threads)
    jobs = min(arguments.jobs, len(bags))
    load = choice if jobs > 1 else lambda: segmenter
    settings = settings_of(arguments)
    with nullcontext(replay) if open_live is None else open_live(choice, live_options_of(arguments)) as play:
        tasks = [BagTask(bag, tuple(scenarios), settings, load, sinks, play) for bag in bags]
        outcomes = _replay(tasks, jobs, console)
    limits = arguments.fail_under
    report = ReplayReport(described, name, engine.precision, settings, scenarios, bags, outcomes, limits)

    # A file or another program gets the tables in full width.
    Console(width=None if sys.stdout.isatty() else 200).print(*tables(report), sep="\n")
    if arguments.output is not None:
        print(f"written: {_write(arguments.output, report)}")
    if problems := [*report.damages, *report.failures]:
        sys.exit("\n".join(f"m3l_replay: {problem}" for problem in problems))


def _prepare(arguments: argparse.Namespace, described: BundleDescription, console: Console) -> list[PreparedBag]:
    given = {"color": arguments.color_topic, "depth": arguments.depth_topic}
    labels = arguments.labels * len(arguments.bags) if len(arguments.labels) == 1 else arguments.labels
    bags = []
    for number, path in enumerate(arguments.bags):
        label_files = labels[number] if labels else None
        bag = prepare_bag(path, given, described, arguments.label_topic, label_files)
        chosen = [f"{name} {topic}{'' if given[name] else ' (guessed)'}" for name, topic in bag.topics.items()]
        console.print(f"{bag.name}: {', '.join(chosen)}", soft_wrap=True)
        bags.append(bag)
    return bags


def _replay(tasks: Sequence[BagTask], jobs: int, console: Console) -> list[Outcome]:
    outcomes: list[Outcome] = []
    started_s = time.perf_counter()
    with Progress(console=console) as progress:
        messages = sum(task.bag.num_messages * len(task.scenarios) for task in tasks)
        shown = progress.add_task(f"{len(tasks)} x {len(tasks[0].scenarios)} replays", total=messages)
        for outcome in replay_bags(tasks, jobs, lambda number: progress.advance(shown, number)):
            outcomes.append(outcome)
    results = [result for outcome in outcomes if not isinstance(outcome, DatasetError) for result in outcome]
    if not results:
        raise DatasetError("\n".join(map(str, outcomes)))
    took_s = time.perf_counter() - started_s
    replayed_s = sum(result.measures.delivery.run_ns for result in results) / 1e9
    console.print(f"{replayed_s:.1f} s replayed in {took_s:.1f} s, {replayed_s / took_s:.1f} times real time")
    return outcomes


def _write(folder: Path, report: ReplayReport) -> Path:
    """Returns the page."""
    content = to_dict(report)
    for path, write in ((folder / "report.json", write_json), (folder / "report.html", write_page)):
        try:
            write(path, content)
        except OSError as error:
            raise DatasetError(f"{path} cannot be written: {error}") from error
    return path


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(f"{path} cannot be the output folder: {error}") from error
