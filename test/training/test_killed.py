"""A command is killed before each of its operations on files; the same one then ends as if that had not been."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support import forks
from support.annotations import write_files
from support.bags import frames, write_bag
from support.bundles import write_onnx_bundle
from support.published import write_stanford
from support.rooms import RECIPE, SIZE, write_rooms

from m3l_core.annotation.mask_images import encode_mask
from m3l_core.labels import LabelSet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def bag(given: Path) -> list[str]:
    write_bag(given / "kitchen", frames(2))
    return ["kitchen", "--output", "data", "--jobs", "1"]


def published(given: Path) -> list[str]:
    write_stanford(given / "stanford", ("1", "4", "5a"), ("office_3",))
    return ["stanford_indoor", "stanford", "--output", "data", "--workers", "1", "--max-side", "4"]


def unlabelled(given: Path) -> Path:
    index = write_rooms(given / "rooms", train=2, validation=1) / "train.json"
    entries = json.loads(index.read_text())
    for entry in entries:
        (index.parent / entry.pop("label")).unlink()
    index.write_text(json.dumps(entries))
    (index.parent / "labels.yaml").write_text(yaml.safe_dump({"labels": RECIPE["labels"]}))
    return index


def annotated(given: Path) -> list[str]:
    entries = json.loads(unlabelled(given).read_text())
    labels = LabelSet.model_validate(RECIPE["labels"])
    names = [f"{entry.get('recording', entry.get('room'))}__{Path(entry['color']).stem}.png" for entry in entries]
    masks = {name: encode_mask(np.full(SIZE, 1, np.uint8), labels) for name in names}
    write_files(given / "masks", masks)
    return ["rooms/train.json", "masks"]


def recordings(given: Path) -> list[str]:
    for name in ("hall", "yard", "lane"):
        room = write_rooms(given / "made" / name, train=1, validation=1)
        for kind in ("color", "depth", "label"):
            (given / "data" / name).mkdir(parents=True, exist_ok=True)
            (room / kind).rename(given / "data" / name / kind)
    return ["data"]


def selected(given: Path) -> list[str]:
    unlabelled(given)
    return ["rooms/train.json", "--strategy", "random", "--budget", "2", "--output", "to_label"]


def replayed(given: Path) -> list[str]:
    write_bag(given / "kitchen", frames(4))
    write_onnx_bundle(given / "bundle")
    names = ["--scenario", "none", "--engine", "onnxruntime", "--jobs", "1"]
    return ["kitchen", "--bundle", "bundle", "--output", "report", *names, "--annotate"]


COMMANDS: dict[str, Callable[[Path], list[str]]] = {
    "training.extract_bag": bag,
    "training.import_dataset": published,
    "training.import_labels": annotated,
    "training.index_folder": recordings,
    "training.select_frames": selected,
    "m3l_core.replay.command": replayed,
}
MEASURES_TIME = ("m3l_core.replay.command",)
"""What these write is never the same twice; the same files are there."""


@pytest.mark.parametrize("module", COMMANDS)
def test_a_command_that_was_killed_goes_on_to_the_same(tmp_path: Path, module: str) -> None:
    given = tmp_path / "given"
    given.mkdir()
    arguments = COMMANDS[module](given)
    work: dict[str, Any] = {"do": "kill", "module": module, "arguments": arguments}
    work["names_alone"] = module in MEASURES_TIME
    found = forks.ask({**work, "given": str(given), "place": str(tmp_path)}, timeout=390)
    assert found["problems"] == []
    assert found["points"] > 4
