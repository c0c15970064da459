#!/usr/bin/env python3
"""Train a network by a recipe and write it as a model bundle.

    python training/train.py training/recipes/rooms_b0_supervised.yaml --data rooms --output runs/rooms_b0

Interrupted, the same command goes on where the last checkpoint was written.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from pathlib import Path

from m3l_core.datasets.folder import read_index
from m3l_core.errors import M3LError, require
from m3l_core.trainer.recipe import load_recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of the recipe to change")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the recipe's index files")
    parser.add_argument("--output", type=Path, required=True, help="folder for checkpoint, history and bundle")
    parser.add_argument("--workers", type=int, default=1, help="processes that load images")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")

    recipe = load_recipe(arguments.recipe, arguments.overrides)
    labelled, validation = (
        read_index(arguments.data / index, recipe.modality_names)
        for index in (recipe.data.labelled, recipe.data.validation)
    )
    require("torch", "train")
    from m3l_core.trainer.export import export_bundle
    from m3l_core.trainer.trainer import SupervisedTrainer

    trainer = SupervisedTrainer(recipe, labelled, validation, arguments.output, arguments.workers)
    network = trainer.run()
    bundle = export_bundle(network, recipe, trainer.history, shlex.join(sys.argv), arguments.output / "bundle")
    print(f"bundle: {bundle.folder}")


if __name__ == "__main__":
    try:
        main()
    except M3LError as error:
        sys.exit(f"train: {error}")
