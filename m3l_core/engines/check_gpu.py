"""``m3l_check_gpu``: what the TensorRT engine does on this machine, as a table for a bug report.

    m3l_check_gpu

Builds the engine, compares its labels with those of the network in float32 on real frames, for every subset of the
sensors, and measures how fast it is.
"""

from __future__ import annotations

import argparse
import importlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from m3l_core.bundle import ModelBundle
from m3l_core.command_line import run
from m3l_core.datasets.model_inputs import read_model_inputs
from m3l_core.engines.build_engine import add_build_arguments, build_into_cache, build_options, require_packages
from m3l_core.engines.cuda_device import cuda_device
from m3l_core.engines.engine import Engine, latencies, load_engine
from m3l_core.engines.tensorrt_engine import PRECISIONS, TensorRtEngine
from m3l_core.errors import EngineError, M3LError
from m3l_core.frames import ModelInput
from m3l_core.metrics import subset_key, subsets
from m3l_core.shipped import shipped_bundle, shipped_recording

LEAST_AGREEMENT = 0.99
"""Of the pixels, below which an engine counts as wrong; float32 against float16 or bfloat16 stays above."""

_RUNS = 200


def main() -> None:
    run(_main)


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?", default=shipped_bundle(), help="default: the shipped bundle")
    parser.add_argument("--precision", choices=PRECISIONS, nargs="+", default=["fp16"], help="default: fp16")
    parser.add_argument(
        "--frames", type=Path, default=shipped_recording(), help="bag or index file (default: the sample recording)"
    )
    add_build_arguments(parser)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    bundle = ModelBundle.load(arguments.bundle)
    options = build_options(arguments, bundle)
    require_packages()
    frames = read_model_inputs(arguments.frames, bundle.description)
    size, worst = options.label_sizes.best, 1.0
    for network in bundle.networks():
        built = [build_into_cache(network, each, options, arguments.force) for each in arguments.precision]
        print(*(each.report for each in built), sep="\n")
        described = network.description
        engines = [TensorRtEngine(each, described, cuda_device()) for each in built]
        seen = [frame.of_streams(bundle.streams_of(network)) for frame in frames]
        rows, least = compare(load_reference(network), engines, seen, described.modality_names, size)
        print("\n".join(["", *_machine(network, size, engines[0].cuda), "", *rows]))
        worst = min(worst, least)
    if worst < LEAST_AGREEMENT:
        raise EngineError(
            f"the labels agree on {worst:.2%} only, expected {LEAST_AGREEMENT:.0%}: please report this table"
        )


def load_reference(bundle: ModelBundle) -> Engine:
    """The network in float32, by the first other engine that is installed.

    Raises:
        EngineError: none is.
    """
    failures = []
    for name in ("torch", "onnxruntime", "openvino"):
        try:
            return load_engine(bundle, name, "fp32")
        except M3LError as error:
            failures.append(str(error))
    raise EngineError("nothing to compare with. " + "; ".join(failures))


def compare(
    reference: Engine,
    engines: Sequence[Engine],
    frames: Sequence[ModelInput],
    names: Sequence[str],
    size: tuple[int, int],
    runs: int = _RUNS,
) -> tuple[list[str], float]:
    """A Markdown table, a line for each engine and subset of the modalities, and the least agreement in it.

    Args:
        reference: what the engines are compared with.
        engines: those to try.
        frames: with every modality.
        names: the modalities.
        size: (H, W) of the labels.
        runs: frames that are timed, after a tenth of them that do not count.
    """
    rows = [
        "| engine | device | sensors | labels as in the reference | p50 [ms] | p95 [ms] | frames a second |",
        "|---|---|---|---|---|---|---|",
    ]
    worst = 1.0
    for subset in subsets(names):
        given = [frame.with_only(subset, names) for frame in frames]
        expected = [reference.infer(frame, size).labels for frame in given]
        for engine in (*engines, reference):
            labels = [engine.infer(frame, size).labels for frame in given]
            agreement = float(np.mean([ours == theirs for ours, theirs in zip(labels, expected, strict=True)]))
            worst = min(worst, agreement)
            timed = min(runs, 10) if engine is reference else runs
            measured = latencies(engine, given, size, timed // 10, timed)
            p50, p95 = np.percentile(measured, (50, 95)) * 1e3
            rows.append(
                f"| {engine.name} {engine.precision} | {engine.device} | {subset_key(subset)} "
                f"| {'(reference)' if engine is reference else f'{agreement:.3%}'} "
                f"| {p50:.2f} | {p95:.2f} | {1 / np.mean(measured):.1f} |"
            )
    return rows, worst


def _machine(bundle: ModelBundle, size: tuple[int, int], cuda: str) -> list[str]:
    device = cuda_device()
    major, minor = device.compute_capability
    height, width = bundle.description.input_size
    facts = {
        "GPU": f"{device.name}, compute capability {major}.{minor}",
        "driver": f"serves CUDA {device.cuda}",
        "TensorRT": _version_of("tensorrt"),
        "CUDA through": cuda,
        "CUDA graphs through": f"cuda-bindings: {_version_of('cuda.bindings')}",
        "bundle": f"{bundle.description.name}, input {height}x{width}, labels {size[0]}x{size[1]}",
    }
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())]


def _version_of(module: str) -> str:
    try:
        found = importlib.import_module(module)
    except ImportError:
        return "not installed"
    return str(getattr(found, "__version__", "unknown"))
