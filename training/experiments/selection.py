#!/usr/bin/env python3
"""Ways to choose frames for labelling beside each other on the rooms data set: same budget, start and training.

    python training/experiments/selection.py --data rooms --jobs 2

For each seed the network is the `start` of training/experiments/rooms.py, which has seen the labels of 4% of the rooms
and no others. It looks at the frames of all other training rooms; each strategy chooses 49 of them; the network is
trained on, supervised with modality dropout, with the labels it knew and those 49, and measured on the validation
rooms. The test rooms are not touched. Every run leaves one small file in training/experiments/rooms/selection/;
stopped, the same command goes on.

A strategy other than random may become the default of training/select_frames.py when it is better here in the mean of
the seeds by more than their spread.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import mean, stdev

from m3l_core.annotation.selection import STRATEGIES, Choice, Strategy, choose_k_center, choose_randomly
from m3l_core.command_line import positive, run
from m3l_core.datasets.folder import Sample, read_index
from m3l_core.datasets.splits import split_by_recording
from m3l_core.errors import M3LError, require
from m3l_core.files import replacing_file
from m3l_core.metrics import mm_robust
from m3l_core.parallel import in_processes
from m3l_core.trainer.recipe import Recipe, load_recipe

RECIPES = Path(__file__).parents[1] / "recipes"
ROOMS = Path(__file__).parent / "rooms"
RESULTS = ROOMS / "selection"
FRACTION = 0.04
"""Of the rooms, whose labels the start has seen; that of training/experiments/rooms.py where labels are few."""
SEEDS = (0, 1, 2)
BUDGET = 49
ITERATIONS = 600
"""About three minutes of one core."""
COMPARED: tuple[Strategy, ...] = ("random", "k_center", "k_center_uncertain")
METHOD = "paper_supervised_dropout"


@dataclass(frozen=True, slots=True)
class Run:
    """One choice and one training."""

    strategy: Strategy
    seed: int
    budget: int = BUDGET
    iterations: int = ITERATIONS

    @property
    def name(self) -> str:
        return f"{self.strategy}-{self.budget}-{self.iterations}-{self.seed}"

    @property
    def start(self) -> str:
        """What training/experiments/rooms.py calls the network that looks and is trained on."""
        return f"start-{FRACTION:.2f}-{self.seed}"

    def recipe(self, work: Path) -> Recipe:
        files = [RECIPES / "methods" / f"{METHOD}.yaml", RECIPES / "data" / "rooms.yaml", ROOMS / "conditions.yaml"]
        settings = [
            f"phases.0.iterations={self.iterations}",
            f"optimizer.warmup_iterations={min(50, self.iterations - 1)}",
            f"evaluate_every={self.iterations}",
            f"seed={self.seed}",
            f"start_weights={work / self.start / 'bundle'}",
        ]
        return load_recipe(files, settings)


def runs(budget: int, iterations: int) -> Iterator[Run]:
    """Every strategy once, before any has its second seed."""
    return (Run(strategy, seed, budget, iterations) for seed in SEEDS for strategy in COMPARED)


def make_start(data: Path, work: Path, name: str) -> None:
    """Train a start that is not there yet."""
    if not (work / name / "bundle").exists():
        script = str(ROOMS.with_suffix(".py"))
        command = [sys.executable, script, "--data", str(data), "--work", str(work), "--run", name]
        if subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False).returncode:
            raise M3LError(f"{name} cannot be trained, see above")


def choose(run: Run, recipe: Recipe, samples: Sequence[Sample], covered: set[str]) -> list[Choice]:
    """Frames of the rooms whose labels the start has not seen."""
    from m3l_core.bundle import ModelBundle
    from m3l_core.engines.torch_engine import load_network
    from m3l_core.model.features import frame_features

    known = [place for place, sample in enumerate(samples) if sample.recording in covered]
    candidates = [place for place, sample in enumerate(samples) if sample.recording not in covered]
    if run.strategy == "random":
        return choose_randomly(candidates, run.budget, run.seed)
    network = load_network(ModelBundle.load(recipe.start_weights))
    seen = frame_features(network, samples, recipe.modalities, (recipe.input_height, recipe.input_width))
    uncertainty = seen.uncertainty if run.strategy == "k_center_uncertain" else None
    return choose_k_center(seen.features, known, candidates, run.budget, run.seed, uncertainty)


def measure(data: Path, work: Path, results: Path, run: Run) -> str:
    """Choose, train to the end, measure, and write the result; returns the run's name."""
    require("torch", "train")
    import torch

    from m3l_core.trainer.data import TrainingData
    from m3l_core.trainer.reporting.console import LogLines
    from m3l_core.trainer.trainer import Trainer

    torch.set_num_threads(1)
    shown = f"%(asctime)s {run.name} %(message)s"
    logging.basicConfig(level=logging.INFO, format=shown, datefmt="%H:%M:%S", force=True)
    recipe = run.recipe(work)
    samples = read_index(data / "train.json", recipe.modality_names)
    known, _ = split_by_recording(samples, FRACTION, run.seed)
    choices = choose(run, recipe, samples, {sample.recording for sample in known})
    chosen = [samples[choice.place] for choice in choices]
    lists = TrainingData([*known, *chosen], [], read_index(data / "val.json", recipe.modality_names))
    trainer = Trainer(recipe, lists, work / run.name, workers=0, cache_bytes=2**30, monitors=(LogLines(),))
    trainer.run()
    result = {
        "run": asdict(run),
        "labelled": len(lists.labelled),
        "rooms": len({sample.recording for sample in chosen}),
        "seconds": round(trainer.seconds),
        "miou": trainer.history[-1]["miou"],
        "chosen": [sample.images["color"].stem for sample in chosen],
    }
    with replacing_file(results / f"{run.name}.json") as temporary:
        temporary.write_text(json.dumps(result) + "\n", encoding="utf-8")
    return run.name


