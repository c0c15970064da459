#!/usr/bin/env python3
"""Write recorded bags as folders of pictures, synchronized and checked as on the robot.

    python training/extract_bag.py bags/kitchen bags/hall --output data --rate 2 --stillness 0.02
    python training/extract_bag.py bags/kitchen --output data --color /front/rgb --depth /front/depth --end 90
    python training/extract_bag.py s3://fleet/bags/kitchen s3://fleet/bags/hall --output s3://fleet/data --ray auto

Every bag becomes data/NAME/color and data/NAME/depth with a file for each frame set, named after its stamp, and
data/NAME/frames.json, which lists them. Depth that is not registered to color is registered, by the camera_info and
/tf_static of the bag. Put labels beside the pictures (data/NAME/label/STAMP_NS.png) and go on with
training/index_folder.py. Interrupted, the same command goes on.

Labels that a large model published while the bag was recorded become data/NAME/label/STAMP_NS.png in your classes:

    python training/extract_bag.py bags/kitchen --output data --label /sam3/label_mask --nothing 0 \
        --class-map sam3.yaml --teacher "SAM 3" --teacher-licence "SAM License"
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from rich.progress import Progress
from rich.table import Table

from m3l_core.annotation.classes import read_labels
from m3l_core.bags.frame_sets import MODALITIES
from m3l_core.bags.sync_arguments import add_sync_arguments, in_options, sync_config_of
from m3l_core.bags.time_range import Moment, TimeRange, parse_moment
from m3l_core.command_line import number_between, positive, readable, run
from m3l_core.errors import DatasetError
from m3l_core.extraction.extraction import Extraction, extract_bags
from m3l_core.extraction.label_arguments import add_label_arguments, check_label_arguments, label_source_of
from m3l_core.extraction.stored_bags import bag_name, extract_stored_bag
from m3l_core.extraction.task import ExtractionSettings, ExtractionTask, prepare_extraction
from m3l_core.fleet import spread
from m3l_core.labels import LabelSet
from m3l_core.published.importing import LABELS_FILE
from m3l_core.remote_files import Location, absolute, joined, location, make_folder
from m3l_core.terminal import PlainConsole


def main() -> None:
    arguments = _arguments()
    console = PlainConsole()
    table = Table("recording", "frame sets", *(f"without {name}" for name in MODALITIES), "labels", "files written")
    problems: list[str] = []
    is_here = arguments.ray is None and not any(isinstance(each, str) for each in (*arguments.bags, arguments.output))
    with Progress(console=console) as progress:
        for outcome in (_extract if is_here else _extract_stored)(arguments, progress, problems):
            if isinstance(outcome, DatasetError):
                problems.append(str(outcome))
                continue
            if outcome.damage:
                problems.append(f"{outcome.damage}; what came before is extracted")
            if outcome.unused:
                problems.append(f"{outcome.name}: {in_options(outcome.unused)}")
            _report(outcome, table, progress)
    if table.row_count:
        console.print(table)
    if problems:
        sys.exit("\n".join(f"extract_bag: {readable(problem)}" for problem in problems))


def _extract(
    arguments: argparse.Namespace, progress: Progress, problems: list[str]
) -> Iterator[Extraction | DatasetError]:
    tasks = _prepare(arguments, progress, problems)
    shown = progress.add_task("messages", total=sum(task.messages for task in tasks))
    outcomes = extract_bags(tasks, min(arguments.jobs, len(tasks)), lambda number: progress.advance(shown, number))
    done = 0
    for task, outcome in zip(tasks, outcomes, strict=True):
        done += task.messages
        progress.update(shown, completed=done)
        yield outcome


def _extract_stored(
    arguments: argparse.Namespace, progress: Progress, problems: list[str]
) -> Iterator[Extraction | DatasetError]:
    """Bags that are looked at only where the work is done."""
    output = absolute(arguments.output)
    if isinstance(output, str):
        make_folder(output)
    bags: dict[str, Location] = {}
    for bag in map(absolute, arguments.bags):
        name = bag_name(bag)
        if name in bags:
            problems.append(_clash(bag, bags[name], joined(output, name)))
        else:
            bags[name] = bag
    threads = 1 if arguments.ray is not None else _threads(arguments)
    work = partial(extract_stored_bag, output, _given(arguments), _settings(arguments), threads)
    outcomes = spread(work, list(bags.values()), arguments.ray, min(arguments.jobs, len(bags)))
    for outcome in progress.track(outcomes, total=len(bags), description="bags"):
        if isinstance(outcome, DatasetError):
            yield outcome
        else:
            _report_topics(outcome.extraction.name, outcome.topics, arguments, progress)
            yield outcome.extraction


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = "a path, or a URL such as s3://bucket/bags/hall"
    parser.add_argument("bags", nargs="+", type=location, metavar="BAG", help=f"folder or file of a bag: {where}")
    parser.add_argument("--output", type=location, required=True, help="data folder: the same")
    parser.add_argument("--color", metavar="TOPIC", help="'none' if it was not recorded; guessed if not given")
    parser.add_argument("--depth", metavar="TOPIC", help="'none' if it was not recorded; guessed if not given")
    parser.add_argument("--depth-as-is", action="store_true", help="take depth for registered to color")
    parser.add_argument(
        "--rate", type=number_between(1e-6, 1e6), metavar="HZ", help="at most so many frame sets a second"
    )
    parser.add_argument(
        "--stillness",
        type=number_between(1e-6, 1.0),
        metavar="SHARE",
        help="skip a frame set if less than this share of its 64x48 cells has changed since the last one kept: mean "
        "gray level by 10 of 255, or the mean depth by 5%%; 0.02 is a good start",
    )
    moment = "seconds from the beginning of each bag, or a stamp: seconds since 1970, or nanoseconds"
    parser.add_argument("--start", type=_moment, metavar="TIME", help=moment)
    parser.add_argument("--end", type=_moment, metavar="TIME", help="the same")
    add_sync_arguments(parser)
    add_label_arguments(parser)
    parser.add_argument("--jobs", type=positive, default=_cores(), help="bags at a time (default: the cores)")
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="work on a Ray cluster, a core for each bag: 'auto', HOST:PORT or ray://HOST:PORT; paths must be the same "
        "on its machines",
    )
    arguments = parser.parse_args()
    check_label_arguments(parser, arguments)
    return arguments


def _prepare(arguments: argparse.Namespace, progress: Progress, problems: list[str]) -> list[ExtractionTask]:
    """What is to be done; a bag that cannot be read is a problem of its own."""
    tasks: dict[str, ExtractionTask] = {}
    for path in arguments.bags:
        try:
            task = prepare_extraction(
                path, arguments.output, _given(arguments), _settings(arguments), _threads(arguments)
            )
        except DatasetError as error:
            problems.append(str(error))
            continue
        if task.name in tasks:
            problems.append(_clash(path, tasks[task.name].path, task.folder))
            continue
        tasks[task.name] = task
        _report_topics(task.name, task.topics, arguments, progress)
    return list(tasks.values())


def _given(arguments: argparse.Namespace) -> dict[str, str | None]:
    return {"color": arguments.color, "depth": arguments.depth}


def _settings(arguments: argparse.Namespace) -> ExtractionSettings:
    return ExtractionSettings(
        label_source_of(arguments, _classes(arguments)),
        arguments.rate,
        arguments.stillness,
        TimeRange(arguments.start, arguments.end),
        sync_config_of(arguments),
        arguments.depth_as_is,
        arguments.stamps,
    )


def _classes(arguments: argparse.Namespace) -> LabelSet | None:
    """Yours: a data folder that is not here is not looked into."""
    if arguments.labels is not None:
        return read_labels(Path(arguments.labels))
    beside = arguments.output / LABELS_FILE if isinstance(arguments.output, Path) else None
    return read_labels(beside) if arguments.label and beside is not None and beside.is_file() else None


def _threads(arguments: argparse.Namespace) -> int:
    return max(1, _cores() // min(arguments.jobs, len(arguments.bags)))


def _clash(bag: Location, other: Location, folder: Location) -> str:
    return f"{bag} and {other} would both become {folder}: rename one"


def _report_topics(name: str, topics: Mapping[str, str], arguments: argparse.Namespace, progress: Progress) -> None:
    given = _given(arguments)
    chosen = (f"{each} {topic}{'' if given[each] else ' (guessed)'}" for each, topic in topics.items())
    progress.print(f"{name}: {', '.join(chosen)}", soft_wrap=True)


def _report(extraction: Extraction, table: Table, progress: Progress) -> None:
    without = (extraction.without[modality] for modality in MODALITIES)
    counts = (extraction.frame_sets, *without, extraction.labels, extraction.written)
    table.add_row(extraction.name, *map(str, counts))
    lines = ["depth was registered to color"] if extraction.registered else []
    lines += [f"labels: {extraction.label_ids}"] if extraction.label_ids else []
    lines += [f"{count} {what} skipped: {why}" for (what, why), count in sorted(extraction.skipped.items())]
    lines += [f"{count} {what} messages dropped: {why}" for (what, why), count in sorted(extraction.dropped.items())]
    lines += [in_options(remark) for remark in extraction.remarks]
    for line in lines:
        progress.print(f"{extraction.name}: {line}", soft_wrap=True)


def _cores() -> int:
    return os.cpu_count() or 1


def _moment(text: str) -> Moment:
    try:
        return parse_moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    run(main)
