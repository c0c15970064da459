"""Rooms that a tiny network learns in seconds, on disk as a data set, and the recipe for them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from m3l_core.datasets.folder import Sample, read_index
from m3l_core.trainer.data import TrainingData
from m3l_core.trainer.recipe import Recipe

SIZE = (64, 96)
FLOOR, WALL, CHAIR = range(3)
RECIPE: dict[str, Any] = {
    "name": "tiny",
    "description": "A tiny network on drawn rooms",
    "encoder": {"widths": [8, 16, 40, 64], "depths": [1, 1, 1, 1]},
    "head_width": 16,
    "modalities": [{"kind": "color"}, {"kind": "depth"}],
    "labels": {
        "classes": [
            {"name": "floor", "color": [150, 120, 80]},
            {"name": "wall", "color": [120, 160, 190]},
            {"name": "chair", "color": [255, 220, 60]},
        ]
    },
    "input_height": SIZE[0],
    "input_width": SIZE[1],
    "data": {"labelled": "train.json", "validation": "val.json"},
    "phases": [
        {"iterations": 5, "batch": 4, "crop": [32, 48], "scale": [0.5, 1.0]},
        {"iterations": 5, "batch": 2, "crop": [48, 64], "scale": [0.9, 1.1]},
    ],
    "optimizer": {"learning_rate": 3.0e-3, "warmup_iterations": 2},
    "ema_decay": 0.9,
    "mixed_precision": False,
    "evaluate_every": 4,
    "checkpoint_every": 3,
}
METHODS: dict[str, dict[str, Any]] = {
    "supervised": {},
    "supervised, modality dropout": {"modality_dropout": {}},
    "mean teacher": {"pseudo_labels": "mean_teacher"},
    "mean teacher, modality dropout": {"pseudo_labels": "mean_teacher", "modality_dropout": {}},
    "cross": {"pseudo_labels": "cross"},
    "M3L": {
        "pseudo_labels": "mean_teacher",
        "clean_labelled_copy": True,
        "modality_dropout": {"draw": "one"},
        "ensemble": "equal",
        "teacher_mode": "train",
        "valid_mask": False,
    },
    "everything": {
        "pseudo_labels": "mean_teacher",
        "pseudo_ramp_iterations": 2,
        "confidence": "weight",
        "clean_labelled_copy": True,
        "modality_dropout": {"draw": "independent", "probability": {"color": 0.3, "depth": 0.6}, "partial": 0.5},
        "strong_view": {},
        "cutmix": 0.5,
        "noise": 0.5,
        "distillation_weight": 0.5,
        "temperature": 2.0,
    },
}
"""Ways to teach: published ones, and all options at once."""


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate(RECIPE | changes)


def write_recipe(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump(RECIPE | changes))
    return path


def draw_room(random: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint16], NDArray[np.uint8]]:
    """Color (H, W, 3) RGB, depth (H, W) in millimetres with holes, labels (H, W) with a few at 255."""
    horizon = int(random.integers(20, 40))
    label = np.full(SIZE, WALL, np.uint8)
    label[horizon:] = FLOOR
    top, left = int(random.integers(8, 40)), int(random.integers(0, 64))
    label[top : top + 24, left : left + 32] = CHAIR
    color = np.array([(120, 80, 40), (150, 170, 190), (230, 200, 30)], np.float64)[label]
    depth = np.array([2000, 4000, 1000], np.float64)[label]
    color += random.normal(0, 8, color.shape)
    depth += random.normal(0, 20, SIZE)
    depth[random.random(SIZE) < 0.1] = 0
    label[random.random(SIZE) < 0.02] = 255
    return color.clip(0, 255).astype(np.uint8), depth.clip(0, 65535).astype(np.uint16), label


def write_images(
    folder: Path, name: str, color: NDArray[np.uint8], depth: NDArray[np.uint16], label: NDArray[np.uint8]
) -> dict[str, str]:
    """Write one instant; returns its entry in the index."""
    entry = {"color": f"color/{name}.jpg", "depth": f"depth/{name}.png", "label": f"label/{name}.png"}
    for kind, image in (("color", cv2.cvtColor(color, cv2.COLOR_RGB2BGR)), ("depth", depth), ("label", label)):
        path = folder / entry[kind]
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), image)
    return entry


def write_rooms(folder: Path, train: int = 6, validation: int = 2) -> Path:
    """A data set with ``train.json`` and ``val.json``."""
    random = np.random.default_rng(0)
    for split, count in (("train", train), ("val", validation)):
        entries = [
            write_images(folder, f"{split}_{number}", *draw_room(random)) | {"recording": f"{split}_{number // 2}"}
            for number in range(count)
        ]
        (folder / f"{split}.json").write_text(json.dumps(entries))
    return folder


def fill_holes(folder: Path) -> None:
    """Depth as no sensor gives it, of rooms that ``write_rooms`` wrote."""
    for path in (folder / "depth").iterdir():
        cv2.imwrite(str(path), cv2.medianBlur(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), 5))


SEVERAL_SETS: list[dict[str, Any]] = [
    {"root": "rooms", "labelled": "train.json", "validation": "val.json", "share": 3},
    {
        "name": "flats",
        "root": "elsewhere/flats",
        "labelled": "train.json",
        "validation": "val.json",
        "label_fraction": 0.5,
        "class_map": {"seat": "chair", "ground": "floor", "side": None},
    },
    {"root": "lab", "unlabelled": "train.json"},
]
"""``data`` of a recipe for what ``write_several_sets`` writes."""


def write_several_sets(folder: Path) -> Path:
    """Rooms as above, others with classes of their own, which know no wall, and frames without labels."""
    write_rooms(folder / "rooms")
    write_rooms(folder / "elsewhere" / "flats", train=8)
    for path in (folder / "elsewhere" / "flats" / "label").iterdir():
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        relabelled = label.copy()
        for old, new in {CHAIR: 0, FLOOR: 1, WALL: 2}.items():
            relabelled[label == old] = new
        cv2.imwrite(str(path), relabelled)
    write_rooms(folder / "lab", train=2)
    return folder


def read_rooms(folder: Path) -> tuple[list[Sample], list[Sample]]:
    return read_index(folder / "train.json"), read_index(folder / "val.json")


def training_data(rooms: tuple[list[Sample], list[Sample]]) -> TrainingData:
    """The last recording of the training frames has lost its labels."""
    train, validation = rooms
    last = train[-1].recording
    labelled = [sample for sample in train if sample.recording != last]
    unlabelled = [replace(sample, label=None) for sample in train if sample.recording == last]
    return TrainingData(labelled, unlabelled, validation)
