#!/usr/bin/env python3
"""Methods beside each other on real rooms, NYU Depth v2: same labels, start, encoder, iterations, batches.

    python training/experiments/nyuv2.py --data nyuv2 --jobs 2                   run what is missing
    python training/experiments/nyuv2.py --data nyuv2 --jobs 2 --only 240x320    of that the runs at 240x320 alone

Every run leaves one small file in training/experiments/nyuv2/results/; stopped, the same command goes on. The test
frames are looked at once, at the end of a run. training/experiments/nyuv2_tables.py makes the tables.

--data has train.json, val.json and test_open.json, with the labels of training/import_dataset.py nyuv2. 13 classes, of
which the 40 are made; 5%, 20% or 100% of the recordings keep their labels, drawn by the seed, and the frames of the
others are unlabelled. Where all are labelled, they are the unlabelled ones as well. m3l_subsets has as many iterations
as the others in all: half for the network of both sensors, a quarter each for those of one; with 20% of the labels once
more as many for each network. At 240x320 it trains once with all labels, in 13 and in 40 classes, the network of both
supervised.

A step takes 0.3 s of one core for the supervised methods, 0.6 s for mean teacher and m3l_plus, 0.9 s for M3L and 0.5 s
for m3l_subsets in the mean of its networks: 3.2 s for the six. 800 steps under seven choices of labels are 5 hours, the
longer m3l_subsets one, and measuring is one more. The two runs at 240x320 take 1.2 hours each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from m3l_core.command_line import run
from m3l_core.datasets.class_map import ClassMap
from m3l_core.datasets.folder import read_index
from m3l_core.published.nyuv2 import FORTY, THIRTEEN, THIRTEEN_OF_FORTY
from m3l_core.trainer.recipe import Recipe, load_recipe
from m3l_core.trainer.runs import parser_of_runs, run_comparison, trained, write_result

METHOD_RECIPES = Path(__file__).parents[1] / "recipes" / "methods"
NYUV2 = Path(__file__).parent / "nyuv2"
RESULTS = NYUV2 / "results"
SUBSETS = "m3l_subsets"
METHODS = (
    "paper_supervised",
    "paper_supervised_dropout",
    "paper_mean_teacher_dropout",
    "paper_m3l",
    "m3l_plus",
    SUBSETS,
)
SEEDS = {0.2: (0, 1, 2), 0.05: (0, 1, 2), 1.0: (0,)}
"""Of each share of the recordings that keep their labels."""
EACH = "each"
"""Variant of ``SUBSETS`` with as many iterations for each network as the other methods have for their one."""
LARGE, LARGE_FORTY = "240x320", "240x320_40_classes"


@dataclass(frozen=True, slots=True)
class Run:
    """One training, of one network or of several."""

    method: str
    fraction: float
    seed: int
    variant: str = ""
    """``EACH``, ``LARGE`` or ``LARGE_FORTY``; empty for the comparison at equal iterations."""

    @property
    def name(self) -> str:
        parts = (self.method, self.variant, f"{self.fraction:.2f}", str(self.seed))
        return "-".join(part for part in parts if part)

    def recipe(self, settings: Sequence[str] = ()) -> Recipe:
        """The method under the conditions of the experiment, or under others that ``settings`` name."""
        labels, class_map = (FORTY, None) if self.variant == LARGE_FORTY else (THIRTEEN, THIRTEEN_OF_FORTY)
        data: dict[str, Any] = {"labelled": "train.json", "validation": "val.json", "class_map": class_map}
        data |= {"label_fraction": self.fraction, "label_seed": self.seed}
        is_large = self.variant in (LARGE, LARGE_FORTY)
        if self.fraction == 1 and not is_large:
            data["unlabelled"] = "train.json"
        own = [f"labels={labels.model_dump_json()}", f"data={json.dumps(data)}", f"seed={self.seed}"]
        if is_large:
            own.append("method={}")
        conditions = NYUV2 / ("large.yaml" if is_large else "conditions.yaml")
        files = [METHOD_RECIPES / f"{self.method}.yaml", conditions]
        recipe = load_recipe(files, [*own, *settings])
        if self.method != SUBSETS:
            return recipe
        return load_recipe(
            files, [*own, *settings, *divided_iterations(recipe, (1, 1) if self.variant == EACH else (2, 4))]
        )


def divided_iterations(recipe: Recipe, divisors: tuple[int, int]) -> list[str]:
    """Every phase's iterations, divided for the network of both sensors and for those of one."""

    def part(of: int) -> list[dict[str, Any]]:
        return [phase.model_dump(mode="json") | {"iterations": phase.iterations // of} for phase in recipe.phases]

    single = {
        "subsets": [[name] for name in recipe.modality_names],
        "phases": part(divisors[1]),
        "optimizer": recipe.optimizer.model_dump(mode="json"),
    }
    return [f"phases={json.dumps(part(divisors[0]))}", f"subset_networks={json.dumps(single)}"]


def planned() -> Iterator[Run]:
    """Every method once, before any has its second seed; then what is larger."""
    for seed in SEEDS[0.2]:
        for fraction, seeds in SEEDS.items():
            if seed in seeds:
                yield from (Run(method, fraction, seed) for method in METHODS)
    yield from (Run(SUBSETS, 0.2, seed, EACH) for seed in SEEDS[0.2])
    yield from (Run(SUBSETS, 1.0, 0, variant) for variant in (LARGE, LARGE_FORTY))


def train(run: Run, settings: Sequence[str], data: Path, work: Path, results: Path) -> None:
    """Train to the end, measure, and write the result."""
    recipe = run.recipe(settings)
    class_map = None if run.variant == LARGE_FORTY else ClassMap.of(THIRTEEN_OF_FORTY, THIRTEEN.names)
    test = read_index(data / "test_open.json", recipe.modality_names, class_map=class_map)
    networks, lists = trained(recipe, data, work / run.name)
    from m3l_core.trainer.networks import measure_networks, summary

    result = {"run": asdict(run), **summary(networks, lists), "test": measure_networks(networks, test)}
    write_result(results / f"{run.name}.json", result)


def main() -> None:
    parser = parser_of_runs(__doc__, "folder of NYU Depth v2", Path("runs/nyuv2"))
    run_comparison(parser, __file__, planned(), train, RESULTS)


if __name__ == "__main__":
    run(main)
