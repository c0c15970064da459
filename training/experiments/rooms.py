#!/usr/bin/env python3
"""Methods beside each other on the rooms data set: same labels, start, encoder, iterations, batches; three seeds each.

    python training/experiments/rooms.py --data rooms --jobs 2                run what is missing
    python training/experiments/rooms.py --data rooms --jobs 2 --ablation     m3l_plus without each of its parts
    python training/experiments/rooms.py --data rooms --jobs 2 --imagenet     m3l_plus from ImageNet weights

Every run leaves one small file in training/experiments/rooms/results/; stopped, the same command goes on. The test set
is read once, at the end of a run, and never by the ablation. training/experiments/rooms_tables.py
makes the tables.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from m3l_core.command_line import run
from m3l_core.trainer.recipe import Recipe, load_recipe
from m3l_core.trainer.runs import parser_of_runs, run_each, trained, write_result

RECIPES = Path(__file__).parents[1] / "recipes"
ROOMS = Path(__file__).parent / "rooms"
START = "start"
METHODS = (
    "paper_supervised",
    "paper_supervised_dropout",
    "paper_mean_teacher",
    "paper_mean_teacher_dropout",
    "paper_m3l",
    "m3l_plus",
)
FRACTIONS = (0.04, 0.12)
SEEDS = (0, 1, 2)
IMAGENET = "imagenet"
"""m3l_plus with EfficientNet-lite0, from ImageNet weights in place of a start of its own."""
UNCHANGED = "unchanged"
ABLATION: dict[str, tuple[str, ...]] = {
    UNCHANGED: (),
    "with_less_dropout": ("method.modality_dropout.probability=0.6667",),
    "with_soft_pseudo_labels": ("method.pseudo_weight=0", "method.distillation_weight=1.0"),
    "with_distillation": ("method.distillation_weight=1.0",),
    "with_strong_view": ("method.strong_view={}",),
    "with_cutmix": ("method.cutmix=0.5",),
    "with_ramp": ("method.pseudo_ramp_iterations=400",),
    "without_confidence": ("method.confidence=none",),
    "with_threshold": ("method.confidence=threshold", "method.confidence_threshold=0.7"),
    "with_dropout_on_labelled": ("method.modality_dropout.on_labelled=true",),
    "with_pseudo_labels_on_labelled": ("method.pseudo_on_labelled=true",),
    "with_independent_dropout": ("method.modality_dropout={draw: independent, probability: 0.5, on_labelled: false}",),
    "with_partial_masks": ("method.modality_dropout.partial=0.3",),
    "with_noise": ("method.noise=0.3",),
    "without_availability": ("method.ensemble=equal",),
    "without_valid_mask": ("method.valid_mask=false",),
    "without_eval_mode": ("method.teacher_mode=train",),
    "with_teacher_flip": ("method.teacher_flip=true",),
    "with_no_stream": ("missing=no_stream",),
}
"""What is taken from m3l_plus, or added to it, one part at a time; compared with the first."""


@dataclass(frozen=True, slots=True)
class Run:
    """One training."""

    method: str
    fraction: float
    seed: int
    change: str = ""
    """Of the ablation, or ``IMAGENET``; empty for the comparison."""

    @property
    def name(self) -> str:
        parts = (self.method, self.change, f"{self.fraction:.2f}", str(self.seed))
        return "-".join(part for part in parts if part)

    @property
    def start(self) -> Run | None:
        """The run whose network this one starts from."""
        return None if self.change == IMAGENET else Run(START, self.fraction, self.seed)

    @property
    def result(self) -> Path:
        return ROOMS / "results" / f"{self.name}.json"

    def recipe(self, work: Path) -> Recipe:
        """The method and the data set under the conditions of the experiment."""
        is_start = self.method == START
        method = "paper_supervised" if is_start else self.method
        kind = (
            START if is_start else IMAGENET if self.change == IMAGENET else "ablation" if self.change else "conditions"
        )
        settings = [f"data.label_fraction={self.fraction}", f"data.label_seed={self.seed}", f"seed={self.seed}"]
        if not is_start and self.start is not None:
            settings.append(f"start_weights={work / self.start.name / 'bundle'}")
        files = [RECIPES / "methods" / f"{method}.yaml", RECIPES / "data" / "rooms.yaml", ROOMS / f"{kind}.yaml"]
        return load_recipe(files, [*settings, *ABLATION.get(self.change, ())])


def comparison() -> Iterator[Run]:
    """Every method once, before any has its second seed."""
    return (Run(method, fraction, seed) for seed in SEEDS for fraction in FRACTIONS for method in METHODS)


def ablation() -> Iterator[Run]:
    """With few labels, where the parts of a method matter most."""
    return (Run("m3l_plus", FRACTIONS[0], seed, change) for seed in SEEDS[:2] for change in ABLATION)


def imagenet() -> Iterator[Run]:
    """With the more labels of the two."""
    return (Run("m3l_plus", FRACTIONS[-1], seed, IMAGENET) for seed in SEEDS)


def train(run: Run, data: Path, work: Path) -> None:
    """Train to the end, measure, and write the result."""
    recipe = run.recipe(work)
    networks, lists = trained(recipe, data, work / run.name)
    from m3l_core.datasets.folder import read_index
    from m3l_core.trainer.export import export_bundle
    from m3l_core.trainer.networks import measure_networks, summary
    from m3l_core.trainer.provenance import Provenance

    if run.method == START:
        (start,) = networks
        provenance = Provenance.of(recipe, lists, f"training/experiments/rooms.py --run {run.name}")
        export_bundle(start.network, recipe, start.history, provenance, work / run.name / "bundle")
        return
    result = {"run": asdict(run), **summary(networks, lists)}
    if run.change in ("", IMAGENET):
        result["test"] = measure_networks(networks, read_index(data / "test.json", recipe.modality_names))
    write_result(run.result, result)


def main() -> None:
    parser = parser_of_runs(__doc__, "folder of the rooms data set", Path("runs/rooms"))
    parser.add_argument("--ablation", action="store_true", help="m3l_plus without each of its parts")
    parser.add_argument(
        "--imagenet", action="store_true", help="m3l_plus with EfficientNet-lite0, from ImageNet weights"
    )
    arguments = parser.parse_args()
    data, work = arguments.data.resolve(), arguments.work.resolve()
    every = {run.name: run for run in (*comparison(), *ablation(), *imagenet())}
    starts = {run.start.name: run.start for run in every.values() if run.start}
    if arguments.run:
        if arguments.run not in every | starts:
            parser.error(f"there is no run '{arguments.run}'; some are {', '.join([*starts, *every][:8])}")
        train((every | starts)[arguments.run], data, work)
        return
    runs = imagenet() if arguments.imagenet else ablation() if arguments.ablation else comparison()
    chosen = [run for run in runs if arguments.only in run.name]
    missing = [run for run in chosen if not run.result.exists()]
    print(f"{len(chosen) - len(missing)} of {len(chosen)} runs are done", flush=True)
    failed = 0
    for seed in SEEDS:  # so that the table grows evenly
        of_seed = [run for run in missing if run.seed == seed]
        starts_of_runs = {run.start for run in of_seed if run.start}
        first = {start for start in starts_of_runs if not (work / start.name / "bundle").exists()}
        for part in (sorted(first, key=str), of_seed):
            names = [run.name for run in part]
            failed += run_each(__file__, names, ("--data", str(data), "--work", str(work)), work, arguments.jobs)
    if failed:
        sys.exit(f"{failed} runs failed")


if __name__ == "__main__":
    run(main)
