#!/usr/bin/env python3
"""Write a published data set as a data folder that training reads.

    python training/import_dataset.py stanford_indoor /data/2d3ds --output stanford --max-side 540
    python training/import_dataset.py potsdam /data/potsdam --output potsdam --tile 512

The sets: deliver, dfc2023, nyuv2 (40 classes), nyuv2_13, nyuv2_raw (40 classes, depth with the sensor's holes),
potsdam, stanford_indoor, sun_rgbd, vaihingen. Interrupted, the same command goes on. Every split becomes an index
file, and labels.yaml holds the modalities and classes as a recipe takes them.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from rich.progress import Progress
from rich.table import Table

from m3l_core.command_line import positive, readable, run
from m3l_core.published.frame_writer import Shape
from m3l_core.published.importing import IMPORTERS, LABELS_FILE, Imported, read_published, write_folder
from m3l_core.terminal import PlainConsole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(IMPORTERS))
    parser.add_argument("root", type=Path, help="folder of the published set, as it was unpacked")
    parser.add_argument("--output", type=Path, required=True, help="data folder to write")
    parser.add_argument("--max-side", type=int, help="shrink what is larger [pixels]")
    parser.add_argument("--tile", type=int, help="cut into square tiles of this side [pixels]")
    parser.add_argument("--overlap", type=int, default=0, help="of neighbouring tiles [pixels]")
    parser.add_argument("--workers", type=positive, default=os.cpu_count(), help="processes")
    parser.add_argument("--skip-broken", action="store_true", help="leave out frames that cannot be read")
    arguments = parser.parse_args()

    published = read_published(arguments.name, arguments.root)
    tile = published.tile if arguments.tile is None else arguments.tile
    shape = Shape(tile, arguments.overlap, arguments.max_side)
    console = PlainConsole()
    with Progress(console=console) as progress:
        task = progress.add_task(arguments.name, total=len(published.frames))
        imported = write_folder(
            published,
            arguments.output,
            shape,
            arguments.workers,
            arguments.skip_broken,
            lambda: progress.advance(task),
        )
    console.print(_summary(imported, [modality.name for modality in published.modalities]))
    for reason in imported.broken:
        print(f"left out: {readable(reason)}", file=sys.stderr)
    print(f"written to {arguments.output}; modalities and classes are in {arguments.output / LABELS_FILE}")


def _summary(imported: Imported, modalities: list[str]) -> Table:
    table = Table("index", "frames", *modalities, "label")
    for split, entries in sorted(imported.indexes.items()):
        counts = (sum(entry.get(field) is not None for entry in entries) for field in (*modalities, "label"))
        table.add_row(f"{split}.json", str(len(entries)), *map(str, counts))
    return table


if __name__ == "__main__":
    run(main)
