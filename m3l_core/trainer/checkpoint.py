"""The state of a training on disk, written aside and renamed."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from m3l_core.errors import CheckpointError, RecipeError
from m3l_core.files import replacing_file


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state``; the last good checkpoint stays if that fails.

    Raises:
        CheckpointError: the disk is full, or cannot be written to.
    """
    try:
        with replacing_file(path) as temporary:
            torch.save(state, temporary)
    except (OSError, RuntimeError) as error:  # torch's writer has no error of its own
        raise CheckpointError(f"{path} could not be written ({error}); the last good checkpoint is kept") from error


def load_checkpoint(path: Path, recipe: dict[str, Any]) -> dict[str, Any]:
    """Read a checkpoint made with the same recipe.

    Raises:
        CheckpointError: the file is damaged.
        RecipeError: it was made with another recipe, so going on would be neither of the two.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():  # torch reads over wrong bytes
                raise ValueError(f"{damaged} in it is damaged")
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        made_with = dict(state["recipe"])
    except Exception as error:  # there is no end to what a file that is none makes its readers raise
        raise CheckpointError(
            f"{path} is no checkpoint of a training ({error}): remove it to start anew, or choose another output folder"
        ) from error
    if made_with != recipe:
        differing = sorted(key for key in {*recipe, *made_with} if made_with.get(key) != recipe.get(key))
        raise RecipeError(
            f"{path} was made with another recipe (differs in {', '.join(differing)}): "
            "choose another output folder, or remove this one"
        )
    return state
