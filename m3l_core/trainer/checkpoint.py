"""The state of a training on disk, written aside and renamed."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from m3l_core.errors import CheckpointError, RecipeError
from m3l_core.files import replacing_file
from m3l_core.model.network import LinearFusionSegFormer
from m3l_core.model.start_weights import RANDOM
from m3l_core.model.tensor_files import check_not_packed, load_saved
from m3l_core.trainer.data import TrainingData
from m3l_core.trainer.recipe import Recipe


def ingredients(
    recipe: Recipe, data: TrainingData, start: LinearFusionSegFormer, full: LinearFusionSegFormer | None = None
) -> dict[str, Any]:
    """All that decides the outcome of a training: the recipe, and sums of what it reads from disk.

    The network at its start counts by its encoder, which start weights bring whole; random ones follow from the seed.
    The ``full`` network that teaches it counts whole.
    """
    weights = hashlib.sha256()
    origin = full or (start.encoder if recipe.start_weights != RANDOM else None)
    if origin is not None:
        for tensor in origin.state_dict().values():
            weights.update(tensor.cpu().numpy().tobytes())
    lists = {f"frames of {name}": digest for name, digest in data.sha256().items()}
    return recipe.model_dump(mode="json") | lists | {"content of start_weights": weights.hexdigest()}


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state``; a former checkpoint stays if that fails.

    Raises:
        CheckpointError: the disk is full, or cannot be written to.
    """
    try:
        # By a file of ours: what torch itself says of a full disk nobody understands.
        with replacing_file(path) as temporary, temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())  # or a power cut after the renaming leaves neither
    except (OSError, RuntimeError) as error:  # torch's writer has no error of its own
        kept = "; the last good checkpoint is kept" if path.is_file() else ""
        raise CheckpointError(f"{path} could not be written ({error}){kept}") from error


def load_checkpoint(path: Path, made_with: dict[str, Any]) -> dict[str, Any]:
    """Read a checkpoint that was made with the same ingredients.

    Raises:
        CheckpointError: the file is damaged.
        RecipeError: it was made with others, so going on would be neither of the two.
    """
    try:
        check_not_packed(path)
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():  # torch reads over wrong bytes
                raise ValueError(f"{damaged} in it is damaged")
        state: dict[str, Any] = load_saved(path)
        former = dict(state["made_with"])
    except Exception as error:  # there is no end to what a file that is none makes its readers raise
        raise CheckpointError(
            f"{path} is no checkpoint of a training ({error}): remove it to start anew, or choose another output folder"
        ) from error
    if former != made_with:
        differing = sorted(key for key in {*made_with, *former} if former.get(key) != made_with.get(key))
        raise RecipeError(
            f"{path} was made with another recipe or other data (differs in {', '.join(differing)}): "
            "choose another output folder, or remove this one"
        )
    return state
