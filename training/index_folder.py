#!/usr/bin/env python3
"""Make index files for recordings in folders, split by recording.

    python training/index_folder.py data
    python training/index_folder.py data --validation 0.3 --seed 1

The folder holds RECORDING/color/STEM.jpg, RECORDING/depth/STEM.png (16-bit millimetres) and RECORDING/label/STEM.png
(8-bit class ids, 255 = unlabelled); files of one instant share their stem, and any of them may be missing.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path

from rich.table import Table

from m3l_core.command_line import run
from m3l_core.datasets.indexing import (
    TRAIN_INDEX,
    VALIDATION_INDEX,
    Recording,
    draw_validation,
    read_recordings,
    write_indexes,
)
from m3l_core.terminal import PlainConsole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the recordings; train.json and val.json are written to it")
    parser.add_argument("--validation", type=float, default=0.2, help="share of the labelled recordings (default 0.2)")
    parser.add_argument("--seed", type=int, default=0, help="draws the recordings for validation")
    parser.add_argument("--modalities", nargs="+", default=["color", "depth"], help="names of the folders of pictures")
    arguments = parser.parse_args()

    recordings = read_recordings(arguments.data, arguments.modalities)
    validation = draw_validation(recordings, arguments.validation, arguments.seed)
    write_indexes(arguments.data, recordings, validation, arguments.modalities)
    PlainConsole().print(_summary(recordings, validation, arguments.modalities))
    left_out = sum(len(each.samples) - each.num_labelled for each in recordings if each.name in validation)
    if left_out:
        print(f"{left_out} unlabelled frames of the recordings in {VALIDATION_INDEX} are in neither index")
    print(f"written to {arguments.data}: {TRAIN_INDEX}, {VALIDATION_INDEX}")


def _summary(recordings: Sequence[Recording], validation: Collection[str], modalities: Sequence[str]) -> Table:
    table = Table("recording", "index", "frames", "labelled", *(f"without {name}" for name in modalities))
    for recording in recordings:
        counts = (len(recording.samples), recording.num_labelled, *map(recording.num_without, modalities))
        index = VALIDATION_INDEX if recording.name in validation else TRAIN_INDEX
        table.add_row(recording.name, index, *map(str, counts))
    return table


if __name__ == "__main__":
    run(main)
