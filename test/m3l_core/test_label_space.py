"""Label spaces for Hydra, read back as Hydra and semantic_inference read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.bundles import write_onnx_bundle

from m3l_core import label_space
from m3l_core.bundle import ModelBundle
from m3l_core.labels import LabelSet, SemanticClass
from m3l_core.shipped import shipped_bundle

FIELDS = {
    "total_semantic_labels",
    "dynamic_labels",
    "invalid_labels",
    "object_labels",
    "surface_places_labels",
    "label_names",
}
"""That Hydra's LabelSpaceConfig and its label names have."""


def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[dict[str, Any], dict[int, Any]]:
    monkeypatch.setattr("sys.argv", ["m3l_label_space", *arguments, "--output", str(tmp_path / "out")])
    label_space.main()
    (space,) = (tmp_path / "out").glob("*_label_space.yaml")
    table = space.with_name(space.name.replace("_label_space.yaml", ".csv"))
    header, *rows = table.read_text().splitlines()
    assert header == "name,red,green,blue,alpha,id"
    cells = [row.split(",") for row in rows]  # as their loader parts them
    assert all(len(row) == 6 for row in cells)
    return yaml.safe_load(space.read_text()), {int(row[5]): (row[0], *map(int, row[1:5])) for row in cells}


@pytest.mark.parametrize("unlabelled", [255, 0])
def test_every_class_of_the_shipped_bundle_has_a_name_a_color_and_one_role(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unlabelled: int
) -> None:
    space, colors = written(tmp_path, monkeypatch, "--unlabelled-value", str(unlabelled))
    labels = ModelBundle.load(shipped_bundle()).description.labels
    first = 1 if unlabelled == 0 else 0
    assert set(space) == FIELDS
    names = {entry["label"]: entry["name"] for entry in space["label_names"]}
    classes = {number: each.name for number, each in enumerate(labels.classes, first)}
    assert names == ({0: "Unknown"} if unlabelled == 0 else {}) | classes
    assert space["total_semantic_labels"] == len(names) == max(names) + 1
    assert space["invalid_labels"] == [unlabelled]
    assert colors == {unlabelled: ("Unknown", 0, 0, 0, 255)} | {
        number: (each.name, *each.color, 255) for number, each in enumerate(labels.classes, first)
    }
    roles = [space[f"{role}_labels"] for role in ("dynamic", "object", "surface_places")]
    assert [names[number] for number in space["dynamic_labels"]] == ["person"]
    assert [names[number] for number in space["surface_places_labels"]] == ["floor"]
    assert {"wall", "ceiling", "window"} == set(classes.values()) - {names[number] for each in roles for number in each}
    assert len({number for each in roles for number in each}) == sum(map(len, roles))


def test_roles_can_be_said_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = str(write_onnx_bundle(tmp_path / "bundle"))
    space, _ = written(tmp_path, monkeypatch, bundle, "--dynamic", "chair", "--structure", "clutter")
    assert (space["dynamic_labels"], space["object_labels"], space["surface_places_labels"]) == ([2], [], [0])
    assert "structure: wall, clutter" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dynamic", "robots"], "the bundle has no class 'robots'; it has floor, wall, chair, clutter"),
        (["--dynamic", "chair", "--objects", "chair"], "'chair' cannot be both objects and dynamic"),
    ],
)
def test_roles_that_cannot_be_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    bundle = str(write_onnx_bundle(tmp_path / "bundle"))
    with pytest.raises(SystemExit) as ended:
        written(tmp_path, monkeypatch, bundle, *arguments)
    assert ended.value.code == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_comma_in_a_name_parts_no_row() -> None:
    labels = ModelBundle.load(shipped_bundle()).description.labels
    odd = labels.model_copy(
        update={"classes": (labels.classes[0].model_copy(update={"name": "door, open"}), *labels.classes[1:])}
    )
    assert "door; open,120,160,190,255,0" in label_space.color_table(odd, 255)


def test_no_label_is_called_what_no_class_is() -> None:
    labels = LabelSet(classes=tuple(SemanticClass(name=name, color=(1, 2, 3)) for name in ("Unknown", "wall")))
    space = label_space.label_space(labels, label_space.usual_roles(labels), 0)
    names = ["Unknown_", "Unknown", "wall"]
    assert space["label_names"] == [{"label": number, "name": name} for number, name in enumerate(names)]
    assert space["total_semantic_labels"] == 3
    assert [row.partition(",")[0] for row in label_space.color_table(labels, 0).splitlines()[1:]] == names


def test_a_bundle_s_name_leads_nowhere_else(tmp_path: Path) -> None:
    paths = label_space.write_label_space(tmp_path / "out", "../my robot/kitchen", {}, "")
    assert [path.name for path in paths] == [".._my_robot_kitchen_label_space.yaml", ".._my_robot_kitchen.csv"]
    assert {path.parent for path in paths} == {tmp_path / "out"}
