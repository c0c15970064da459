"""A training recipe: one YAML file, typed, where an unknown key is an error. Importable without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, model_validator

from m3l_core.datasets.class_map import ClassMap
from m3l_core.errors import DatasetError, RecipeError
from m3l_core.labels import LabelSet
from m3l_core.modalities import InputSide, Modalities
from m3l_core.network_config import Encoder
from m3l_core.trainer.method import Method, Share, Strict
from m3l_core.trainer.settings import Augmentation, DataSet, Optimizer, Phase, Positive, Seed, SubsetNetworks
from m3l_core.validation import checked
from m3l_core.yaml_files import parse_yaml, read_yaml

LEAST_SHARE = 0.01
"""Of a set among several."""
_DEEPEST = 20
"""Recipes that extend each other, and settings within settings."""


class Recipe(Strict):
    """Everything that decides a training, but the place of the data and of the output."""

    name: str
    description: str
    encoder: Encoder = "mit_b0"
    head_width: Positive = 256
    modalities: Modalities
    labels: LabelSet
    input_height: InputSide
    input_width: InputSide
    data: DataSet | tuple[DataSet, ...]
    """One set or several, each batch with its share of each."""
    source: dict[str, Any] = Field(default_factory=dict)
    """What an imported data set was made from, as its labels.yaml tells."""
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]
    augmentation: Augmentation = Augmentation()
    optimizer: Optimizer = Optimizer()
    start_weights: str = "random"
    """``random``, the folder of a bundle, a checkpoint file, or a name on the Hugging Face hub;
    ``load_start_weights`` describes them."""
    method: Method = Method()
    student: tuple[str, ...] | None = None
    """The modalities that the network takes; the others only teach it. None: all."""
    subset_networks: SubsetNetworks | None = None
    """Further networks, for when sensors are missing."""
    head: Literal["streams", "joint"] = "streams"
    """``joint``: one head takes in all streams, at half the head's work and a little better; it wants every sensor, so
    it goes with ``subset_networks``."""
    fusion_ratio: Share = 0.8
    """Share of its own features that a stream keeps in each exchange; 0.8 is the paper's, 1 exchanges nothing."""
    missing: Literal["mask_token", "no_stream"] = "mask_token"
    """``no_stream``: a missing modality costs nothing, which halves the work with one camera left."""
    ohem_threshold: Share = 0.7
    """Pixels whose true class is predicted with more than this are left out of the loss; 1 keeps all."""
    drop_path: Share = 0.1
    """Stochastic depth; 0.1 is the paper's, for weights that start from ImageNet."""
    head_dropout: Share = 0.1
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Of the averaged weights, which label for a mean teacher, are evaluated and shipped."""
    mixed_precision: bool = True
    """Run the forward pass in bfloat16 where that is safe."""
    compiled: bool = False
    """Run the networks through ``torch.compile``: minutes at the start, faster steps on a GPU."""
    repeatable: bool = True
    """The same losses each time, also after an interruption, by slower steps on a GPU; a CPU has no others."""
    seed: Seed = 0
    evaluate_every: Positive = 500
    checkpoint_every: Positive = 100

    @property
    def iterations(self) -> int:
        return sum(phase.iterations for phase in self.phases)

    @property
    def data_sets(self) -> tuple[DataSet, ...]:
        return self.data if isinstance(self.data, tuple) else (self.data,)

    @property
    def shares(self) -> dict[str, float]:
        """Of each set by the name that its samples bear, which of a single one is empty."""
        return {each.title: each.share for each in self.data_sets} if len(self.data_sets) > 1 else {"": 1.0}

    @property
    def modality_names(self) -> tuple[str, ...]:
        return tuple(modality.name for modality in self.modalities)

    @property
    def network_modalities(self) -> Modalities:
        """What the network takes."""
        names = self.modality_names if self.student is None else self.student
        return tuple(modality for modality in self.modalities if modality.name in names)

    @property
    def network_streams(self) -> list[int]:
        """Their places among all modalities."""
        return [self.modalities.index(modality) for modality in self.network_modalities]

    def of_subset(self, subset: tuple[str, ...]) -> Recipe:
        """The recipe of the network for a subset of the modalities.

        Raises:
            RecipeError: this recipe has no subset networks, or its settings do not fit that one.
        """
        settings = self.subset_networks
        if settings is None:
            raise RecipeError(f"{self.name} has no subset_networks")
        changes = {name: getattr(settings, name) for name in ("phases", "optimizer", "method", "ohem_threshold")}
        changes |= {"name": f"{self.name}_{'_'.join(subset)}", "student": subset, "subset_networks": None}
        if settings.augmentation is not None:
            changes["augmentation"] = settings.augmentation
        try:
            return checked(Recipe, self.model_dump() | changes)
        except ValueError as error:
            raise RecipeError(f"recipe {self.name}: the network for {'+'.join(subset)}: {error}") from error

    @model_validator(mode="after")
    def _subsets_name_modalities(self) -> Recipe:
        chosen = [*(() if self.student is None else (self.student,))]
        if self.subset_networks is not None:
            chosen += self.subset_networks.subsets
            if self.student is not None:
                raise ValueError("subset_networks are taught by a network of all modalities: leave student out")
            if self.subset_networks.method.pseudo_labels != "full":
                raise ValueError("subset_networks.method.pseudo_labels must be full: the full network is their teacher")
            if any(len(subset) == len(self.modalities) for subset in chosen):
                raise ValueError("subset_networks: a subset of all modalities is the full network itself")
        for subset in chosen:
            in_order = [name for name in self.modality_names if name in subset]
            if not subset or in_order != list(subset):
                raise ValueError(f"subset {list(subset)}: expected some of {list(self.modality_names)}, in this order")
        if len(set(chosen)) != len(chosen):
            raise ValueError(f"subset_networks: a subset stands twice in {[list(subset) for subset in chosen]}")
        if self.method.pseudo_labels == "full" and self.student is None:
            raise ValueError("method.pseudo_labels: full is the teacher of subset_networks.method alone")
        return self

    @model_validator(mode="after")
    def _data_sets_fit(self) -> Recipe:
        for kind in ("labelled", "validation"):
            if not any(getattr(each, kind) for each in self.data_sets):
                raise ValueError(f"data: no set has a list of {kind} frames")
        titles = [each.title for each in self.data_sets]
        if len(titles) > 1 and not all(titles):
            raise ValueError(
                f"data.{titles.index('')} has neither name nor root: several sets need names, or roots, that differ"
            )
        if len(set(titles)) != len(titles):
            raise ValueError(f"data: several sets need names, or roots, that differ, got {titles}")
        total = sum(each.share for each in self.data_sets)
        for number, each in enumerate(self.data_sets):
            place = f"data.{number}" if isinstance(self.data, tuple) else "data"
            if each.share < LEAST_SHARE * total:
                raise ValueError(f"{place}.share: the share of {each.title} is below {LEAST_SHARE:g} of all")
            if each.class_map is not None:
                try:
                    ClassMap.of(each.class_map, self.labels.names)
                except DatasetError as error:
                    raise ValueError(f"{place}.class_map: {error}") from None
        return self

    @model_validator(mode="after")
    def _dropout_names_modalities(self) -> Recipe:
        dropout = self.method.modality_dropout
        if dropout and isinstance(dropout.probability, dict):
            if dropout.draw != "independent":
                raise ValueError("a probability for each modality needs draw: independent")
            if set(dropout.probability) != set(self.modality_names):
                raise ValueError(
                    f"modality_dropout names {sorted(dropout.probability)}, the modalities are {self.modality_names}"
                )
        return self

    @model_validator(mode="after")
    def _ensemble_has_its_streams(self) -> Recipe:
        if self.missing == "no_stream" and self.method.ensemble == "equal":
            raise ValueError("ensemble: equal counts the streams of missing modalities, which no_stream has not")
        return self

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Recipe:
        for part in (self, *(() if self.subset_networks is None else (self.subset_networks,))):
            warm_up, iterations = part.optimizer.warmup_iterations, sum(phase.iterations for phase in part.phases)
            if warm_up >= iterations:
                where = "" if part is self else "subset_networks: "
                raise ValueError(f"{where}warmup_iterations ({warm_up}) must be below the {iterations} iterations")
        return self


def load_recipe(paths: Path | Sequence[Path], overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from one file, or from several whose settings add up, the last one's first.

    A file may extend another: ``extends: OTHER``, a path relative to it. Mappings are merged key by key; anything else
    is replaced.

    Args:
        paths: such as a method's file and a data set's.
        overrides: ``key=value`` with a dotted key, such as ``optimizer.learning_rate=3e-4``.

    Raises:
        RecipeError: a file is unreadable, a key is unknown, or a value is out of range, also for a subset's network.
    """
    paths = [paths] if isinstance(paths, Path) else paths
    content: dict[str, Any] = {}
    for path in paths:
        _merge(content, _read(path, ()))
    for override in overrides:
        _apply(content, override)
    try:
        recipe = checked(Recipe, content)
    except ValueError as error:
        raise RecipeError(f"recipe {' + '.join(map(str, paths))}: {error}") from error
    for subset in recipe.subset_networks.subsets if recipe.subset_networks else ():
        recipe.of_subset(subset)  # told now, not when the full network is trained
    return recipe


