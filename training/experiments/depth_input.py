#!/usr/bin/env python3
"""What makes depth worth having beside color, chosen on NYU Depth v2's val.json.

    python training/experiments/depth_input.py --data nyuv2 --jobs 2

Each run trains one network with all labels under training/experiments/nyuv2/choices.yaml: the one that is shipped,
that with one thing changed (how depth looks to it, whether its head takes in both streams, how much they exchange), and
a network of color alone, which both sensors are to be worth more than. The test frames are not touched. Every run
leaves one small file in training/experiments/nyuv2/depth_input/; stopped, the same command goes on, and prints the
table of what is done.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from m3l_core.command_line import run
from m3l_core.published.nyuv2 import THIRTEEN, THIRTEEN_OF_FORTY
from m3l_core.reporting.comparison import Result, markdown_table, read_results, with_spread
from m3l_core.trainer.recipe import Recipe, load_recipe
from m3l_core.trainer.runs import parser_of_runs, run_comparison, trained, write_result

RECIPES = Path(__file__).parents[1] / "recipes"
NYUV2 = Path(__file__).parent / "nyuv2"
RESULTS = NYUV2 / "depth_input"
SEEDS = (0, 1)
SHIPPED, COLOR_ALONE = "as shipped", "color alone"
CHANGES: dict[str, Sequence[str]] = {
    SHIPPED: (),
    "metric depth": ("modalities.1.normalization=metric",),
    "depth three times, frame by frame": ("modalities.1.normalization=min_max",),
    "a head on each stream": ("head=streams",),
    "no exchange": ("fusion_ratio=1",),
    "twice the exchange": ("fusion_ratio=0.6",),
    COLOR_ALONE: ("head=streams", "student=[color]"),
}
"""What is changed -> settings of the recipe, of which the last counts."""


@dataclass(frozen=True, slots=True)
class Run:
    """One training."""

    change: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.change.replace(',', '').replace(' ', '_')}-{self.seed}"

    def recipe(self, settings: Sequence[str] = ()) -> Recipe:
        files = [RECIPES / "methods" / "paper_supervised.yaml", NYUV2 / "choices.yaml"]
        data = {"labelled": "train.json", "validation": "val.json", "class_map": THIRTEEN_OF_FORTY}
        own = [f"labels={THIRTEEN.model_dump_json()}", f"data={json.dumps(data)}", f"seed={self.seed}"]
        return load_recipe(files, [*own, *CHANGES[self.change], *settings])


def planned() -> Iterator[Run]:
    """Everything once, before anything has its second seed."""
    return (Run(change, seed) for seed in SEEDS for change in CHANGES)


def train(of: Run, settings: Sequence[str], data: Path, work: Path, results: Path) -> None:
    """Train to the end, which measures on the validation frames, and write the result."""
    networks, lists = trained(of.recipe(settings), data, work / of.name)
    from m3l_core.trainer.networks import summary

    write_result(results / f"{of.name}.json", {"run": asdict(of), **summary(networks, lists)})


def table(results: Iterable[Result]) -> str:
    """Validation mIoU in points with all sensors of the network, mean and spread of the seeds."""
    groups: dict[str, list[float]] = {}
    for result in results:
        miou = result["validation"][-1]["miou"]
        groups.setdefault(result["run"]["change"], []).append(100 * miou[max(miou, key=len)])
    rows = [[change, str(len(groups[change])), with_spread(groups[change])] for change in CHANGES if change in groups]
    return markdown_table(["network", "seeds", "mIoU"], rows)


def main() -> None:
    parser = parser_of_runs(__doc__, "folder of NYU Depth v2", Path("runs/depth_input"))
    results = run_comparison(parser, __file__, planned(), train, RESULTS)
    print(table(read_results(results)))


if __name__ == "__main__":
    run(main)
