"""What the package says about itself agrees, and everything it promises to install is there."""

from __future__ import annotations

import ast
import fnmatch
import json
import os
import runpy
import sys
import xml.etree.ElementTree as ElementTree
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

import m3l_core
from m3l_core.camera_presets import camera_names, load_camera_preset

ROOT = Path(__file__).parents[1]
MANIFEST = ElementTree.parse(ROOT / "package.xml").getroot()
FROM_PIP = {"numpy", "cv2", "yaml", "pydantic", "rich", "rosbags", "safetensors"}


@pytest.fixture(scope="module")
def setup() -> dict[str, Any]:
    """The arguments that setup.py gives to setuptools."""
    setuptools = pytest.importorskip("setuptools")
    arguments: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(setuptools, "setup", lambda **given: arguments.update(given))
        runpy.run_path("setup.py")
    return arguments


def manifest(tag: str) -> list[str]:
    return [element.text or "" for element in MANIFEST.iter(tag)]


def test_name_version_and_licence_agree(setup: dict[str, Any]) -> None:
    assert MANIFEST.get("format") == "3"
    assert manifest("name") == [setup["name"]] == ["m3l_ros"]
    assert manifest("version") == [setup["version"]] == [m3l_core.__version__]
    assert manifest("license") == [setup["license"]] == ["Apache-2.0"]
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert manifest("maintainer") == [setup["maintainer"]]
    assert manifest("build_type") == ["ament_python"]


def test_every_data_file_exists_and_every_setting_is_installed(setup: dict[str, Any]) -> None:
    installed = {name for _, names in setup["data_files"] for name in names}
    assert [name for name in installed if not (ROOT / name).is_file()] == []
    settings = [*(path for path in (ROOT / "config").rglob("*") if path.is_file()), *(ROOT / "launch").rglob("*.py")]
    assert {path.relative_to(ROOT).as_posix() for path in settings} <= installed


@pytest.mark.parametrize("name", ["segment_node", "install_packages"])
def test_ros2_run_finds_the_scripts(setup: dict[str, Any], name: str) -> None:
    assert ("lib/m3l_ros", [f"scripts/{name}"]) in setup["data_files"]
    script = ROOT / "scripts" / name
    assert os.access(script, os.X_OK)
    # Not the path of one Python: this file serves whichever environment is active.
    assert script.read_text().startswith("#!/usr/bin/env python3\n")


def test_the_hooks_of_colcon_are_installed(setup: dict[str, Any]) -> None:
    installed = {f"{folder}/{Path(name).name}" for folder, names in setup["data_files"] for name in names}
    hooks = json.loads((ROOT / "colcon.pkg").read_text())["hooks"]
    assert hooks and set(hooks) <= installed
    folder = "opt/m3l_ros/python"
    assert all(folder in (ROOT / "resource" / Path(hook).name).read_text() for hook in hooks)


def test_rosdep_is_asked_for_pip_keys_only_where_pip_may_write_into_the_system() -> None:
    for element in MANIFEST.iter("exec_depend"):
        pip_key = (element.text or "").endswith("-pip") and element.text != "python3-pip"
        assert (element.get("condition") == "$PIP_BREAK_SYSTEM_PACKAGES == 1") == pip_key, element.text


def test_every_console_script_names_a_function(setup: dict[str, Any]) -> None:
    for script in setup["entry_points"]["console_scripts"]:
        module, function = script.partition("=")[2].strip().split(":")
        tree = ast.parse((ROOT / (module.replace(".", "/") + ".py")).read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, script


def test_every_folder_with_modules_is_installed(setup: dict[str, Any]) -> None:
    folders = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for package in ("m3l_core", "m3l_ros")
        for path in (ROOT / package).rglob("*.py")
    }
    assert folders - set(setup["packages"]) == set(), "does a folder lack its __init__.py?"


def test_every_file_under_data_is_installed(setup: dict[str, Any]) -> None:
    patterns = setup["package_data"]["m3l_core"]
    core = ROOT / "m3l_core"
    files = [path.relative_to(core) for path in (core / "data").rglob("*") if path.is_file()]
    left_out = [
        file.as_posix()
        for file in files
        if not any(
            len(file.parts) == pattern.count("/") + 1 and fnmatch.fnmatch(file.as_posix(), pattern)
            for pattern in patterns
        )
    ]
    assert left_out == []


def test_the_shipped_bundle_is_there_and_small() -> None:
    bundle = resources.files("m3l_core") / "data" / "bundles" / "indoor"
    networks = [bundle, bundle / "color", bundle / "depth"]
    sizes = [{file.name: len(file.read_bytes()) for file in each.iterdir() if file.is_file()} for each in networks]
    assert all({"model.yaml", "model.onnx", "weights.safetensors", "README.md"} <= set(files) for files in sizes)
    assert sum(sum(files.values()) for files in sizes) <= 25e6


def test_the_sample_recording_is_there_and_small() -> None:
    recording = resources.files("m3l_core") / "data" / "recordings" / "rooms_a"
    files = {file.name: len(file.read_bytes()) for file in recording.iterdir()}
    assert "metadata.yaml" in files
    assert any(name.endswith(".mcap") for name in files)
    assert sum(files.values()) <= 12e6


def test_what_the_nodes_import_is_a_dependency() -> None:
    sources = [*(ROOT / "m3l_ros").rglob("*.py"), *(ROOT / "launch").glob("*.py")]
    nodes = [node for path in sources for node in ast.walk(ast.parse(path.read_text()))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    tops = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - FROM_PIP
    assert tops - {"m3l_core", "m3l_ros"} - set(manifest("exec_depend")) == set()


def test_the_parameter_file_applies_to_the_node_in_any_namespace() -> None:
    parameters = yaml.safe_load((ROOT / "config" / "segment.yaml").read_text())
    assert list(parameters) == ["/**"]
    assert list(parameters["/**"]) == ["ros__parameters"]


def test_camera_presets_set_only_parameters_that_exist() -> None:
    known = _flat(yaml.safe_load((ROOT / "config" / "segment.yaml").read_text())["/**"]["ros__parameters"])
    cameras = ROOT / "config" / "cameras"
    for camera in camera_names(cameras):
        assert set(load_camera_preset(cameras, camera).parameters) <= known, camera


def _flat(parameters: dict[str, Any], prefix: str = "") -> set[str]:
    names: set[str] = set()
    for name, value in parameters.items():
        names |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name}
    return names
