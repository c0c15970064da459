#!/usr/bin/env python3
"""Write recorded bags as folders of pictures, synchronized and checked as on the robot.

    python training/extract_bag.py bags/kitchen bags/hall --output data --rate 2
    python training/extract_bag.py bags/kitchen --output data --color /front/rgb --depth /front/depth

Every bag (rosbag2: MCAP or sqlite3) becomes data/NAME/color and data/NAME/depth with a file for each frame set, named
after its stamp. Put labels beside them (data/NAME/label/STAMP_NS.png) and go on with training/index_folder.py.
Interrupted, the same command goes on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from m3l_core.command_line import positive_number, run
from m3l_core.datasets.bag_extraction import Extraction, extract_bag
from m3l_core.datasets.bag_frames import MODALITIES
from m3l_core.datasets.bag_reader import open_bag
from m3l_core.datasets.bag_topics import choose_topics
from m3l_core.datasets.indexing import LABEL
from m3l_core.errors import DatasetError
from m3l_core.streaming.sync_config import SyncConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bags", nargs="+", type=Path, metavar="BAG", help="folder of a bag")
    parser.add_argument("--output", type=Path, required=True, help="data folder")
    parser.add_argument("--color", metavar="TOPIC", help="'none' if it was not recorded; guessed if not given")
    parser.add_argument("--depth", metavar="TOPIC", help="'none' if it was not recorded; guessed if not given")
    parser.add_argument("--label", metavar="TOPIC", help="mono8 images of class ids with the stamps of the frames")
    parser.add_argument("--rate", type=positive_number, metavar="HZ", help="at most so many frame sets a second")
    parser.add_argument(
        "--max-interval", type=positive_number, default=0.02, help="the node's approx_sync_max_interval [s]"
    )
    parser.add_argument("--sync-timeout", type=positive_number, default=0.05, help="the node's sync_timeout [s]")
    arguments = parser.parse_args()

    console = Console()
    table = Table("recording", "frame sets", *(f"without {name}" for name in MODALITIES), "labels", "files written")
    errors = []
    with Progress(console=console) as progress:
        for bag in arguments.bags:
            try:
                name, extraction = _extract(bag, arguments, progress)
            except DatasetError as error:
                errors.append(str(error))
                continue
            without = (extraction.without[modality] for modality in MODALITIES)
            counts = (extraction.frame_sets, *without, extraction.labels, extraction.written)
            table.add_row(name, *map(str, counts))
            for (modality, reason), count in sorted(extraction.dropped.items()):
                progress.print(f"{name}: {count} {modality} messages dropped: {reason}", markup=False, soft_wrap=True)
    if table.row_count:
        console.print(table)
    if errors:
        sys.exit("\n".join(f"extract_bag: {error}" for error in errors))


def _extract(path: Path, arguments: argparse.Namespace, progress: Progress) -> tuple[str, Extraction]:
    given = {"color": arguments.color, "depth": arguments.depth}
    with open_bag(path) as bag:
        try:
            topics = choose_topics(bag.topics, given)
            labels = choose_topics(bag.topics, {LABEL: arguments.label}) if arguments.label else {}
        except DatasetError as error:
            raise DatasetError(f"{path}: {error}") from error
        chosen = (f"{name} {topic}{'' if given[name] else ' (guessed)'}" for name, topic in topics.items())
        progress.print(f"{bag.name}: {', '.join(chosen)}", markup=False, soft_wrap=True)
        count = sum(bag.topics[topic].msgcount for topic in (*topics.values(), *labels.values()))
        task = progress.add_task(bag.name, total=count)
        return bag.name, extract_bag(
            bag,
            arguments.output,
            topics,
            label_topic=arguments.label,
            rate_hz=arguments.rate,
            config=SyncConfig(
                approx_sync_max_interval_ns=round(arguments.max_interval * 1e9),
                sync_timeout_ns=round(arguments.sync_timeout * 1e9),
            ),
            advance=lambda: progress.advance(task),
        )


if __name__ == "__main__":
    run(main)
