"""Every number of a recipe is finite, wherever it stands, and its ranges rise."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, nan
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError
from support.rooms import RECIPE, write_recipe

from m3l_core.errors import RecipeError
from m3l_core.trainer.recipe import Recipe, load_recipe


def models(kind: Any) -> Iterator[type[BaseModel]]:
    """Those that a value of this type may hold, at any depth."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
        for field in kind.model_fields.values():
            yield from models(field.annotation)
    for part in get_args(kind):
        yield from models(part)


def holding(number: float, kind: Any) -> Iterator[Any]:
    """Values of this type but for one number, at each place that is for one."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is float:
        yield number
    elif origin is Annotated:
        yield from holding(number, parts[0])
    elif origin in (Union, UnionType):
        for part in parts:
            yield from holding(number, part)
    elif origin is dict:
        yield from ({"color": value} for value in holding(number, parts[1]))
    elif origin is tuple:
        for place, part in enumerate(parts):
            yield from ([*[1.0] * place, value, *[1.0] * (len(parts) - place - 1)] for value in holding(number, part))


MODELS = [*dict.fromkeys(models(Recipe))]
NUMBERS = [
    (model, name) for model in MODELS for name, field in model.model_fields.items() if [*holding(0.0, field.annotation)]
]


def test_the_numbers_of_all_parts_are_known_here() -> None:
    found = {f"{model.__name__}.{name}" for model, name in NUMBERS}
    assert {"Recipe.drop_path", "Method.temperature", "Optimizer.gradient_clip", "DepthModality.near_m"} <= found
    assert {"ModalityDropout.probability", "Phase.scale", "StrongView.blur", "ColorModality.std"} <= found
    assert len(found) > 30


@pytest.mark.parametrize("number", [inf, -inf, nan])
@pytest.mark.parametrize(("model", "name"), NUMBERS, ids=lambda part: getattr(part, "__name__", part))
def test_no_number_is_infinite(model: type[BaseModel], name: str, number: float) -> None:
    for value in holding(number, model.model_fields[name].annotation):
        with pytest.raises(ValidationError) as refused:
            model.model_validate({name: value})
        assert any(error["loc"][0] == name and error["input"] is number for error in refused.value.errors()), value


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"phases": [RECIPE["phases"][0] | {"scale": [1.25, 0.6]}]},
            r"phases\.0\.scale: expected a range, the lower limit first, got \[1\.25, 0\.6\]",
        ),
        (
            {"method": {"modality_dropout": {"partial_ratio": [1.0, 0.25]}}},
            r"method\.modality_dropout\.partial_ratio: expected a range, the lower limit first, got \[1\.0, 0\.25\]",
        ),
        ({"optimizer": {"learning_rate": inf}}, r"optimizer\.learning_rate: expected a finite number, got inf"),
    ],
)
def test_it_is_told_where_and_what_came(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        load_recipe(write_recipe(tmp_path / "recipe.yaml", **changes))


def test_a_range_may_be_one_number(tmp_path: Path) -> None:
    method = {"modality_dropout": {"partial_ratio": [0.5, 0.5]}}
    phase = RECIPE["phases"][1] | {"scale": [1, 1]}
    loaded = load_recipe(write_recipe(tmp_path / "recipe.yaml", method=method, phases=[phase]))
    assert loaded.phases[0].scale == (1.0, 1.0)
