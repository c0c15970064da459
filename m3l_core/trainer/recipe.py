"""A training recipe: one YAML file, typed, where an unknown key is an error. Importable without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from m3l_core.errors import RecipeError
from m3l_core.labels import LabelSet
from m3l_core.modalities import InputSide, Modalities
from m3l_core.model.config import EncoderConfig, EncoderName

_Positive = Annotated[int, Field(gt=0)]
_Share = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Strict):
    """Index files, relative to the data folder given on the command line."""

    labelled: str
    validation: str


class Phase(_Strict):
    """A part of the training with its own view of the images."""

    iterations: _Positive
    batch: _Positive
    crop: tuple[_Positive, _Positive]
    """(H, W) of what the network sees."""
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    """Images are scaled by a factor drawn from this range, then cropped or padded."""


class Augmentation(_Strict):
    """Disturbances; geometry is shared by the modalities and the labels."""

    flip: _Share = 0.5
    color_jitter: _Share = 0.4
    """Largest relative change of brightness, contrast and saturation."""
    depth_jitter: _Share = 0.1
    """Largest relative change of depth."""


class Optimizer(_Strict):
    """AdamW with linear warm-up, then polynomial decay to 0."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warmup_iterations: Annotated[int, Field(ge=0)] = 200
    power: Annotated[float, Field(gt=0)] = 0.9


class Recipe(_Strict):
    """Everything that decides a training, but the place of the data and of the output."""

    name: str
    description: str
    encoder: EncoderName | EncoderConfig = "mit_b0"
    head_width: _Positive = 256
    modalities: Modalities
    labels: LabelSet
    input_height: InputSide
    input_width: InputSide
    data: Data
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]
    augmentation: Augmentation = Augmentation()
    optimizer: Optimizer = Optimizer()
    modality_dropout: _Share = 0.67
    """Share of the samples that lose one modality, drawn uniformly; 2/3 is the paper's choice of three."""
    ohem_threshold: _Share = 0.7
    """Pixels whose true class is predicted with more than this are left out of the loss; 1 keeps all."""
    drop_path: _Share = 0.1
    """Stochastic depth; 0.1 is the paper's, for weights that start from ImageNet."""
    head_dropout: _Share = 0.1
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Of the averaged weights, which are evaluated and shipped."""
    mixed_precision: bool = True
    """Run the forward pass in bfloat16 where that is safe."""
    seed: int = 0
    evaluate_every: _Positive = 500
    checkpoint_every: _Positive = 100

    @property
    def iterations(self) -> int:
        return sum(phase.iterations for phase in self.phases)

    @property
    def modality_names(self) -> tuple[str, ...]:
        return tuple(modality.name for modality in self.modalities)

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Recipe:
        if self.optimizer.warmup_iterations >= self.iterations:
            raise ValueError(
                f"warmup_iterations ({self.optimizer.warmup_iterations}) must be below the {self.iterations} iterations"
            )
        return self


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe; each override is ``key=value`` with a dotted key, such as ``optimizer.learning_rate=3e-4``.

    Raises:
        RecipeError: the file is unreadable, a key is unknown, or a value is out of range.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"recipe {path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"recipe {path}: expected a mapping of settings")
    for override in overrides:
        _apply(content, override)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"recipe {path}: {error}") from error


def _apply(content: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator:
        raise RecipeError(f"expected key=value, got '{override}'")
    *parents, last = key.split(".")
    place: Any = content
    try:
        for parent in parents:
            place = place[int(parent)] if isinstance(place, list) else place.setdefault(parent, {})
        place[int(last) if isinstance(place, list) else last] = yaml.safe_load(text)
    except (AttributeError, LookupError, TypeError, ValueError, yaml.YAMLError) as error:
        raise RecipeError(f"'{override}' does not fit the recipe: {error}") from error
