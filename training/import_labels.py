#!/usr/bin/env python3
"""Take the labels that a labelling tool exported into a data folder, or into an index file and its folder.

    python training/import_labels.py data cvat_export.zip --selection to_label
    python training/import_labels.py data/train.json to_label/masks --selection to_label

Reads CVAT (Segmentation mask 1.1, CVAT for images 1.1, COCO 1.0), Label Studio (JSON with brushed regions), COCO
(polygons and run lengths) and png masks of class ids or class colors: zip archives, folders or files, in any number.
Everything is checked before anything is written: classes, sizes, frames that are not in the data, frames that are
there twice. What nobody labelled becomes 255. After a folder, go on with training/index_folder.py.

The classes and the frames are those of --selection, the folder that training/select_frames.py wrote. Without it the
classes are those of --labels, of a labels.yaml in the data's folder or of --bundle, and files are found by the path of
their image or by RECORDING__STEM.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from m3l_core.annotation.classes import label_task
from m3l_core.annotation.filling import Filling, LabelChecker, write_labels
from m3l_core.annotation.frame_list import read_frames, root_of
from m3l_core.annotation.frame_names import FrameFinder
from m3l_core.annotation.manifest import places_of, read_selection
from m3l_core.annotation.reading import read_export
from m3l_core.bundle import ModelBundle
from m3l_core.command_line import add_files_anywhere, run
from m3l_core.datasets.folder import Sample
from m3l_core.errors import DatasetError
from m3l_core.labels import LabelSet


def main() -> None:
    arguments = parse_arguments()
    samples, finder, labels = _what_is_labelled(arguments)
    checker = LabelChecker(
        *(samples, finder, labels),
        overwrite=arguments.overwrite,
        some_classes=arguments.some_classes,
        root=None if arguments.files_anywhere else root_of(arguments.data),
    )
    console = Console()
    for path in arguments.exports:
        try:
            with console.status(f"reading {path}"), read_export(path, labels) as annotations:
                count = checker.add(path, annotations)
        except DatasetError as error:
            checker.refuse(error)  # told with what is wrong with the others
        else:
            print(f"{path}: {annotations.format}, {count} frames")
    filling = checker.finish()
    write_labels(arguments.data, filling)
    console.print(_by_recording(samples, filling), _by_class(labels, filling))
    if filling.empty:
        print(f"{filling.empty} frames without a labelled pixel stay unlabelled")
    print(f"written to {arguments.data}")


def _what_is_labelled(arguments: argparse.Namespace) -> tuple[list[Sample], FrameFinder, LabelSet]:
    data: Path = arguments.data
    if arguments.selection is not None:
        selection = read_selection(arguments.selection)
        samples = read_frames(data, selection.modalities, arguments.files_anywhere)
        return samples, FrameFinder.of_names(places_of(selection, samples, data)), selection.labels
    description = ModelBundle.load(arguments.bundle).description if arguments.bundle else None
    task = label_task(data, arguments.labels, description)
    samples = read_frames(data, [modality.name for modality in task.modalities], arguments.files_anywhere)
    return samples, FrameFinder.of_index(samples, root_of(data)), task.labels


def _by_recording(samples: list[Sample], filling: Filling) -> Table:
    frames = Counter(sample.recording for sample in samples)
    before = Counter(sample.recording for sample in samples if sample.label is not None)
    outcomes = Counter((label.recording, label.outcome) for label in filling.labels)
    table = Table("recording", "frames", "labelled before", "new", "changed", "unchanged", "pixels labelled")
    for recording in sorted({label.recording for label in filling.labels}):
        counts = (outcomes[recording, "new"], outcomes[recording, "changed"], outcomes[recording, "unchanged"])
        shares = [label.share for label in filling.labels if label.recording == recording]
        share = f"{sum(shares) / len(shares):.1%}"
        table.add_row(recording, *map(str, (frames[recording], before[recording], *counts)), share)
    return table


def _by_class(labels: LabelSet, filling: Filling) -> Table:
    pixels = np.sum([label.pixels for label in filling.labels], axis=0)
    table = Table("class", "frames", "of the labelled pixels")
    for number, name in enumerate(labels.names):
        frames = sum(bool(label.pixels[number]) for label in filling.labels)
        table.add_row(name, str(frames), f"{pixels[number] / pixels.sum():.2%}")
    return table


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="data folder or index file that gets the labels")
    parser.add_argument("exports", nargs="+", type=Path, metavar="EXPORT", help="zip archive, folder or file")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--selection", type=Path, help="folder of training/select_frames.py, or its selection.json")
    source.add_argument("--labels", type=Path, help="labels.yaml with the classes")
    source.add_argument("--bundle", type=Path, help="model with the classes")
    parser.add_argument("--overwrite", action="store_true", help="replace labels that frames have already")
    parser.add_argument(
        "--some-classes", action="store_true", help="annotators may have had a part of the classes to choose from"
    )
    add_files_anywhere(parser)
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