def _read(path: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    try:
        own = read_yaml(path)
    except (OSError, yaml.YAMLError, ValueError) as error:  # the last of a name that no file can have
        raise RecipeError(f"recipe {path} cannot be read: {error}") from error
    if not isinstance(own, dict):
        raise RecipeError(f"recipe {path}: expected a mapping of settings")
    if path.resolve() in extending:
        raise RecipeError(f"recipe {path} extends itself")
    if len(extending) > _DEEPEST:
        raise RecipeError(f"recipe {path} is extended by {len(extending)} others in turn, expected {_DEEPEST} at most")
    base = own.pop("extends", None)
    if base is None:
        return own
    content = _read(path.parent / str(base), (*extending, path.resolve()))
    _merge(content, own)
    return content


def _merge(content: dict[str, Any], other: dict[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(content.get(key), dict):
            _merge(content[key], value)
        else:
            content[key] = value


def _apply(content: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator:
        raise RecipeError(f"expected key=value, got '{override}'")
    *parents, last = key.split(".")
    if len(parents) > _DEEPEST:
        raise RecipeError(f"'{override[:60]}' is {len(parents)} deep, no setting is more than {_DEEPEST}")
    place: Any = content
    try:
        for number, parent in enumerate(parents, 1):
            place = place[int(parent)] if isinstance(place, list) else place.setdefault(parent, {})
            if not isinstance(place, dict | list):
                raise ValueError(f"{'.'.join(parents[:number])} is '{place}' there, which has no parts")
        place[int(last) if isinstance(place, list) else last] = parse_yaml(text)
    except (LookupError, ValueError, yaml.YAMLError) as error:
        raise RecipeError(f"'{override}' does not fit the recipe: {error}") from error
