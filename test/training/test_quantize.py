"""The command that quantises a bundle, as users run it, on a machine without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.python_path import python_path
from support.rooms import SIZE, write_images, write_rooms

from m3l_core.bundle import ModelBundle

pytestmark = pytest.mark.needs("onnx", "onnxruntime")
ROOT = Path(__file__).parents[2]
Quantize = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def quantize(tmp_path: Path) -> Quantize:
    """Run training/quantize.py from another folder than the repository's."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "torch.py").write_text("raise ImportError('there is no torch here')\n")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "training" / "quantize.py"), *map(str, arguments)]
        environment = {"PATH": "", "PYTHONPATH": python_path(hidden), "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def bundle(exported_bundle: Path, tmp_path: Path) -> Path:
    return shutil.copytree(exported_bundle, tmp_path / "bundle")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rooms(tmp_path / "rooms", validation=3)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_from_a_bundle_to_a_table_and_a_graph(quantize: Quantize, bundle: Path, data: Path, engine: str) -> None:
    pytest.importorskip(engine, reason=f"needs {engine}: pip install 'm3l_ros[{engine}]'")
    options = ("--calibration", 4, "--limit", 2, "--engine", engine)
    done = quantize(bundle, "--frames", data / "train.json", "--validation", data / "val.json", *options)
    assert done.returncode == 0, done.stderr
    assert f"tiny, {engine}, 2 of 3 frames of val.json, calibrated on 4 of train.json" in done.stdout
    for word in ("sensors present", "mIoU float", "mIoU int8", "change in points", "color+depth", "accepted"):
        assert word in done.stdout
    assert "written: " in done.stdout
    assert "Traceback" not in done.stderr
    assert "pre-processing" not in done.stderr
    assert ModelBundle.load(bundle).graph("model.int8.onnx").is_file()


def test_labels_with_other_classes_are_measured_by_a_class_map(quantize: Quantize, bundle: Path, data: Path) -> None:
    own = ModelBundle.load(bundle).description.labels.names
    (data / "map.json").write_text(json.dumps({"side": own[0], "ground": own[1], "seat": None, "other": own[1]}))
    for path in (data / "label").iterdir():
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), np.where(label == 0, 40, label))
    lists = ("--frames", data / "train.json", "--validation", data / "val.json", "--engine", "onnxruntime")
    done = quantize(bundle, *lists)
    assert "has the class id 40, but there are 4 classes" in done.stderr.replace("\n", " ")
    for path in (data / "label").iterdir():
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), np.where(label == 40, 3, label))
    done = quantize(bundle, *lists, "--class-map", data / "map.json")
    assert "sensors present" in done.stdout, done.stderr


def test_a_graph_that_loses_too_much_is_shown_and_refused(quantize: Quantize, bundle: Path, data: Path) -> None:
    # A grey wall of the mean color, and no depth at all: next to nothing reaches the network.
    grey = np.full((*SIZE, 3), (124, 116, 104), np.uint8)
    entry = write_images(data, "grey", grey, np.zeros(SIZE, np.uint16), np.zeros(SIZE, np.uint8))
    (data / "grey.json").write_text(json.dumps([entry | {"recording": "grey"}]))
    before = files(bundle)
    options = ("--validation", data / "val.json", "--engine", "onnxruntime")
    done = quantize(bundle, "--frames", data / "grey.json", *options)
    assert done.returncode == 1
    assert "refused: at most 1 point may be lost in any subset" in done.stdout
    assert "written" not in done.stdout
    assert "quantize: int8 loses" in done.stderr
    assert "Traceback" not in done.stderr
    assert files(bundle) == before


def test_mistakes_are_told_in_a_line_and_leave_nothing(
    quantize: Quantize, bundle: Path, data: Path, tiny_bundle: Path
) -> None:
    before = files(bundle)
    train, validation = data / "train.json", data / "val.json"
    for arguments, reason in {
        (bundle, train, "nowhere.json"): "nowhere.json cannot be read",
        (bundle, "nowhere.json", validation): "nowhere.json cannot be read",
        (tiny_bundle, train, validation): "has no model.onnx: write it with training/export_onnx.py",
    }.items():
        folder, frames, labelled = arguments
        done = quantize(folder, "--frames", frames, "--validation", labelled, "--engine", "onnxruntime")
        assert done.returncode == 1
        assert done.stderr.startswith("quantize: ")
        assert reason in done.stderr
        assert "Traceback" not in done.stderr
    assert files(bundle) == before


def test_options_that_cannot_be_are_refused(quantize: Quantize) -> None:
    for options, reason in {
        (): "the following arguments are required: --frames, --validation",
        ("--frames", "f", "--validation", "v", "--limit", "0"): "expected a whole number above 0, got 0",
        ("--frames", "f", "--validation", "v", "--engine", "torch"): "invalid choice: 'torch'",
    }.items():
        done = quantize("bundle", *options)
        assert done.returncode == 2
        assert reason in done.stderr


def test_help_shows_the_command(quantize: Quantize) -> None:
    done = quantize("--help")
    assert done.returncode == 0
    assert "python training/quantize.py runs/mine/bundle --frames my_bag --validation" in done.stdout
