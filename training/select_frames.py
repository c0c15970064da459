#!/usr/bin/env python3
"""Choose frames of recordings that are worth labelling, and hand them out to a labelling tool.

    python training/select_frames.py data --budget 49 --output to_label
    python training/select_frames.py data/train.json --budget 49 --output to_label --bundle mine --strategy k_center

The frames are those of a data folder, as training/extract_bag.py writes it, or of an index file.

Strategies: random, the default; uniform, every so many frames, in the order of time; k_center, which takes what looks
most different to the bundle from all that is labelled or chosen; and k_center_uncertain, which also prefers what the
bundle is unsure of. Neither left a better model than random at the same budget (docs/results.md), so random is the
default.

With a bundle its labels are handed out too, to be corrected. The output folder, here to_label, has images/, and for
CVAT: a task with the labels of cvat/labels.json (Raw), then import cvat/segmentation_mask.zip (Segmentation mask 1.1);
Label Studio: label_studio/start.sh, which starts it without telemetry and makes the project, its storage and its tasks;
other tools: coco.json (COCO 1.0; to datumaro give the folder) or masks/ (png with a palette).
What comes back goes to training/import_labels.py, with the selection.json of the folder.

A Label Studio that runs already takes a project with label_studio/config.xml, then label_studio/tasks.json. It serves
the images if it was started with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and
LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=/absolute/to_label, and the project has /absolute/to_label/images as a storage:
Settings > Cloud Storage > Add Source Storage > Local files, without a sync. Else have a web server serve images/, and
name it by --image-url.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from rich.progress import Progress
from rich.table import Table

from m3l_core.annotation.classes import label_task
from m3l_core.annotation.frame_list import read_frames, stamps
from m3l_core.annotation.manifest import Selection, selected_frames
from m3l_core.annotation.package import LOCAL_FILES, check_is_free, write_package
from m3l_core.annotation.prelabels import Prelabeller
from m3l_core.annotation.selection import (
    NEED_FEATURES,
    STRATEGIES,
    Choice,
    choose_evenly,
    choose_k_center,
    choose_randomly,
)
from m3l_core.bundle import ModelBundle
from m3l_core.command_line import add_files_anywhere, positive, run, whole_number
from m3l_core.datasets.folder import Sample
from m3l_core.engines.engine import ENGINES
from m3l_core.errors import DatasetError, require
from m3l_core.terminal import PlainConsole


def main() -> None:
    arguments = parse_arguments()
    check_is_free(arguments.output)
    bundle = None if arguments.bundle is None else ModelBundle.load(arguments.bundle)
    task = label_task(arguments.data, arguments.labels, bundle.description if bundle else None)
    modalities = bundle.description.modalities if bundle else task.modalities
    samples = read_frames(arguments.data, [modality.name for modality in modalities], arguments.files_anywhere)
    console = PlainConsole()
    with Progress(console=console) as progress:
        choices = choose(arguments, samples, bundle, progress)
        chosen = [samples[choice.place] for choice in choices]
        selection = Selection(
            index=arguments.data.resolve().name,
            modalities=tuple(modality.name for modality in modalities),
            strategy=arguments.strategy,
            seed=arguments.seed,
            bundle=f"{bundle.description.name} {bundle.description.weights_sha256[:12]}" if bundle else None,
            labels=task.labels,
            frames=selected_frames(arguments.data, samples, choices),
        )
        bar = progress.add_task("writing", total=len(chosen))
        labels_of = None if bundle is None else Prelabeller(bundle, arguments.engine, task.labels)
        write_package(
            *(arguments.output, selection, chosen, modalities, labels_of, arguments.image_url),
            advance=lambda: progress.advance(bar),
        )
    console.print(_summary(samples, chosen))
    print(f"{len(chosen)} frames written to {arguments.output}")


def choose(
    arguments: argparse.Namespace, samples: list[Sample], bundle: ModelBundle | None, progress: Progress
) -> list[Choice]:
    """The frames to label, by the strategy."""
    covered = [place for place, sample in enumerate(samples) if sample.label is not None]
    candidates = [place for place, sample in enumerate(samples) if sample.label is None]
    if not candidates:
        raise DatasetError(f"all {len(samples)} frames of {arguments.data} are labelled already")
    budget, seed = arguments.budget, arguments.seed
    if arguments.strategy == "random":
        return choose_randomly(candidates, budget, seed)
    if arguments.strategy == "uniform":
        recordings = [sample.recording for sample in samples]
        return choose_evenly(candidates, budget, recordings, stamps(arguments.data, samples))
    assert bundle is not None
    require("torch", "train")
    from m3l_core.engines.torch_engine import load_network
    from m3l_core.model.features import frame_features

    described = bundle.description
    bar = progress.add_task("looking", total=len(samples))
    seen = frame_features(
        *(load_network(bundle), samples, described.modalities, described.input_size),
        advance=lambda frames: progress.advance(bar, frames),
    )
    uncertainty = seen.uncertainty if arguments.strategy == "k_center_uncertain" else None
    return choose_k_center(seen.features, covered, candidates, budget, seed, uncertainty)


def _summary(samples: list[Sample], chosen: list[Sample]) -> Table:
    frames, labelled, selected = (
        Counter(sample.recording for sample in part)
        for part in (samples, [sample for sample in samples if sample.label is not None], chosen)
    )
    table = Table("recording", "frames", "labelled", "chosen")
    for recording, count in sorted(frames.items()):
        table.add_row(recording, *map(str, (count, labelled[recording], selected[recording])))
    return table


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="data folder or index file; frames with a label count as covered")
    parser.add_argument("--budget", type=positive, required=True, metavar="N", help="frames to choose")
    parser.add_argument("--output", type=Path, required=True, help="folder to write, new or empty")
    parser.add_argument("--bundle", type=Path, help="model that looks at the frames and labels what is handed out")
    parser.add_argument(
        "--labels", type=Path, help="labels.yaml with the classes; else the one beside the index, or the bundle's"
    )
    parser.add_argument("--strategy", default="random", choices=STRATEGIES)
    parser.add_argument("--seed", type=whole_number, default=0, help="draws the frames, or the first one of k_center")
    parser.add_argument("--engine", default="auto", choices=("auto", *ENGINES), help="what runs the bundle to label")
    parser.add_argument("--image-url", default=LOCAL_FILES, metavar="URL", help="of images/, for Label Studio")
    add_files_anywhere(parser)
    arguments = parser.parse_args()
    if arguments.strategy in NEED_FEATURES and arguments.bundle is None:
        parser.error(f"--strategy {arguments.strategy} needs --bundle: its features tell the frames apart")
    return arguments


if __name__ == "__main__":
    run(main)
