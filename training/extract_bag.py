#!/usr/bin/env python3
"""Write recorded bags as folders of pictures, synchronized and checked as on the robot.

    python training/extract_bag.py bags/kitchen bags/hall --output data --rate 2 --stillness 0.02
    python training/extract_bag.py bags/kitchen --output data --color /front/rgb --depth /front/depth --end 90

Every bag becomes data/NAME/color and data/NAME/depth with a file for each frame set, named after its stamp, and
data/NAME/frames.json, which lists them. Depth that is not registered to color is registered, by the camera_info and
/tf_static of the bag. Put labels beside the pictures (data/NAME/label/STAMP_NS.png) and go on with
training/index_folder.py. Interrupted, the same command goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from m3l_core.command_line import positive, positive_number, run
from m3l_core.datasets.bag_extraction import Extraction, extract_bags
from m3l_core.datasets.bag_frames import MODALITIES
from m3l_core.datasets.extraction_task import ExtractionSettings, ExtractionTask, prepare_extraction
from m3l_core.datasets.time_range import Moment, TimeRange, parse_moment
from m3l_core.errors import DatasetError
from m3l_core.streaming.sync_config import SyncConfig


def main() -> None:
    arguments = _arguments()
    console = Console()
    table = Table("recording", "frame sets", *(f"without {name}" for name in MODALITIES), "labels", "files written")
    problems: list[str] = []
    with Progress(console=console) as progress:
        tasks = _prepare(arguments, progress, problems)
        shown = progress.add_task("messages", total=sum(task.messages for task in tasks))
        outcomes = extract_bags(tasks, min(arguments.jobs, len(tasks)), lambda number: progress.advance(shown, number))
        done = 0
        for task, outcome in zip(tasks, outcomes, strict=True):
            done += task.messages
            progress.update(shown, completed=done)
            if isinstance(outcome, DatasetError):
                problems.append(str(outcome))
                continue
            if outcome.damage:
                problems.append(f"{outcome.damage}; what came before is extracted")
            _report(outcome, table, progress)
    if table.row_count:
        console.print(table)
    if problems:
        sys.exit("\n".join(f"extract_bag: {problem}" for problem in problems))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bags", nargs="+", type=Path, metavar="BAG", help="folder or file of a bag")
    parser.add_argument("--output", type=Path, required=True, help="data folder")
    parser.add_argument("--color", metavar="TOPIC", help="'none' if it was not recorded; guessed if not given")
    parser.add_argument("--depth", metavar="TOPIC", help="'none' if it was not recorded; guessed if not given")
    parser.add_argument("--label", metavar="TOPIC", help="mono8 images of class ids with the stamps of the frames")
    parser.add_argument("--depth-as-is", action="store_true", help="take depth for registered to color")
    parser.add_argument("--rate", type=positive_number, metavar="HZ", help="at most so many frame sets a second")
    parser.add_argument(
        "--stillness",
        type=_share,
        metavar="SHARE",
        help="skip a frame set if less than this share of its 64x48 cells has changed since the last one kept: mean "
        "gray level by 10 of 255, or the mean depth by 5%%; 0.02 is a good start",
    )
    moment = "seconds from the beginning of each bag, or a stamp: seconds since 1970, or nanoseconds"
    parser.add_argument("--start", type=_moment, metavar="TIME", help=moment)
    parser.add_argument("--end", type=_moment, metavar="TIME", help="the same")
    parser.add_argument(
        "--max-interval", type=positive_number, default=0.02, help="the node's approx_sync_max_interval [s]"
    )
    parser.add_argument("--sync-timeout", type=positive_number, default=0.05, help="the node's sync_timeout [s]")
    parser.add_argument("--jobs", type=positive, default=_cores(), help="bags at a time (default: the cores)")
    return parser.parse_args()


def _prepare(arguments: argparse.Namespace, progress: Progress, problems: list[str]) -> list[ExtractionTask]:
    """What is to be done; a bag that cannot be read is a problem of its own."""
    given = {"color": arguments.color, "depth": arguments.depth}
    settings = ExtractionSettings(
        arguments.label,
        arguments.rate,
        arguments.stillness,
        TimeRange(arguments.start, arguments.end),
        SyncConfig(
            approx_sync_max_interval_ns=round(arguments.max_interval * 1e9),
            sync_timeout_ns=round(arguments.sync_timeout * 1e9),
        ),
        arguments.depth_as_is,
    )
    threads = max(1, _cores() // min(arguments.jobs, len(arguments.bags)))
    tasks: dict[str, ExtractionTask] = {}
    for path in arguments.bags:
        try:
            task = prepare_extraction(path, arguments.output, given, settings, threads)
        except DatasetError as error:
            problems.append(str(error))
            continue
        if task.name in tasks:
            problems.append(f"{path} and {tasks[task.name].path} would both become {task.folder}: rename one")
            continue
        tasks[task.name] = task
        chosen = (f"{name} {topic}{'' if given[name] else ' (guessed)'}" for name, topic in task.topics.items())
        progress.print(f"{task.name}: {', '.join(chosen)}", markup=False, soft_wrap=True)
    return list(tasks.values())


def _report(extraction: Extraction, table: Table, progress: Progress) -> None:
    without = (extraction.without[modality] for modality in MODALITIES)
    counts = (extraction.frame_sets, *without, extraction.labels, extraction.written)
    table.add_row(extraction.name, *map(str, counts))
    lines = ["depth was registered to color"] if extraction.registered else []
    lines += [f"{count} {what} skipped: {why}" for (what, why), count in sorted(extraction.skipped.items())]
    lines += [f"{count} {what} messages dropped: {why}" for (what, why), count in sorted(extraction.dropped.items())]
    for line in lines:
        progress.print(f"{extraction.name}: {line}", markup=False, soft_wrap=True)


def _cores() -> int:
    return os.cpu_count() or 1


def _share(text: str) -> float:
    share = positive_number(text)
    if share > 1:
        raise argparse.ArgumentTypeError(f"expected a share of at most 1, got {text}")
    return share


def _moment(text: str) -> Moment:
    try:
        return parse_moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    run(main)
