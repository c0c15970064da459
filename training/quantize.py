#!/usr/bin/env python3
"""Write a bundle's network as model.int8.onnx, for processors and GPUs that are fast in int8.

    python training/quantize.py runs/mine/bundle --frames my_bag --validation rooms/val.json

The bundle needs model.onnx (training/export_onnx.py). The ranges of int8 are taken from frames of a bag or of an index
file. What int8 costs is measured on labelled frames with every subset of the sensors: where it is more than 1 point of
mIoU, nothing is written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from rich.progress import track

from m3l_core.bundle import ModelBundle
from m3l_core.command_line import add_files_anywhere, positive, run
from m3l_core.datasets.class_map import read_mapping
from m3l_core.datasets.folder import evenly_spread, read_index
from m3l_core.datasets.model_inputs import read_model_inputs
from m3l_core.engines.engine import load_engine
from m3l_core.evaluation.evaluated_classes import EvaluatedClasses
from m3l_core.evaluation.robustness import labelled_samples
from m3l_core.quantization.check import INT8_GRAPH, Comparison, accept, subset_miou
from m3l_core.quantization.quantization import quantize
from m3l_core.terminal import PlainConsole

_Item = TypeVar("_Item")


def main() -> None:
    arguments = parse_arguments()
    whole = ModelBundle.load(arguments.bundle)
    for network in whole.networks():
        quantize_network(network, whole.runs_with(network), arguments)


def quantize_network(bundle: ModelBundle, runs_with: Sequence[tuple[str, ...]], arguments: argparse.Namespace) -> None:
    """Calibrate, measure with the subsets that the network is given, and write the graph if it loses little."""
    described = bundle.description
    engine = load_engine(bundle, arguments.engine, "fp32")
    mapping = None if arguments.class_map is None else read_mapping(arguments.class_map)
    classes = EvaluatedClasses.mapped(described.labels, mapping)
    listed = read_index(arguments.validation, described.modality_names, anywhere=arguments.files_anywhere)
    labelled = labelled_samples(listed, arguments.validation)
    samples = evenly_spread(labelled, arguments.limit)
    frames = read_model_inputs(arguments.frames, described, arguments.calibration)

    content = quantize(bundle, progress(frames, "calibration"), runs_with)
    of_float = subset_miou(engine, described, progress(samples, "float"), classes, runs_with)
    with bundle.with_trial_graph(content, INT8_GRAPH) as trial:
        int8 = load_engine(trial.alone(), arguments.engine, "int8")
        of_int8 = subset_miou(int8, described, progress(samples, "int8"), classes, runs_with)
    comparison = Comparison(of_float, of_int8)
    title = (
        f"{described.name}, {engine.name}, {len(samples)} of {len(labelled)} frames of {arguments.validation.name}, "
        f"calibrated on {len(frames)} of {arguments.frames.name}"
    )
    # A file or another program gets the table in full width.
    PlainConsole(width=None if sys.stdout.isatty() else 200).print(comparison.table(title))
    print(f"written: {accept(bundle, content, comparison).graph(INT8_GRAPH)}")


def progress(items: Sequence[_Item], what: str) -> Iterable[_Item]:
    return track(items, what, console=PlainConsole(stderr=True))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=Path, required=True, help="bag or index file to take the ranges from")
    parser.add_argument("--validation", type=Path, required=True, help="index file of labelled frames")
    parser.add_argument("--calibration", type=positive, default=32, metavar="N", help="take N of the frames (32)")
    parser.add_argument(
        "--class-map",
        metavar="FILE[#KEY]",
        help="JSON or YAML file, or a part of it, that maps each class of the labels to one of the bundle's or null",
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="measure N labelled frames, evenly spread")
    parser.add_argument("--engine", default="openvino", choices=("openvino", "onnxruntime"), help="that measures")
    add_files_anywhere(parser)
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
