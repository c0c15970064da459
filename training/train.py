#!/usr/bin/env python3
"""Train a network by a recipe and write it as a model bundle.

    python training/train.py training/recipes/rooms_b0_supervised.yaml --data rooms --output runs/rooms_b0

A recipe with subset_networks trains one network after the other, each in a folder of its own below OUTPUT.

Interrupted, the same command goes on where it was, or, killed, where the last checkpoint was written. On several GPUs
or machines: torchrun --nproc-per-node 4 training/train.py ...
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rich.logging import RichHandler

from m3l_core.command_line import add_files_anywhere, number_between, run, whole_number
from m3l_core.errors import require
from m3l_core.files import sole_user
from m3l_core.metrics import subset_key
from m3l_core.reporting.output_folder import probe_folder, writing_to
from m3l_core.terminal import PlainConsole
from m3l_core.trainer.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from m3l_core.model.network import LinearFusionSegFormer
    from m3l_core.trainer.provenance import Provenance

logger = logging.getLogger(__name__)

_SAVED = "; the training is saved, the same command goes on from there"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "recipe",
        nargs="+",
        metavar="RECIPE | key=value",
        help="files whose settings add up, such as a method's and a data set's, and single settings; the last one wins",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the recipe's index files")
    parser.add_argument("--output", type=Path, required=True, help="folder for checkpoint, report and bundle")
    parser.add_argument("--workers", type=whole_number, default=2, help="processes that load images")
    parser.add_argument("--cache-gb", type=number_between(0, 1e6), default=1.0, help="memory for decoded images")
    parser.add_argument("--no-tensorboard", action="store_true", help="write no curves for TensorBoard")
    add_files_anywhere(parser)
    arguments = parser.parse_args()
    console = PlainConsole(force_terminal=sys.stdout.isatty())
    log_to(console)

    overrides = [part for part in arguments.recipe if "=" in part and not Path(part).is_file()]
    recipe = load_recipe([Path(part) for part in arguments.recipe if part not in overrides], overrides)
    require("torch", "train")
    from m3l_core.bundle import ModelBundle
    from m3l_core.datasets.model_inputs import read_model_inputs
    from m3l_core.engines.onnx_export import export_onnx, exporter_log
    from m3l_core.trainer.calibration import fit_temperatures
    from m3l_core.trainer.data import read_data, validation_index
    from m3l_core.trainer.distributed import Ranks
    from m3l_core.trainer.export import export_bundle, export_joined
    from m3l_core.trainer.provenance import Provenance
    from m3l_core.trainer.reporting.console import console_monitor
    from m3l_core.trainer.reporting.report import HistoryFile, write_report
    from m3l_core.trainer.reporting.tensorboard import tensorboard_monitors
    from m3l_core.trainer.trainer import Trainer

    output: Path = arguments.output
    ranks = Ranks.join()
    data = read_data(recipe, arguments.data, arguments.files_anywhere)
    alone = ExitStack()
    if ranks.rank == 0:
        probe_folder(output)
        alone.enter_context(sole_user(output))

    def train(
        recipe: Recipe, output: Path, full: LinearFusionSegFormer | None = None
    ) -> tuple[LinearFusionSegFormer, Provenance]:
        """One network: checkpoint, report and bundle in its folder."""
        output.mkdir(parents=True, exist_ok=True)
        curves = not arguments.no_tensorboard and ranks.rank == 0
        with console_monitor(console) as shown:
            trainer = Trainer(
                recipe,
                data,
                output,
                workers=arguments.workers,
                cache_bytes=int(arguments.cache_gb * 2**30),
                ranks=ranks,
                # The console last: it measures how long an evaluation takes, with the pictures of it.
                monitors=(
                    HistoryFile(output / "history.json"),
                    *(tensorboard_monitors(output / "tensorboard") if curves else ()),
                    shown,
                ),
                full=full,
            )
            network = trainer.run()
        provenance = Provenance.of(recipe, data, shlex.join(sys.argv), trainer.start_weights)
        if ranks.rank == 0:
            with writing_to(output, _SAVED):
                size = (recipe.input_height, recipe.input_width)
                temperatures = fit_temperatures(
                    network, data.validation, recipe.network_modalities, size, recipe.mixed_precision
                )
                bundle = export_bundle(network, recipe, trainer.history, provenance, output / "bundle", temperatures)
                page = write_report(trainer, provenance)
                print(f"bundle: {bundle.folder}\nreport: {page}")
        return network, provenance

    subsets = () if recipe.subset_networks is None else recipe.subset_networks.subsets
    full_network, provenance = train(recipe, output / "full" if subsets else output)
    for subset in subsets:
        logger.info("the network for %s, taught by that for all sensors", " and ".join(subset))
        train(recipe.of_subset(subset), output / subset_key(subset), full_network)
    if ranks.rank == 0:
        with writing_to(output, _SAVED):
            if subsets:
                bundle = export_joined(output, recipe, provenance)
                print(f"bundle: {bundle.folder}")
            # Last: whatever it meets, the training is safe on disk.
            bundle = ModelBundle.load(output / "bundle")
            frames = read_model_inputs(validation_index(recipe, arguments.data), bundle.description)
            with exporter_log(output / "export.log"):
                export_onnx(bundle, frames)
    alone.close()
    ranks.leave()


def log_to(console: PlainConsole) -> None:
    """Lines above the progress bar of a terminal; elsewhere plain ones, to stderr."""
    if console.is_interactive:
        handler = RichHandler(console=console, show_level=False, show_path=False, log_time_format="%H:%M:%S")
        logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
    else:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


if __name__ == "__main__":
    run(main)
