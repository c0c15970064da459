"""What a user reads of a file of settings that does not fit: the field, what was expected, what came."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.bundles import write_bundle
from support.rooms import RECIPE

from m3l_core.annotation.manifest import read_selection
from m3l_core.annotation.reading import read_export
from m3l_core.bundle import DESCRIPTION_FILE, ModelBundle
from m3l_core.bundle_description import BundleDescription
from m3l_core.camera_presets import load_camera_preset
from m3l_core.datasets.class_map import read_mapping
from m3l_core.errors import BundleError, M3LError
from m3l_core.inspection.inspection import load_task
from m3l_core.replay.faults.scenario import Scenario, load_scenario
from m3l_core.trainer.recipe import Recipe, load_recipe
from m3l_core.validation import checked

SET = {"labelled": "train.json", "validation": "val.json"}
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "a mistyped key": ({"sead": 1}, "sead: unknown key (for seed?), expected one of: name, description, encoder, "),
    "a key of a section": (
        {"optimizer": {"warm": 1, "warmup_iterations": 1}},
        "optimizer.warm: unknown key, expected one of: learning_rate, head_factor, ",
    ),
    "a key of a section that may be left out": (
        {"method": {"strong_view": {"fog": 1}}},
        "method.strong_view.fog: unknown key, expected one of: ",
    ),
    "a key of one set of several": (
        {"data": [{**SET, "root": "a"}, {"root": "b", "shore": 1}]},
        "data.1.shore: unknown key (for share?), expected one of: name, root, ",
    ),
    "a value out of range": (
        {"data": {**SET, "share": 0}},
        "data.share: expected a number greater than 0, got 0",
    ),
    "a list that is short": ({"phases": []}, "phases: expected at least 1 entries, got 0"),
    "an entry that does not fit": (
        {"modalities": [{"kind": "depth", "normalization": "log"}]},
        "modalities.0.normalization: expected 'metric', 'geometry' or 'min_max', got 'log'",
    ),
    "an unknown kind": (
        {"modalities": [{"kind": "sonar"}]},
        "modalities.0.kind: expected one of color, depth, height, intensity, got 'sonar'",
    ),
    "no kind": ({"modalities": [{}]}, "modalities.0.kind: it is missing: one of color, depth, height"),
    "nothing that it may be": ({"data": 3}, "data: expected a mapping or a list, got 3"),
    "one of two kinds": (
        {"method": {"modality_dropout": {"probability": {"color": 2}}}},
        "method.modality_dropout.probability.color: expected a number less than or equal to 1, got 2",
    ),
    "the nearest of three kinds": (
        {"encoder": {"widths": [8, 16, 40, 64], "depths": [1, 1, 1]}},
        "encoder.depths.3: it is missing",
    ),
    "a text for a number": (
        {"ohem_threshold": "5e-1x"},
        "ohem_threshold: expected a number, got '5e-1x'",
    ),
    "what YAML reads as something else": (
        {"labels": {"classes": [{"name": True, "color": [1, 2, 3]}, {"name": "wall", "color": [1, 2, 3]}]}},
        "labels.classes.0.name: expected a text in quotes, got True",
    ),
    "a long kind of two lines": (
        {"modalities": [{"kind": "so\n" + "nar" * 1000}]},
        "modalities.0.kind: expected one of color, depth, height, intensity, got 'so\\nnar",
    ),
    "a long encoder of two lines": ({"encoder": "m i\nt" * 1000}, "encoder: unknown encoder 'm i tm i"),
    "yes for a number": (
        {
            "augmentation": {"failing_sensor": True},
            "seed": False,
            "phases": [{**RECIPE["phases"][0], "crop": [64, True]}],
        },
        "phases.0.crop.1: expected a number greater than or equal to 32, got True",
    ),
    "yes for a number that could be 1": (
        {
            "augmentation": {"failing_sensor": True},
            "seed": False,
            "method": {"modality_dropout": {"probability": True}},
        },
        "augmentation.failing_sensor: expected a number, got True; seed: expected a number, got False; "
        "method.modality_dropout.probability: expected a number, got True",
    ),
    "an empty key": ({"": 3}, "'': unknown key, expected one of: name, "),
    "a long key of two lines": ({"se\nad" * 1000: 1}, "se adse ad"),
    "what parts say of each other": (
        {"optimizer": {"warmup_iterations": 10}},
        "warmup_iterations (10) must be below the 10 iterations",
    ),
}


def told(model: type[Any], content: Any) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        checked(model, content)
    text = str(caught.value)
    assert "\n" not in text
    assert "pydantic" not in text
    assert len(text) < 2000
    return text


@pytest.mark.parametrize("case", CASES)
def test_each_fault_names_the_field_what_was_expected_and_what_came(case: str) -> None:
    changes, expected = CASES[case]
    assert told(Recipe, {**RECIPE, **changes}).startswith(expected)


def test_faults_stand_in_one_line_and_many_are_counted() -> None:
    both = told(Recipe, {**RECIPE, "seed": -1, "compiled": "perhaps"})
    assert both == (
        "compiled: expected true or false, got 'perhaps'; seed: expected a number greater than or equal to 0, got -1"
    )
    phases = [{**RECIPE["phases"][0], "batch": 0}] * 30
    assert told(Recipe, {**RECIPE, "phases": phases}).endswith("; and 22 more")


SUBSETS = {
    "subset_networks": {"subsets": [["color"]], "phases": RECIPE["phases"], "optimizer": {"warmup_iterations": 1}}
}
LOST = {"draw": "independent", "probability": {"color": 0.1, "depth": 0.2}}


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))  # which is YAML, too
    return path


def read(path: Path) -> None:
    with read_export(path, Recipe.model_validate(RECIPE).labels) as annotations:
        for image in annotations.images:
            if isinstance(image, M3LError):
                raise image


# What is read -> (its file, what stands in it, who reads it, what is wrong)
ENTRANCES: dict[str, tuple[str, Any, Callable[[Path], Any], str]] = {
    "a recipe": ("tiny.yaml", RECIPE | {"seed": "x"}, load_recipe, "seed: expected a whole number, got 'x'"),
    "the network of a subset": (
        "tiny.yaml",
        RECIPE
        | SUBSETS
        | {"missing": "no_stream", "method": {}}
        | {
            "subset_networks": SUBSETS["subset_networks"]
            | {"method": {"pseudo_labels": "full", "modality_dropout": LOST | {"probability": {"color": 0.1}}}}
        },
        load_recipe,
        "recipe tiny: the network for color: modality_dropout names",
    ),
    "a scenario": ("mine.yaml", {"name": "mine", "faults": 3}, load_scenario, "faults: expected a list, got 3"),
    "a camera": (
        "mine.yaml",
        {"remappings": 3},
        lambda path: load_camera_preset(path.parent, str(path)),
        "remappings: expected a mapping",
    ),
    "classes of a data set": (
        "labels.yaml",
        {"labels": {"classes": [{"name": "floor", "color": [1, 2, 300]}, {"name": "wall", "color": [1, 2, 3]}]}},
        partial(load_task, known=("labels",)),
        "labels.classes.0.color.2: expected a number less than or equal to 255, got 300",
    ),
    "a class map": ("map.json", {"floor": 3}, read_mapping, "the model's or null, got floor: 3"),
    "a selection": ("selection.json", {"frames": 3}, read_selection, "expected a list, got 3"),
    "COCO": ("a.json", {"images": 3, "annotations": []}, read, "images: expected a list, got 3"),
    "Label Studio": ("a.json", [{"data": 3}], read, "data: expected a mapping, got 3"),
}


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_who_reads_a_file_tells_in_the_same_words(entrance: str, tmp_path: Path) -> None:
    name, content, load, expected = ENTRANCES[entrance]
    with pytest.raises(M3LError) as caught:
        load(str(written(tmp_path / name, content)) if load is read_mapping else written(tmp_path / name, content))
    text = str(caught.value)
    assert expected in text
    assert "\n" not in text and "pydantic" not in text


def test_a_bundle_tells_in_the_same_words(tmp_path: Path) -> None:
    file = write_bundle(tmp_path / "tiny") / DESCRIPTION_FILE
    written(file, yaml.safe_load(file.read_text()) | {"input_width": 63})
    with pytest.raises(BundleError, match=r"used: input_width: expected a number greater than or equal to 64, got 63$"):
        ModelBundle.load(file.parent)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "name", "x"]), inner),
    max_leaves=6,
)


@given(st.sampled_from([Recipe, BundleDescription, Scenario]), st.data(), VALUES)
def test_whatever_stands_in_a_field_is_explained(model: type[Any], data: st.DataObject, value: Any) -> None:
    field = data.draw(st.sampled_from([*model.model_fields]))
    content = {field: value, "nobody's": 1}
    assert "nobody's: unknown key" in told(model, content) or "more" in told(model, content)


def test_what_fits_becomes_the_model() -> None:
    assert checked(Recipe, RECIPE) == Recipe.model_validate(RECIPE)


def test_no_entrance_shows_errors_of_the_library_itself() -> None:
    """Files that people write are read by ``checked``."""
    core = Path(__file__).parents[2] / "m3l_core"
    found = {path.name for path in core.rglob("*.py") if "ValidationError" in path.read_text(encoding="utf-8")}
    assert found == {"validation.py"}
