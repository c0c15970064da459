"""Figures of holes that are known by hand, and the command that prints them."""

from __future__ import annotations

import math
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.python_path import python_path
from support.rooms import fill_holes, write_rooms

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "training" / "experiments" / "depth_holes.py"
SIZE = (240, 320)


def test_holes_are_counted_where_and_as_large_as_they_are() -> None:
    depth_m = np.full(SIZE, 2.0, np.float32)
    depth_m[100:110, 100:110] = 0
    depth_m[:, :8] = 0
    depth_m[50, 200] = 0
    color = np.full((*SIZE, 3), 120, np.uint8)
    color[100:110, 100:120] = 10
    found = dict(runpy.run_path(str(SCRIPT))["look_at"](depth_m, color))
    pixels = SIZE[0] * SIZE[1]
    expected = {
        "holes, share of all pixels": (100 + 8 * 240 + 1) / pixels,
        "holes, number": 3,
        "holes of below 20 pixels, share of all": 1 / pixels,
        "holes of 20 to 200 pixels, share of all": 100 / pixels,
        "holes of 200 to 2000 pixels, share of all": 8 * 240 / pixels,
        "holes of from 2000 pixels, share of all": 0,
        "holes, of the pixels within 16 columns of a side": 0.25,
        "holes, of the pixels dark, below 50": 0.5,
        "holes, of the pixels near an edge of depth": math.nan,
        "holes, of the pixels elsewhere, 1 to 4 m": 1 / (pixels - 32 * 240 - 200),
        "pixels beyond 8 m": 0,
        "roughness, 2 to 4 m": 0,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, nan_ok=True), name


def test_the_command_sets_a_sensor_beside_the_model(tmp_path: Path) -> None:
    holed, whole = write_rooms(tmp_path / "holed"), write_rooms(tmp_path / "whole")
    fill_holes(whole)
    command = [sys.executable, str(SCRIPT), str(holed / "val.json"), str(whole / "val.json"), "--strength", "0.5"]
    environment = {"PATH": "", "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "holed, as it is" in done.stdout
    assert "whole, model at 0.5" in done.stdout
    row = next(line for line in done.stdout.splitlines() if "holes, share of all pixels" in line)
    sensor, model = (float(cell.strip().rstrip("%")) for cell in row.split("│")[2:4])
    assert sensor == pytest.approx(10, abs=1)  # the rooms have a tenth of their pixels as holes
    assert 0 < model < 30
