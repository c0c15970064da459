"""Small runs of the long commands: what each works on, and its arguments."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml
from support.annotations import write_files
from support.bags import frames, write_bag
from support.needs import require_modules
from support.published import write_stanford
from support.rooms import RECIPE, SIZE, write_recipe, write_rooms

from m3l_core.annotation.mask_images import encode_mask
from m3l_core.labels import LabelSet


class SmallRun(NamedTuple):
    """A command that takes long where there is much to do."""

    write: Callable[[Path], list[str]]
    """Makes in a folder what the command works on there; returns its arguments."""
    bundle: str = ""
    """The fixture of the bundle that is put into the folder."""
    needs: tuple[str, ...] = ()
    """Packages."""
    measured: tuple[str, ...] = ()
    """Files that hold measured times, and are never the same twice."""
    remembered: tuple[str, ...] = ()
    """Functions that take seconds for what is here tried many times, and change no file."""
    prepare: str = ""
    """A function that is called in the process before the command."""
    most_together: int = 12
    """Of its operations on files at most so many are tried with another one beside it."""

    def work(self, do: str, command: str, place: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
        """What ``forks.ask`` takes."""
        require_modules(*self.needs)
        given = place / "given"
        given.mkdir()
        if self.bundle:
            shutil.copytree(request.getfixturevalue(self.bundle), given / "bundle")
        arguments = self.write(given)
        rest = {name: getattr(self, name) for name in ("measured", "remembered", "prepare", "most_together")}
        return {"do": do, "command": command, "arguments": arguments, "given": str(given), "place": str(place), **rest}


def _bag(given: Path) -> list[str]:
    write_bag(given / "kitchen", frames(2))
    return ["kitchen", "--output", "data", "--jobs", "1"]


def _published(given: Path) -> list[str]:
    write_stanford(given / "stanford", ("1", "4", "5a"), ("office_3",))
    return ["stanford_indoor", "stanford", "--output", "data", "--workers", "1", "--max-side", "4"]


def _unlabelled(given: Path) -> Path:
    index = write_rooms(given / "rooms", train=2, validation=1) / "train.json"
    entries = json.loads(index.read_text())
    for entry in entries:
        (index.parent / entry.pop("label")).unlink()
    index.write_text(json.dumps(entries))
    (index.parent / "labels.yaml").write_text(yaml.safe_dump({"labels": RECIPE["labels"]}))
    return index


def _annotated(given: Path) -> list[str]:
    entries = json.loads(_unlabelled(given).read_text())
    labels = LabelSet.model_validate(RECIPE["labels"])
    names = [f"{entry.get('recording', entry.get('room'))}__{Path(entry['color']).stem}.png" for entry in entries]
    masks = {name: encode_mask(np.full(SIZE, 1, np.uint8), labels) for name in names}
    write_files(given / "masks", masks)
    return ["rooms/train.json", "masks"]


def _recordings(given: Path) -> list[str]:
    for name in ("hall", "yard", "lane"):
        room = write_rooms(given / "made" / name, train=1, validation=1)
        for kind in ("color", "depth", "label"):
            (given / "data" / name).mkdir(parents=True, exist_ok=True)
            (room / kind).rename(given / "data" / name / kind)
    return ["data"]


def _selected(given: Path) -> list[str]:
    _unlabelled(given)
    return ["rooms/train.json", "--strategy", "random", "--budget", "2", "--output", "to_label"]


def _replayed(given: Path) -> list[str]:
    write_bag(given / "kitchen", frames(4))
    names = ["--scenario", "none", "--engine", "onnxruntime", "--jobs", "1"]
    return ["kitchen", "--bundle", "bundle", "--output", "report", *names, "--annotate"]


def _trained(given: Path) -> list[str]:
    write_rooms(given / "rooms", train=2, validation=1)
    phases = [{"iterations": 2, "batch": 2, "crop": [32, 48], "scale": [0.5, 1.0]}]
    write_recipe(
        given / "recipe.yaml", phases=phases, optimizer={"warmup_iterations": 1}, checkpoint_every=1, evaluate_every=1
    )
    return ["recipe.yaml", "--data", "rooms", "--output", "run", "--workers", "0", "--no-tensorboard"]


def _exported(given: Path) -> list[str]:
    write_rooms(given / "rooms", train=2, validation=1)
    return ["bundle", "--frames", "rooms/train.json"]


def _quantized(given: Path) -> list[str]:
    write_rooms(given / "rooms", train=2, validation=1)
    return ["bundle", "--frames", "rooms/train.json", "--validation", "rooms/val.json", "--engine", "onnxruntime"]


def _built(given: Path) -> list[str]:
    return ["bundle", "--max-size", "64", "96", "--precision", "fp32"]


_EXPORT = "m3l_core.engines.onnx_export:_graph"
SMALL_RUNS = {
    "training.extract_bag": SmallRun(_bag),
    "training.import_dataset": SmallRun(_published),
    "training.import_labels": SmallRun(_annotated),
    "training.index_folder": SmallRun(_recordings),
    "training.select_frames": SmallRun(_selected),
    "training.train": SmallRun(
        _trained,
        measured=("run/checkpoint.pt", "run/export.log", "run/report.*"),
        needs=("torch", "onnx", "onnxscript", "onnxruntime"),
        remembered=(_EXPORT,),
        most_together=6,
    ),
    "training.export_onnx": SmallRun(
        _exported, "tiny_bundle", ("onnx", "onnxscript", "onnxruntime"), remembered=(_EXPORT,)
    ),
    "training.quantize": SmallRun(_quantized, "exported_bundle", most_together=6),
    "m3l_ros.commands:replay": SmallRun(_replayed, "onnx_bundle", ("onnxruntime",)),
    "m3l_core.engines.build_engine:main": SmallRun(
        _built,
        "exported_bundle",
        measured=("cache/engines/*/engine.json",),
        prepare="support.fake_gpu:install_for_good",
    ),
}
