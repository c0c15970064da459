"""The rules of docs/architecture.md about who may import whom, held by reading the imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for folder in ("m3l_core", "m3l_ros", "training", "benchmarks", "launch")
    for path in (ROOT / folder).rglob("*.py")
)

ROS = {
    *("rclpy", "rosidl_runtime_py", "rosbag2_py", "ament_index_python", "launch", "launch_ros"),
    *("message_filters", "tf2_ros", "diagnostic_updater", "image_transport_py", "rcl_interfaces"),
}
TORCH = {"torch", "torchvision", "timm"}
TORCH_ROOMS = (
    "m3l_core/model/",
    "m3l_core/trainer/",
    "m3l_core/engines/torch",
    "m3l_core/engines/onnx_export.py",
)
# Each engine's file is imported only when that engine is asked for.
ENGINE_PACKAGES = {"onnx", "onnxruntime", "openvino", "tensorrt", "cuda"}
# There only where ROS itself is installed, not among the wheels.
ROS_EXTRAS = {"cv_bridge", "vision_msgs"}


@dataclass(frozen=True)
class Import:
    module: str
    line: int
    at_import_time: bool
    """Neither inside a function nor inside a ``try``."""

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def imports(path: Path) -> list[Import]:
    """What a file imports while it runs; imports for type checkers alone do not count."""
    return list(_imports(ast.parse(path.read_text(encoding="utf-8")), path, True))


def _imports(node: ast.AST, path: Path, at_import_time: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, node.lineno, at_import_time)
    elif isinstance(node, ast.ImportFrom):
        yield Import(_origin(node, path), node.lineno, at_import_time)
    elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for child in node.orelse:
            yield from _imports(child, path, at_import_time)
    else:
        deferred = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.Try)
        for child in ast.iter_child_nodes(node):
            yield from _imports(child, path, at_import_time and not deferred)


def _origin(node: ast.ImportFrom, path: Path) -> str:
    if not node.level:
        return node.module or ""
    package = path.relative_to(ROOT).parent.parts
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def within(folder: str) -> list[Path]:
    return [path for path in SOURCES if place(path).startswith(folder + "/")]


def each(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=place)


@each(within("m3l_core"))
def test_the_core_knows_no_ros_no_node_and_no_training_script(path: Path) -> None:
    wrong = [
        found
        for found in imports(path)
        if found.top in ROS | {"m3l_ros", "training"} or found.top.endswith(("_msgs", "_interfaces"))
    ]
    assert not wrong, f"{place(path)} belongs to m3l_core and must not import these: {wrong}"


@each(within("m3l_ros"))
def test_the_nodes_know_no_training_script(path: Path) -> None:
    assert "training" not in {found.top for found in imports(path)}


@each([path for path in within("m3l_core") + within("m3l_ros") if not place(path).startswith(TORCH_ROOMS)])
def test_torch_stays_in_its_rooms(path: Path) -> None:
    wrong = [found for found in imports(path) if found.top in TORCH]
    assert not wrong, f"a robot without torch runs {place(path)}: {wrong}"


@each(within("m3l_core") + within("m3l_ros"))
def test_optional_packages_are_not_needed_to_import_anything(path: Path) -> None:
    optional = ROS_EXTRAS if path.parent.name == "engines" and path.stem != "__init__" else ROS_EXTRAS | ENGINE_PACKAGES
    wrong = [found for found in imports(path) if found.at_import_time and found.top in optional]
    assert not wrong, f"import these where they are used, with a word about the extra: {wrong}"


@each(SOURCES)
def test_no_file_outgrows_one_concept(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


def test_launch_is_no_package_that_would_shadow_that_of_ros() -> None:
    assert not (ROOT / "launch" / "__init__.py").exists()


def test_the_reader_of_imports_sees_what_it_should(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text(
        "from typing import TYPE_CHECKING\n"
        "import a.b\n"
        "if TYPE_CHECKING:\n    import types_only\n"
        "try:\n    import guarded\nexcept ImportError:\n    pass\n"
        "def function():\n    from late import thing\n"
        "class Class:\n    import early\n"
    )
    found = {entry.module: entry.at_import_time for entry in imports(source)}
    assert found == {"typing": True, "a.b": True, "guarded": False, "late": False, "early": True}
    relative = ast.parse("from ..frames import Frame\nfrom . import health").body
    path = ROOT / "m3l_core" / "streaming" / "module.py"
    assert [_origin(node, path) for node in relative if isinstance(node, ast.ImportFrom)] == [
        "m3l_core.frames",
        "m3l_core.streaming",
    ]
