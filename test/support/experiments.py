"""The experiments on NYU Depth v2, run on a miniature of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from support.networks import TINY_EFFICIENTNET
from support.python_path import python_path
from support.rooms import write_rooms

EXPERIMENTS = Path(__file__).parents[2] / "training" / "experiments"
PHASE = {"iterations": 4, "batch": 2, "crop": [64, 96], "scale": [0.95, 1.6]}
SETTINGS = (
    f"encoder={TINY_EFFICIENTNET.model_dump_json()}",
    "start_weights=random",
    "head_width=16",
    "mixed_precision=false",
    "input_height=64",
    "input_width=96",
    f"phases={json.dumps([PHASE])}",
    "optimizer.warmup_iterations=0",
)
"""That make a training one of seconds."""


def run_experiment(script: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Call a script on ``folder/data``, one training at a time."""
    command = [sys.executable, str(script), "--data", "data", "--jobs", "1", *options]
    environment = {"PATH": "", "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def write_miniature(folder: Path) -> None:
    """Labels 0, 1, 2 are wall, floor and cabinet among the 40 classes."""
    write_rooms(folder, train=10, validation=2)
    shutil.copy(folder / "val.json", folder / "test_open.json")
