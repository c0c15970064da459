"""What is not installed is skipped test by test, also beside ROS's plugins of pytest."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.python_path import python_path

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "test").rglob("test_*.py"))
HIDING = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden}:
            raise ImportError(f"{{name}} is hidden")

sys.meta_path.insert(0, Hidden())
"""
# As launch_testing does it: every file is imported by the plugin itself, while the session is collected.
IMPORTING = """
import importlib.util
import pytest

@pytest.hookimpl
def pytest_pycollect_makemodule(module_path, parent):
    spec = importlib.util.spec_from_file_location(f"seen_{module_path.stem}", module_path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
"""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_skips_while_it_is_imported(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    skips = [
        ast.unparse(statement)
        for statement in ast.parse(text).body
        if not isinstance(statement, ast.FunctionDef | ast.ClassDef)
        and re.search(r"importorskip|pytest\.skip\(", ast.unparse(statement))
    ]
    assert not skips, "name it in pytestmark instead: pytest.mark.needs(...)"


def test_without_torch_and_ros_the_rest_runs_and_the_counts_are_those_of_the_tests(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDING.format(hidden={"torch", "rclpy"}))
    (tmp_path / "importing.py").write_text(IMPORTING)
    chosen = ("m3l_core/test_labels.py", "m3l_core/trainer/test_losses.py", "m3l_ros/test_log_bridge.py")
    paths = [ROOT / "test" / name for name in chosen]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "importing", "-p", "no:cacheprovider", "-rs", *map(str, paths)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": python_path(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    skipped = sum(path.read_text().count("\ndef test_") for path in paths[1:])
    assert re.search(rf"\d+ passed, {skipped} skipped in", done.stdout), done.stdout
    assert "needs torch (torch is hidden), from pip install 'm3l_ros[train]'" in done.stdout
    assert "needs rclpy (rclpy is hidden), from ROS 2, or pip install 'm3l_ros[ros]'" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_file_is_collected_where_only_what_the_package_needs_is_installed(tmp_path: Path) -> None:
    optional = {"torch", "rclpy", "onnx", "onnxruntime", "openvino", "scipy", "h5py", "ray", "rerun", "timm"}
    (tmp_path / "sitecustomize.py").write_text(HIDING.format(hidden=optional | {"fsspec", "tensorboard"}))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-q"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": python_path(tmp_path)},
        capture_output=True,
        text=True,
        timeout=380,
    )
    assert done.returncode == 0, done.stdout[-3000:]
