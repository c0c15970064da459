#!/usr/bin/env python3
"""How fast the engines label, beside a Mix Transformer in the published order: same frames, one process each.

    python -m benchmarks.engines                          # the shipped bundle at 480x640, two threads
    python -m benchmarks.engines --size 240 320 --labels 240 320
    python -m benchmarks.engines --encoder mit_b2         # random weights run as fast as trained ones
    python -m benchmarks.engines --others                 # also what else one would pick; needs transformers

Every round starts each process anew, so that a change of the machine's speed meets all alike. Ours give labels and
confidence; agreement is the share of pixels that torch fp32 labels alike, the least of the subsets.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.contenders import (
    BASELINE,
    CONTENDERS,
    ENGINES,
    REFERENCE,
    SEGFORMER,
    Labeller,
    Size,
    prepare_bundles,
    prepare_others,
)
from benchmarks.process_memory import peak_memory_mib
from m3l_core.bundle import ModelBundle
from m3l_core.command_line import run
from m3l_core.datasets.model_inputs import read_model_inputs
from m3l_core.errors import M3LError
from m3l_core.frames import ModelInput
from m3l_core.metrics import subsets
from m3l_core.shipped import shipped_recording

FRAMES = 4
WARM_UP = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", help="a random network with this encoder (default: the shipped bundle)")
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), metavar=("H", "W"), help="network input")
    parser.add_argument("--labels", type=int, nargs=2, default=(480, 640), metavar=("H", "W"), help="pixels to label")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=20, help="measured frames of each process")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", default="", help="contenders whose name contains this, beside the baseline")
    parser.add_argument("--others", action="store_true", help="also other networks")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        size = tuple(arguments.labels)
        print(json.dumps(measure(arguments.contender, arguments.work, arguments.threads, arguments.runs, size)))
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        prepare_bundles(work, arguments.encoder, tuple(arguments.size), tuple(arguments.labels))
        names = [name for name in CONTENDERS if arguments.others or name not in SEGFORMER]
        if arguments.others:
            prepare_others(work, tuple(arguments.labels))
        names = [name for name in names if name in (BASELINE, REFERENCE) or arguments.only in name]
        found = compare(names, work, arguments)
        report(found, work, arguments)


def compare(names: list[str], work: Path, arguments: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Contender -> what each of its processes measured."""
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(arguments.rounds):
        for name in names:
            command = [sys.executable, "-m", "benchmarks.engines", "--contender", name, "--work", str(work)]
            command += ["--threads", str(arguments.threads), "--runs", str(arguments.runs)]
            command += ["--labels", *map(str, arguments.labels)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{name}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
                continue
            found.setdefault(name, []).append(json.loads(done.stdout.splitlines()[-1]))
    return found


def measure(name: str, work: Path, threads: int, runs: int, size: Size) -> dict[str, Any]:
    """In a process of its own: load, warm up, time, and keep the labels of every subset."""
    bundle = ModelBundle.load(work / "bundle")
    frames = read_model_inputs(shipped_recording(), bundle.description, FRAMES)
    started = time.perf_counter()
    label = CONTENDERS[name](work, threads)
    label(frames[0], size)
    load_s = time.perf_counter() - started
    seconds = []
    for index in range(WARM_UP + runs):
        started = time.perf_counter()
        label(frames[index % FRAMES], size)
        seconds.append(time.perf_counter() - started)
    if name in ENGINES:
        np.save(work / f"{name}.npy", labels_of_subsets(label, frames, bundle.description.modality_names, size))
    return {"seconds": seconds[WARM_UP:], "load_s": load_s, "peak_mib": peak_memory_mib()}


def labels_of_subsets(
    label: Labeller, frames: list[ModelInput], modalities: tuple[str, ...], size: Size
) -> NDArray[np.uint8]:
    """(subsets, frames, H, W) uint8."""
    found = []
    for subset in subsets(modalities):
        found.append([label(frame.with_only(subset, modalities), size) for frame in frames])
    return np.array(found)


def report(found: dict[str, list[dict[str, Any]]], work: Path, arguments: argparse.Namespace) -> None:
    if BASELINE not in found:
        raise M3LError(f"'{BASELINE}' did not run, so there is nothing to compare with")
    sizes = "input {}x{}, labels {}x{}".format(*arguments.size, *arguments.labels)
    table = Table(title=f"{arguments.encoder or 'shipped bundle'}, {sizes}, {arguments.threads} threads")
    for column in ("", "ms", "quartiles", "ratio", "frames/s", "agreement", "load s", "peak MiB"):
        table.add_column(column, justify="left" if not column else "right", overflow="fold")
    baseline = median(seconds_of(found[BASELINE]))
    for name, rounds in found.items():
        seconds = seconds_of(rounds)
        low, middle, high = quantiles(seconds, n=4)
        table.add_row(
            name,
            f"{middle * 1e3:.1f}",
            f"{low * 1e3:.1f} to {high * 1e3:.1f}",
            f"{baseline / middle:.2f}",
            f"{1 / middle:.1f}",
            agreement(work, name),
            f"{median(each['load_s'] for each in rounds):.1f}",
            f"{median(each['peak_mib'] for each in rounds):.0f}",
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def seconds_of(rounds: list[dict[str, Any]]) -> list[float]:
    return [seconds for each in rounds for seconds in each["seconds"]]


def agreement(work: Path, name: str) -> str:
    if name not in ENGINES:
        return ""
    expected, found = (np.load(work / f"{each}.npy") for each in (REFERENCE, name))
    return f"{(expected == found).mean(axis=(1, 2, 3)).min():.2%}"


if __name__ == "__main__":
    run(main)
