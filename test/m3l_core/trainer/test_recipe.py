"""A recipe is one file without surprises: what it does not know is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.rooms import RECIPE, recipe, write_recipe

from m3l_core.errors import RecipeError
from m3l_core.modalities import DepthModality
from m3l_core.model.config import EncoderConfig
from m3l_core.trainer.recipe import load_recipe

SHIPPED = sorted((Path(__file__).parents[3] / "training" / "recipes").glob("*.yaml"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_recipe(tmp_path / "recipe.yaml")


@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda shipped: shipped.stem)
def test_every_shipped_recipe_loads_and_fits_a_bundle(shipped: Path) -> None:
    loaded = load_recipe(shipped)
    assert loaded.iterations > 0
    assert min(loaded.input_height, loaded.input_width) >= 64
    assert len(set(loaded.modality_names)) == len(loaded.modality_names)
    assert all(phase.scale[0] <= phase.scale[1] for phase in loaded.phases)


def test_there_is_a_shipped_recipe() -> None:
    assert SHIPPED


def test_a_file_becomes_a_typed_recipe(path: Path) -> None:
    loaded = load_recipe(path)
    assert loaded == recipe()
    assert loaded.encoder == EncoderConfig(widths=(8, 16, 40, 64), depths=(1, 1, 1, 1))
    assert loaded.iterations == 10
    assert loaded.modality_names == ("color", "depth")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"learning_rate": 1e-3}, "learning_rate"),
        ({"optimizer": {"momentum": 0.9}}, "momentum"),
        ({"phases": []}, "at least 1"),
        ({"phases": [{"iterations": 5, "batch": 0, "crop": [32, 32], "scale": [1, 1]}]}, "batch"),
        ({"phases": [{"iterations": 5, "batch": 1, "crop": [32], "scale": [1, 1]}]}, "crop"),
        ({"phases": [{"iterations": 5, "batch": 1, "crop": [32, 32], "scale": [0, 1]}]}, "scale"),
        ({"modalities": [{"kind": "sonar"}]}, "sonar"),
        ({"encoder": "resnet50"}, "encoder"),
        ({"encoder": {"widths": [8, 15, 40, 64], "depths": [1, 1, 1, 1]}}, "multiple of its heads"),
        ({"modality_dropout": 1.5}, "modality_dropout"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"optimizer": {"warmup_iterations": 10}}, r"warmup_iterations \(10\) must be below the 10 iterations"),
        ({"labels": {"classes": [{"name": "floor", "color": [0, 0, 0]}]}}, "classes"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    path = write_recipe(tmp_path / "recipe.yaml", **changes)
    with pytest.raises(RecipeError, match=rf"(?s)recipe\.yaml: .*{reason}"):
        load_recipe(path)


def test_a_setting_without_default_must_be_there(path: Path) -> None:
    text = path.read_text()
    path.write_text(text.replace("name: tiny\n", ""))
    with pytest.raises(RecipeError, match="name"):
        load_recipe(path)


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\x00", b"", b"- a list", b"text"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "recipe.yaml").write_bytes(content)
    with pytest.raises(RecipeError, match=r"recipe\.yaml"):
        load_recipe(tmp_path / "recipe.yaml")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=7", {"seed": 7}),
        ("optimizer.learning_rate=3e-4", {"optimizer": RECIPE["optimizer"] | {"learning_rate": 3e-4}}),
        ("optimizer.power=1", {"optimizer": RECIPE["optimizer"] | {"power": 1.0}}),
        ("augmentation.flip=0", {"augmentation": {"flip": 0.0}}),
        ("phases.1.iterations=9", {"phases": [RECIPE["phases"][0], RECIPE["phases"][1] | {"iterations": 9}]}),
        ("phases.0.crop=[64, 96]", {"phases": [RECIPE["phases"][0] | {"crop": [64, 96]}, RECIPE["phases"][1]]}),
        ("phases.-1.crop.0=32", {"phases": [RECIPE["phases"][0], RECIPE["phases"][1] | {"crop": [32, 64]}]}),
        ("encoder=mit_b1", {"encoder": "mit_b1"}),
        ("data.labelled=a=b.json", {"data": RECIPE["data"] | {"labelled": "a=b.json"}}),
        ("mixed_precision=true", {"mixed_precision": True}),
    ],
)
def test_an_override_changes_that_setting_alone(path: Path, override: str, expected: dict[str, Any]) -> None:
    assert load_recipe(path, [override]) == recipe(**expected)


def test_overrides_apply_in_order_and_together(path: Path) -> None:
    loaded = load_recipe(path, ["seed=1", "modalities.1.far_m=4", "seed=2"])
    assert loaded.seed == 2
    assert loaded.modalities[1] == DepthModality(far_m=4.0)


@pytest.mark.parametrize(
    "override",
    [
        "seed",
        "sead=1",
        "optimizer.momentum=1",
        "phases.9.iterations=1",
        "phases.first.iterations=1",
        "phases.5=1",
        "name.first=1",
        "seed.value=1",
        "seed=[1",
        "seed=many",
        "=1",
        "description=",
        "optimizer=",
    ],
)
def test_a_bad_override_is_refused(path: Path, override: str) -> None:
    with pytest.raises(RecipeError):
        load_recipe(path, [override])
