"""The state of a training on disk, written aside and renamed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from m3l_core.errors import RecipeError
from m3l_core.files import replacing_file


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state``; the last good checkpoint stays if that fails."""
    with replacing_file(path) as temporary:
        torch.save(state, temporary)


def load_checkpoint(path: Path, recipe: dict[str, Any]) -> dict[str, Any]:
    """Read a checkpoint made with the same recipe.

    Raises:
        RecipeError: it was made with another recipe, so going on would be neither of the two.
    """
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if state["recipe"] != recipe:
        differing = sorted(key for key in recipe if state["recipe"].get(key) != recipe[key])
        raise RecipeError(
            f"{path} was made with another recipe (differs in {', '.join(differing)}): "
            "choose another output folder, or remove this one"
        )
    return state
