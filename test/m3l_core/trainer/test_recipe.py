"""A recipe is without surprises: what it does not know is an error, whichever of its files says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.rooms import METHODS, RECIPE, recipe, write_recipe

from m3l_core.errors import RecipeError
from m3l_core.modalities import DepthModality
from m3l_core.network_config import MixTransformerConfig
from m3l_core.trainer.method import Method
from m3l_core.trainer.recipe import load_recipe

LISTS = {"labelled": "train.json", "validation": "val.json"}
A, ROOF = LISTS | {"root": "a"}, {"class_map": {"x": "roof"}}
FOLDER = Path(__file__).parents[3] / "training" / "recipes"
WHOLE, METHOD_FILES = (
    [p for p in sorted(folder.glob("*.yaml")) if "\nname:" in p.read_text()] for folder in (FOLDER, FOLDER / "methods")
)
MACHINES = [path for path in sorted(FOLDER.glob("*.yaml")) if path not in WHOLE]
SHIPPED = [
    *([path] for path in WHOLE),
    *(
        [method, *machine, data]
        for method in METHOD_FILES
        for machine in ([], *([path] for path in MACHINES))
        for data in sorted((FOLDER / "data").glob("*.yaml"))
    ),
]


def independent(**probability: float) -> dict[str, Any]:
    return {"draw": "independent", "probability": probability}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_recipe(tmp_path / "recipe.yaml")


@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda shipped: "+".join(path.stem for path in shipped))
def test_every_shipped_recipe_loads_and_fits_a_bundle(shipped: list[Path]) -> None:
    loaded = load_recipe(shipped)
    assert loaded.iterations > 0
    assert min(loaded.input_height, loaded.input_width) >= 64
    assert len(set(loaded.modality_names)) == len(loaded.modality_names)
    assert all(phase.scale[0] <= phase.scale[1] for phase in loaded.phases)


def test_there_are_shipped_recipes_of_one_two_and_three_files() -> None:
    assert {len(shipped) for shipped in SHIPPED} == {1, 2, 3}


def part(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([{"root": "a", "labelled": "t.json"}], "no set has a list of validation frames"),
        ({"validation": "v.json"}, "no set has a list of labelled frames"),
        ([LISTS, LISTS], r"data\.0 has neither name nor root: several sets need names, or roots, that differ"),
        ([A, LISTS], r"data\.1 has neither name nor root: several sets need names, or roots, that differ"),
        ([A, A], r"data: several sets need names, or roots, that differ, got \['a', 'a'\]"),
        ([A, LISTS | {"root": "b", "share": 0.01}], r"data\.1\.share: the share of b is below 0.01"),
        ([A | {"share": 0}], "greater than 0"),
        (LISTS | ROOF, r"data\.class_map: the class map names roof; the classes are floor, wall, chair"),
        ([LISTS | ROOF], r"data\.0\.class_map: the class map names roof; the classes are floor, wall, chair"),
        ([A, LISTS | ROOF | {"root": "b"}], r"data\.1\.class_map: the class map names roof"),
    ],
)
def test_data_sets_that_do_not_fit_are_refused(data: Any, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        recipe(data=data)


def test_one_set_and_a_list_of_it_are_the_same_data() -> None:
    one, listed = recipe(data=LISTS), recipe(data=[LISTS])
    assert one.data_sets == listed.data_sets
    assert one.shares == listed.shares == {"": 1.0}


def test_settings_reach_a_set_of_several(path: Path) -> None:
    write_recipe(path, data=[LISTS | {"root": "a"}, LISTS | {"root": "b"}])
    loaded = load_recipe(path, ["data.1.share=3", "data.0.label_fraction=0.5"])
    assert loaded.shares == {"a": 1.0, "b": 3.0}
    assert loaded.data_sets[0].label_fraction == 0.5


def test_files_add_up_and_the_last_one_wins(path: Path, tmp_path: Path) -> None:
    method = part(
        tmp_path / "method.yaml",
        "method: {pseudo_labels: cross, cutmix: 0.5, noise: 0.1}\noptimizer: {power: 2}\nseed: 3",
    )
    other = part(
        tmp_path / "other.yaml",
        "method: {noise: 0.2}\nphases: [{iterations: 9, batch: 1, crop: [32, 32], scale: [1, 1]}]",
    )
    loaded = load_recipe([path, method, other], ["seed=4"])
    assert (loaded.method.cutmix, loaded.method.noise) == (0.5, 0.2)
    assert loaded.optimizer == recipe(optimizer=RECIPE["optimizer"] | {"power": 2}).optimizer
    assert loaded.iterations == 9
    assert loaded.seed == 4
    assert load_recipe([other, method, path]).method.noise == 0.1


def test_a_file_extends_another_beside_it(path: Path, tmp_path: Path) -> None:
    settings = "seed: 1\nmethod: {pseudo_labels: cross, noise: 0.1}"
    part(tmp_path / "sub" / "middle.yaml", f"extends: ../recipe.yaml\n{settings}")
    last = part(tmp_path / "last.yaml", "extends: sub/middle.yaml\nmethod: {cutmix: 0.5}")
    assert load_recipe(last) == recipe(seed=1, method={"pseudo_labels": "cross", "noise": 0.1, "cutmix": 0.5})


def test_an_endless_chain_of_files_is_refused(tmp_path: Path) -> None:
    part(tmp_path / "one.yaml", "extends: other.yaml")
    part(tmp_path / "other.yaml", "extends: one.yaml")
    with pytest.raises(RecipeError, match=r"one\.yaml extends itself"):
        load_recipe(tmp_path / "one.yaml")


def test_a_file_that_extends_nothing_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.yaml cannot be read"):
        load_recipe(part(tmp_path / "one.yaml", "extends: none.yaml"))


def test_what_does_not_fit_names_every_file(path: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"(?s)recipe\.yaml \+ .*other\.yaml: .*sead"):
        load_recipe([path, part(tmp_path / "other.yaml", "sead: 1")])


def test_a_file_becomes_a_typed_recipe(path: Path) -> None:
    loaded = load_recipe(path)
    assert loaded == recipe()
    assert loaded.encoder == MixTransformerConfig(widths=(8, 16, 40, 64), depths=(1, 1, 1, 1))
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
        ({"modality_dropout": {}}, "modality_dropout"),
        ({"seed": -1}, "seed"),
        ({"data": RECIPE["data"] | {"label_seed": -1}}, "label_seed"),
        ({"data": RECIPE["data"] | {"label_fraction": 0}}, "label_fraction"),
        ({"phases": [RECIPE["phases"][0] | {"crop": [31, 48]}]}, "greater than or equal to 32"),
        ({"method": {"pseudo_labels": "oracle"}}, "pseudo_labels"),
        ({"method": {"cutmix": 1.5}}, "cutmix"),
        ({"method": {"cutmix": 0.5, "noise": 0.1}}, "cutmix, noise would do nothing without pseudo_labels"),
        (
            {"method": {"teacher_flip": True, "teacher_mode": "train", "modality_dropout": {"on_labelled": False}}},
            r"teacher_flip, teacher_mode, modality_dropout\.on_labelled would do nothing",
        ),
        (
            {"method": {"pseudo_ramp_iterations": 5, "confidence": "weight"}},
            "pseudo_ramp_iterations, confidence would do nothing",
        ),
        ({"method": {"temperature": 0}}, "temperature"),
        ({"method": {"strong_view": {"fog": 1}}}, "fog"),
        ({"method": {"modality_dropout": {"probability": 1.5}}}, "probability"),
        ({"method": {"modality_dropout": {"probability": {"color": 0.5, "depth": 0.5}}}}, "needs draw: independent"),
        ({"method": {"modality_dropout": independent(color=0.5)}}, r"names \['color'\], the modalities are"),
        ({"method": {"modality_dropout": independent(color=0.5, depth=0.5, sonar=0.5)}}, "sonar"),
        ({"method": {"modality_dropout": independent(color=0.5, depth=1.5)}}, "depth"),
        ({"method": {"ensemble": "equal"}, "missing": "no_stream"}, "which no_stream has not"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"optimizer": {"warmup_iterations": 10}}, r"warmup_iterations \(10\) must be below the 10 iterations"),
        (
            {"subset_networks": {"subsets": [["color"]], "phases": RECIPE["phases"]}},
            r"subset_networks: warmup_iterations \(200\) must be below the 10 iterations",
        ),
        ({"labels": {"classes": [{"name": "floor", "color": [0, 0, 0]}]}}, "classes"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    path = write_recipe(tmp_path / "recipe.yaml", **changes)
    with pytest.raises(RecipeError, match=rf"(?s)recipe\.yaml: .*{reason}"):
        load_recipe(path)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_read_from_a_file_as_it_is_made(tmp_path: Path, name: str) -> None:
    loaded = load_recipe(write_recipe(tmp_path / "recipe.yaml", method=METHODS[name]))
    assert loaded.method == Method.model_validate(METHODS[name])


def test_the_defaults_are_supervised_training() -> None:
    method = recipe().method
    assert method == Method()
    assert (method.pseudo_labels, method.modality_dropout, method.strong_view) == ("none", None, None)
    assert (method.cutmix, method.noise, method.clean_labelled_copy, method.loses_tokens) == (0, 0, False, False)


@pytest.mark.parametrize(("partial", "loses"), [(0.0, False), (0.1, True)])
def test_tokens_are_lost_where_a_modality_can_fail_in_part(partial: float, loses: bool) -> None:
    assert recipe(method={"modality_dropout": {"partial": partial}}).method.loses_tokens is loses


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
        ("method.pseudo_weight=0.5", {"method": {"pseudo_weight": 0.5}}),
        ("method.modality_dropout={}", {"method": {"modality_dropout": {}}}),
        ("method.modality_dropout.partial=0.5", {"method": {"modality_dropout": {"partial": 0.5}}}),
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


def test_recipes_that_extend_each_other_without_end_are_refused(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"{number}.yaml").write_text(f"extends: {number + 1}.yaml\n")
    with pytest.raises(RecipeError, match="is extended by 21 others in turn, expected 20 at most"):
        load_recipe(tmp_path / "0.yaml")
    (tmp_path / "0.yaml").write_text('extends: "a\\0b"\n')
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path / "0.yaml")


def test_a_setting_within_thousands_is_refused(path: Path) -> None:
    with pytest.raises(RecipeError, match="is 3000 deep, no setting is more than 20"):
        load_recipe(path, [".".join("a" * 3001) + "=1"])
