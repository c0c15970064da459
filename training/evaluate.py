#!/usr/bin/env python3
"""Measure a model bundle on labelled frames, with every subset of its sensors and with damaged ones.

    python training/evaluate.py m3l_core/data/bundles/indoor nyuv2/val.json --output runs/indoor/val

Where the labels have other classes than the bundle, --class-map says which of the bundle's each of them is; a class of
the bundle that none of them becomes is left out of the mean.

Writes evaluation.json and evaluation.png into the output folder, and tables to the console.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.progress import track

from m3l_core.bundle import ModelBundle
from m3l_core.command_line import add_files_anywhere, positive, run, whole_number
from m3l_core.datasets.class_map import read_mapping
from m3l_core.datasets.folder import evenly_spread, read_index
from m3l_core.engines.engine import ENGINES, load_engine
from m3l_core.evaluation.conditions import MISSING, SCENARIOS, standard_conditions
from m3l_core.evaluation.evaluated_classes import EvaluatedClasses
from m3l_core.evaluation.picture import write_picture
from m3l_core.evaluation.report import Subject, tables, to_dict, write_json
from m3l_core.evaluation.robustness import RobustnessEvaluator, labelled_samples
from m3l_core.reporting.output_folder import probe_folder, writing_to
from m3l_core.terminal import PlainConsole

EXAMPLES = 4


def main() -> None:
    arguments = parse_arguments()
    bundle = ModelBundle.load(arguments.bundle)
    described = bundle.description
    samples = read_index(arguments.index, described.modality_names, anywhere=arguments.files_anywhere)
    labelled = labelled_samples(samples, arguments.index)
    chosen = evenly_spread(labelled, arguments.limit)
    maps = [None if each is None else read_mapping(each) for each in (arguments.class_map, arguments.bundle_map)]
    classes = EvaluatedClasses.mapped(described.labels, *maps)
    engine = load_engine(bundle, arguments.engine, arguments.precision, arguments.threads)

    probe_folder(arguments.output)
    evaluator = RobustnessEvaluator(engine, described, arguments.missing, classes)
    conditions = standard_conditions(described.modality_names, arguments.conditions)
    frames = track(chosen, f"{len(conditions)} conditions", console=PlainConsole(stderr=True))
    result = evaluator.measure(frames, conditions)
    subject = Subject(
        bundle=described.name,
        weights_sha256=described.weights_sha256,
        engine=engine.name,
        precision=engine.precision,
        index=arguments.index.name,
        frames=len(chosen),
        labelled=len(labelled),
        unlabelled=len(samples) - len(labelled),
        class_map=arguments.class_map,
        bundle_map=arguments.bundle_map,
    )
    examples = [evaluator.example(sample) for sample in evenly_spread(chosen, EXAMPLES)]
    names = classes.labels.names
    # A file or another program gets the tables in full width.
    PlainConsole(width=None if sys.stdout.isatty() else 200).print(*tables(subject, names, result), sep="\n")
    figures, picture = (arguments.output / f"evaluation.{suffix}" for suffix in ("json", "png"))
    with writing_to(arguments.output):
        write_json(figures, to_dict(subject, names, result))
        write_picture(picture, subject, classes.labels, described.modalities, result, examples)
    print(f"written: {figures}, {picture}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("index", type=Path, help="index file of labelled frames")
    parser.add_argument("--output", type=Path, required=True, help="folder for the figures and the picture")
    parser.add_argument("--engine", default="auto", choices=("auto", *ENGINES))
    parser.add_argument("--precision", default="fp32", help="fp32, bf16, or auto: the fastest on this machine")
    parser.add_argument("--threads", type=whole_number, default=0, help="CPU threads; 0 = the engine's choice")
    parser.add_argument("--missing", default="token", choices=MISSING, help="how a missing modality is fed")
    parser.add_argument(
        "--conditions",
        type=scenarios,
        default=SCENARIOS,
        metavar="LIST",
        help=f"some of {','.join(SCENARIOS)}; subsets are measured in any case",
    )
    parser.add_argument(
        "--class-map",
        metavar="FILE[#KEY]",
        help="JSON or YAML file, or a part of it, that maps each class of the labels to one of the bundle's or null",
    )
    parser.add_argument(
        "--bundle-map",
        metavar="FILE[#KEY]",
        help="the same for the bundle's classes, where both are measured in the classes of a third set",
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="measure N frames, evenly spread")
    add_files_anywhere(parser)
    return parser.parse_args()


def scenarios(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in SCENARIOS]:
        raise argparse.ArgumentTypeError(f"expected some of {','.join(SCENARIOS)}, got {','.join(unknown)}")
    return names


if __name__ == "__main__":
    run(main)
