#!/usr/bin/env python3
"""Look at every file of an index before training does.

    python training/check_dataset.py rooms/train.json --recipe training/recipes/rooms_b0_supervised.yaml
    python training/check_dataset.py stanford/fold1_train.json --output runs/check

Modalities and classes come from the recipe, from --labels, or from a labels.yaml beside the index. With --output the
figures are written to report.json and some frames are drawn in samples.png. The exit status is 1 if something would
stop a training.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import cv2
from rich.progress import Progress

from m3l_core.command_line import add_files_anywhere, positive, run
from m3l_core.datasets.class_map import ClassMap, read_mapping
from m3l_core.datasets.folder import parse_index
from m3l_core.errors import DatasetError
from m3l_core.files import replacing_file
from m3l_core.inspection.inspection import inspect_index, load_task
from m3l_core.inspection.report import tables
from m3l_core.inspection.sample_sheet import draw_sheet
from m3l_core.inspection.tally import Task
from m3l_core.published.importing import LABELS_FILE
from m3l_core.reporting.output_folder import probe_folder, writing_to
from m3l_core.terminal import PlainConsole
from m3l_core.trainer.recipe import Recipe, load_recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--recipe", type=Path, help="recipe whose modalities and classes count")
    source.add_argument("--labels", type=Path, help="labels.yaml whose modalities and classes count")
    parser.add_argument(
        "--class-map",
        metavar="FILE[#KEY]",
        help="JSON or YAML file, or a part of it, such as recipe.yaml#data.0.class_map, that maps the labels' classes",
    )
    parser.add_argument("--output", type=Path, help="folder for report.json and samples.png")
    parser.add_argument("--workers", type=positive, default=os.cpu_count(), help="processes that read images")
    add_files_anywhere(parser)
    arguments = parser.parse_args()

    task = _task(arguments)
    class_map = _class_map(arguments.class_map, task)
    names = [modality.name for modality in task.modalities]
    samples = parse_index(arguments.index, names, class_map=class_map, anywhere=arguments.files_anywhere)
    if arguments.output is not None:
        probe_folder(arguments.output)
    console = PlainConsole()
    with Progress(console=console) as progress:
        bar = progress.add_task("reading", total=len(samples))
        report = inspect_index(
            arguments.index,
            task,
            arguments.workers,
            lambda frames: progress.advance(bar, frames),
            class_map,
            arguments.files_anywhere,
        )
    console.print(*tables(report))
    if arguments.output is not None:
        sheet = cv2.cvtColor(draw_sheet(samples, task.modalities, task.labels), cv2.COLOR_RGB2BGR)
        contents = {
            "report.json": json.dumps(report, indent=2).encode(),
            "samples.png": cv2.imencode(".png", sheet)[1].tobytes(),
        }
        with writing_to(arguments.output):
            for name, content in contents.items():
                with replacing_file(arguments.output / name) as temporary:
                    temporary.write_bytes(content)
        print(f"written to {arguments.output}: report.json, samples.png")
    if report["problems"]:
        count = sum(map(len, report["problems"].values()))
        sys.exit(f"check_dataset: {arguments.index} has {count} problems that would stop a training")


def _task(arguments: argparse.Namespace) -> Task:
    if arguments.recipe is not None:
        recipe = load_recipe(arguments.recipe)
        return Task(modalities=recipe.modalities, labels=recipe.labels)
    beside = arguments.index.parent / LABELS_FILE
    path = arguments.labels or (beside if beside.is_file() else None)
    return Task() if path is None else load_task(path, Recipe.model_fields)


def _class_map(source: str | None, task: Task) -> ClassMap | None:
    if source is None:
        return None
    if task.labels is None:
        raise DatasetError("--class-map needs the classes that it maps to: --recipe or --labels")
    return ClassMap.of(read_mapping(source), task.labels.names)


if __name__ == "__main__":
    run(main)