def table(results: Path, compared: Sequence[Run]) -> str:
    """Validation mIoU of the runs that are done, by strategy."""
    rows = ["| strategy | seeds | rooms | both | color | depth | MM-Robust |", "|---|---|---|---|---|---|---|"]
    for strategy in STRATEGIES:
        files = [results / f"{run.name}.json" for run in compared if run.strategy == strategy]
        done = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]
        if done:
            columns = [[each["miou"][subset] for each in done] for subset in ("color+depth", "color", "depth")]
            columns.append([mm_robust(each["miou"]) for each in done])
            cells = [
                f"{100 * mean(column):.1f}" + (f" ± {100 * stdev(column):.1f}" if len(column) > 1 else "")
                for column in columns
            ]
            rooms = f"{mean(each['rooms'] for each in done):.0f}"
            rows.append(f"| {strategy} | {len(done)} | {rooms} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the rooms data set")
    parser.add_argument("--work", type=Path, default=Path("runs/rooms"), help="folder for checkpoints and starts")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results")
    parser.add_argument("--jobs", type=positive, default=2, help="trainings at a time, one thread each")
    parser.add_argument("--budget", type=positive, default=BUDGET, help="frames to choose")
    parser.add_argument("--iterations", type=positive, default=ITERATIONS, help="of each training")
    parser.add_argument("--only", default="", help="runs whose name contains this")
    arguments = parser.parse_args()
    data, work, results = (path.resolve() for path in (arguments.data, arguments.work, arguments.results))
    compared = [run for run in runs(arguments.budget, arguments.iterations) if arguments.only in run.name]
    missing = [run for run in compared if not (results / f"{run.name}.json").exists()]
    print(f"{len(compared) - len(missing)} of {len(compared)} runs are done", flush=True)
    starts = sorted({run.start for run in missing})
    for _ in in_processes(partial(make_start, data, work), starts, arguments.jobs, chunk=1):
        pass
    for name in in_processes(partial(measure, data, work, results), missing, arguments.jobs, chunk=1):
        print(f"{name}: done", flush=True)
    print(table(results, compared))


if __name__ == "__main__":
    run(main)
