#!/usr/bin/env python3
"""Take the labels that a labelling tool exported into a data folder, or into an index file and its folder.

    python training/import_labels.py data cvat_export.zip --selection to_label
    python training/import_labels.py data/train.json to_label/masks --selection to_label
    python training/import_labels.py data project.json --selection to_label --status

Reads CVAT (Segmentation mask 1.1, CVAT for images 1.1, COCO 1.0), Label Studio (JSON with brushed regions and
polygons), COCO (polygons and run lengths) and png masks of class ids or class colors: zip archives, folders or files,
in any number. Everything is checked before anything is written: classes, sizes, frames that are not in the data,
frames that are there twice. What nobody labelled becomes 255. After a folder, go on with training/index_folder.py.

Of several annotations of one task of Label Studio the starred one counts, else the newest of --annotator. --status
tells of every selected frame whether it is labelled, only a draft, empty, skipped or untouched, and by whom, and
writes nothing. Label Studio tells of drafts and names only in a snapshot: label_studio/start.sh export FILE makes one.

The classes and the frames are those of --selection, the folder that training/select_frames.py wrote. Without it the
classes are those of --labels, of a labels.yaml in the data's folder or of --bundle, and files are found by the path of
their image or by RECORDING__STEM.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table
from rich.text import Text

from m3l_core.annotation.classes import label_task
from m3l_core.annotation.filling import Filling, LabelChecker, write_labels
from m3l_core.annotation.frame_list import read_frames, root_of
from m3l_core.annotation.frame_names import FrameFinder, picture
from m3l_core.annotation.manifest import places_of, read_selection
from m3l_core.annotation.reading import read_export
from m3l_core.annotation.status import PROGRESS, FrameStatus, StatusReader
from m3l_core.bundle import ModelBundle
from m3l_core.command_line import add_files_anywhere, run
from m3l_core.datasets.folder import Sample
from m3l_core.errors import DatasetError
from m3l_core.labels import LabelSet
from m3l_core.terminal import PlainConsole


@dataclass(frozen=True, slots=True)
class Labelling:
    """What is labelled."""

    samples: list[Sample]
    finder: FrameFinder
    labels: LabelSet
    places: dict[str, int]
    """Name of each selected frame -> its place among the samples; empty without a selection."""


def main() -> None:
    arguments = parse_arguments()
    labelling = _what_is_labelled(arguments)
    if arguments.status:
        _tell_status(arguments, labelling)
    else:
        _import(arguments, labelling)


def _import(arguments: argparse.Namespace, labelling: Labelling) -> None:
    samples, labels = labelling.samples, labelling.labels
    checker = LabelChecker(
        *(samples, labelling.finder, labels),
        overwrite=arguments.overwrite,
        some_classes=arguments.some_classes,
        root=None if arguments.files_anywhere else root_of(arguments.data),
    )
    console = PlainConsole()
    for path in arguments.exports:
        try:
            with console.status(Text(f"reading {path}")), read_export(path, labels, arguments.annotator) as annotations:
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
    new = {label.picture for label in filling.labels}
    missing = [
        name
        for name, place in labelling.places.items()
        if samples[place].label is None and picture(samples[place]) not in new
    ]
    if missing:
        print(f"{len(missing)} of the {len(labelling.places)} selected have no label: {', '.join(missing)}")


def _tell_status(arguments: argparse.Namespace, labelling: Labelling) -> None:
    labelled = (place for place, sample in enumerate(labelling.samples) if sample.label is not None)
    reader = StatusReader(labelling.places, labelled)
    for path in arguments.exports:
        try:
            with read_export(path, labelling.labels) as annotations:
                reader.add(annotations)
        except DatasetError as error:
            reader.refuse(error)
    frames = reader.frames()
    PlainConsole().print(_status_by_frame(frames), _status_by_annotator(frames))
    counts = Counter(frame.progress for frame in frames)
    print(f"{len(frames)} selected: " + ", ".join(f"{counts[each]} {each}" for each in PROGRESS if counts[each]))
    reader.check()


def _status_by_frame(frames: list[FrameStatus]) -> Table:
    table = Table("frame", "status", "annotator", "when")
    for frame in frames:
        for work in frame.work:
            table.add_row(frame.name, work.state, work.annotator, work.date[:19].replace("T", " "))
        if not frame.work:
            table.add_row(frame.name, frame.progress, "", "")
    return table


def _status_by_annotator(frames: list[FrameStatus]) -> Table:
    counts = Counter((work.annotator, work.state) for frame in frames for work in frame.work)
    states = [each for each in PROGRESS if each != "untouched"]
    table = Table("annotator", *states)
    for annotator in sorted({annotator for annotator, _ in counts}):
        table.add_row(annotator, *(str(counts[annotator, state]) for state in states))
    return table


def _what_is_labelled(arguments: argparse.Namespace) -> Labelling:
    data: Path = arguments.data
    if arguments.selection is not None:
        selection = read_selection(arguments.selection)
        samples = read_frames(data, selection.modalities, arguments.files_anywhere)
        places = places_of(selection, samples, data)
        return Labelling(samples, FrameFinder.of_names(places), selection.labels, places)
    description = ModelBundle.load(arguments.bundle).description if arguments.bundle else None
    task = label_task(data, arguments.labels, description)
    samples = read_frames(data, [modality.name for modality in task.modalities], arguments.files_anywhere)
    return Labelling(samples, FrameFinder.of_index(samples, root_of(data)), task.labels, {})


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
    parser.add_argument(
        "--annotator",
        metavar="WHO",
        help="of several annotations of a task, none starred, the newest of this one counts: e-mail, name or number",
    )
    parser.add_argument("--status", action="store_true", help="tell how far the selected frames are; write nothing")
    add_files_anywhere(parser)
    arguments = parser.parse_args()
    if arguments.status and arguments.selection is None:
        parser.error("--status tells of the selected frames: give --selection")
    return arguments


if __name__ == "__main__":
    run(main)
