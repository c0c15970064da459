#!/usr/bin/env python3
"""How much of a depth camera's holes and of failing sensors a training should see, chosen on NYU Depth v2's val.json.

    python training/experiments/sensor_strength.py --data nyuv2 --jobs 2

Each run trains the network of both sensors, and one for depth where its strength is new, with all labels under
training/experiments/nyuv2/choices.yaml and other ``depth_sensor`` and ``failing_sensor``. They are measured on the
validation frames as they are, with the depth that a camera would give of them (the model at 1, as
training/experiments/depth_holes.py holds it against a RealSense), and with color and depth from failing sensors. The
test frames are not touched. Every run leaves one small file in training/experiments/nyuv2/sensors/; stopped, the same
command goes on, and prints the table of what is done.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from m3l_core.command_line import run
from m3l_core.datasets.folder import Sample, read_sample
from m3l_core.files import replacing_file
from m3l_core.modalities import ColorModality, DepthModality
from m3l_core.preprocessing import metric_depth
from m3l_core.published.layout import to_millimetres
from m3l_core.published.nyuv2 import THIRTEEN, THIRTEEN_OF_FORTY
from m3l_core.reporting.comparison import Result, markdown_table, read_results, with_spread
from m3l_core.trainer.recipe import Recipe, load_recipe
from m3l_core.trainer.runs import parser_of_runs, run_comparison, trained, write_result

RECIPES = Path(__file__).parents[1] / "recipes"
NYUV2 = Path(__file__).parent / "nyuv2"
RESULTS = NYUV2 / "sensors"
SEEDS = (0, 1)
DEPTH_SENSOR, FAILING_SENSOR = 0.5, 0.15
"""Of training/recipes/indoor.yaml; each is varied beside the other."""
DEPTH_SENSORS = (0.0, DEPTH_SENSOR, 1.0)
FAILING_SENSORS = (0.0, 0.3)
Frames = Literal["as they are", "of a depth camera", "of failing sensors"]
FRAMES: tuple[Frames, ...] = ("as they are", "of a depth camera", "of failing sensors")
BOTH, DEPTH = "color+depth", "depth"
COLUMNS = [(BOTH, frames) for frames in FRAMES] + [(DEPTH, frames) for frames in FRAMES[:2]]
COLOR, METRES = ColorModality(), DepthModality()


@dataclass(frozen=True, slots=True)
class Run:
    """One training of a network for both sensors."""

    depth_sensor: float
    failing_sensor: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.depth_sensor:g}-{self.failing_sensor:g}-{self.seed}"

    @property
    def has_depth_network(self) -> bool:
        """Only depth's own camera matters to it: it is trained without failing sensors."""
        return self.failing_sensor == FAILING_SENSOR

    def recipe(self, settings: Sequence[str] = ()) -> Recipe:
        files = [RECIPES / "methods" / "paper_supervised.yaml", NYUV2 / "choices.yaml"]
        data = {"labelled": "train.json", "validation": "val.json", "class_map": THIRTEEN_OF_FORTY}
        own = [
            f"labels={THIRTEEN.model_dump_json()}",
            f"data={json.dumps(data)}",
            f"seed={self.seed}",
            f"augmentation.depth_sensor={self.depth_sensor}",
            f"augmentation.failing_sensor={self.failing_sensor}",
            *settings,
        ]
        recipe = load_recipe(files, own)
        if not self.has_depth_network:
            return recipe
        alone = {
            "subsets": [[DEPTH]],
            "phases": [phase.model_dump(mode="json") for phase in recipe.phases],
            "optimizer": recipe.optimizer.model_dump(mode="json"),
            "augmentation": recipe.augmentation.model_dump(mode="json") | {"failing_sensor": 0},
        }
        return load_recipe(files, [*own, f"subset_networks={json.dumps(alone)}"])


def planned() -> Iterator[Run]:
    """Everything once, before anything has its second seed."""
    for seed in SEEDS:
        yield from (Run(strength, FAILING_SENSOR, seed) for strength in DEPTH_SENSORS)
        yield from (Run(DEPTH_SENSOR, share, seed) for share in FAILING_SENSORS)


def damaged(samples: Sequence[Sample], frames: Frames, folder: Path) -> list[Sample]:
    """The samples with images that are written into ``folder``, of other sensors than their own.

    Chance depends on the place in the list alone, so that every run is measured on the same.
    """
    from m3l_core.trainer.depth_sensor import sense
    from m3l_core.trainer.disturbances import degrade

    folder.mkdir(parents=True, exist_ok=True)
    changed = []
    for number, sample in enumerate(samples):
        random = np.random.default_rng([1, number])
        images, _ = read_sample(sample, (COLOR, METRES))
        color, (depth_m, _) = images["color"], metric_depth(images["depth"])
        if frames == "of a depth camera":
            depth_m = sense(depth_m, color, depth_m.shape[1], 1.0, random)
        else:
            color, depth_m = degrade(COLOR, color, random), degrade(METRES, depth_m, random)
        pixels = {"color": color[..., ::-1], "depth": to_millimetres(depth_m, depth_m > 0)}
        files = {name: folder / f"{number}-{name}.png" for name in pixels}
        for name, path in files.items():
            with replacing_file(path) as temporary:
                temporary.write_bytes(cv2.imencode(".png", pixels[name])[1].tobytes())
        changed.append(replace(sample, images=files))
    return changed


def train(of: Run, settings: Sequence[str], data: Path, work: Path, results: Path) -> None:
    """Train to the end, measure, and write the result."""
    networks, lists = trained(of.recipe(settings), data, work / of.name)
    from m3l_core.trainer.networks import measure_networks, summary

    measured = {}
    for frames in FRAMES:
        seen = lists.validation
        if frames != FRAMES[0]:
            seen = damaged(seen, frames, work / of.name / frames.replace(" ", "_"))
        miou = measure_networks(networks, seen)
        measured[frames] = {name: miou[name] for name in ((BOTH, DEPTH) if of.has_depth_network else (BOTH,))}
    write_result(results / f"{of.name}.json", {"run": asdict(of), **summary(networks, lists), "sensors": measured})


def table(results: Iterable[Result]) -> str:
    """Validation mIoU in points, mean and spread of the seeds, by what the training saw."""
    groups: dict[tuple[float, float], list[Result]] = {}
    for result in results:
        settings = result["run"]
        groups.setdefault((settings["depth_sensor"], settings["failing_sensor"]), []).append(result["sensors"])
    rows = []
    for strengths, group in sorted(groups.items()):
        row = [f"{strength:g}" for strength in strengths] + [str(len(group))]
        for subset, frames in COLUMNS:
            values = [100 * each[frames][subset] for each in group if subset in each[frames]]
            row.append(with_spread(values) if values else "–")
        rows.append(row)
    heads = [f"{'both' if subset == BOTH else subset}, {frames}" for subset, frames in COLUMNS]
    return markdown_table(["`depth_sensor`", "`failing_sensor`", "seeds", *heads], rows)


def main() -> None:
    parser = parser_of_runs(__doc__, "folder of NYU Depth v2", Path("runs/sensor_strength"))
    results = run_comparison(parser, __file__, planned(), train, RESULTS)
    print(table(read_results(results)))


if __name__ == "__main__":
    run(main)
