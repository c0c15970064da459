"""Each room can be used alone: in a Python of its own it asks for no package beyond those that it may need."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.python_path import python_path

ROOT = Path(__file__).parents[1]

# Everything that something in this repository imports from elsewhere, but Python's own.
PACKAGES = {
    *("numpy", "cv2", "yaml", "pydantic", "safetensors", "rich", "rosbags"),
    *("torch", "torchvision", "timm", "tensorboard", "transformers", "huggingface_hub"),
    *("onnx", "onnxscript", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "pycuda", "cuda"),
    *("scipy", "h5py", "rerun", "ray", "fsspec"),
    *("rclpy", "rosidl_runtime_py", "rosbag2_py", "ament_index_python", "launch", "launch_ros", "message_filters"),
    *("builtin_interfaces", "std_msgs", "sensor_msgs", "diagnostic_msgs", "lifecycle_msgs", "rosgraph_msgs"),
    *("rcl_interfaces", "vision_msgs", "cv_bridge", "bondpy"),
}

# A room, or a module of one that needs less -> what it may need, the rooms below it included.
NEEDS = {
    "errors": "",
    "installation": "",
    "files": "",
    "shipped": "",
    "command_line": "",
    "terminal": "rich",
    "remote_files": "",
    "frames": "numpy",
    "yaml_files": "yaml",
    "modalities": "pydantic",
    "network_config": "pydantic",
    "labels": "numpy pydantic",
    "validation": "pydantic",
    "metrics": "numpy pydantic",
    "camera_presets": "yaml pydantic",
    "pictures": "numpy cv2",
    "privacy": "",
    "weights_file": "",
    "depth_geometry": "cv2 numpy",
    "json_files": "",
    "streaming": "numpy cv2",
    "parallel": "numpy cv2",
    "fleet": "numpy cv2",
    "preprocessing": "numpy cv2 pydantic",
    "false_color": "numpy cv2 pydantic",
    "overlay": "numpy cv2 pydantic",
    "reporting": "numpy yaml pydantic safetensors",
    "bundle_description": "numpy yaml pydantic",
    "bundle": "numpy yaml pydantic safetensors",
    "bags": "numpy cv2 rosbags",
    "registration": "numpy cv2 pydantic rosbags",
    "label_space": "numpy yaml pydantic safetensors",
    "datasets": "numpy cv2 yaml pydantic safetensors rosbags",
    "published": "numpy cv2 yaml pydantic",
    "inspection": "numpy cv2 yaml pydantic rich",
    "extraction": "numpy cv2 yaml pydantic rosbags",
    "engines": "numpy cv2 yaml pydantic safetensors rosbags",
    "evaluation": "numpy cv2 yaml pydantic safetensors rich",
    "segmenter": "numpy cv2 yaml pydantic safetensors",
    "quantization": "numpy cv2 yaml pydantic safetensors rich",
    "annotation": "numpy cv2 yaml pydantic safetensors rosbags",
    "replay": "numpy cv2 yaml pydantic safetensors rich rosbags",
    "model": "numpy cv2 yaml pydantic safetensors torch",
    "trainer": "numpy cv2 yaml pydantic safetensors rich torch",
    "trainer.method": "numpy cv2 pydantic",
    "trainer.recipe": "numpy cv2 yaml pydantic",
}

IMPORT_ALL = """
import importlib, pkgutil, sys
name, *blocked = sys.argv[1:]
sys.modules.update(dict.fromkeys(blocked))
found = importlib.import_module(name)
for module in pkgutil.walk_packages(getattr(found, "__path__", ()), name + "."):
    importlib.import_module(module.name)
print(*sys.modules)
"""


def imported_with(packages: set[str], name: str) -> set[str]:
    """Import a room and all that is in it where no other package can be; what is loaded then."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, name, *sorted(PACKAGES - packages)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": python_path()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{name} needs more than {sorted(packages)}:\n{done.stderr}"
    return set(done.stdout.split())


@pytest.mark.parametrize("name", NEEDS)
def test_a_room_needs_only_its_packages(name: str) -> None:
    assert f"m3l_core.{name}" in imported_with(set(NEEDS[name].split()), f"m3l_core.{name}")


def test_every_room_of_the_core_says_what_it_needs() -> None:
    core = ROOT / "m3l_core"
    rooms = {path.parent.name for path in core.glob("*/__init__.py")} | {path.stem for path in core.glob("*.py")}
    assert rooms - {"__init__"} == {name for name in NEEDS if "." not in name}


def test_what_is_blocked_is_missed() -> None:
    with pytest.raises(AssertionError, match=r"m3l_core\.model needs more than"):
        imported_with(set(NEEDS["model"].split()) - {"torch"}, "m3l_core.model")
