"""The rules of docs/architecture.md about who may import whom, held by reading the imports."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for folder in ("m3l_core", "m3l_ros", "training", "benchmarks", "launch", "docs")
    for path in (ROOT / folder).rglob("*.py")
)

# Lowest first. A room, which is a folder or a loose file of m3l_core, or another folder of the repository, imports from
# its own floor and from those below.
FLOORS = (
    (
        *("m3l_core", "frames", "errors", "files", "labels", "modalities", "yaml_files", "json_files", "weights_file"),
        *("pictures", "privacy", "network_config", "shipped", "command_line", "camera_presets", "installation"),
        *("depth_geometry", "validation", "terminal"),
    ),
    ("preprocessing", "metrics", "streaming", "reporting", "parallel", "remote_files", "false_color", "overlay"),
    ("bundle", "bundle_description", "bags", "fleet"),
    ("datasets", "registration", "label_space"),
    ("model", "published", "inspection"),
    ("engines", "trainer", "extraction"),
    ("evaluation", "segmenter"),
    ("quantization", "replay", "annotation"),
    ("m3l_ros", "training", "launch"),
    ("benchmarks", "docs"),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

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
ROS_EXTRAS = {"bondpy", "cv_bridge", "vision_msgs"}


@dataclass(frozen=True)
class Import:
    module: str
    line: int
    at_import_time: bool
    """Neither inside a function nor inside a ``try``."""

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def imports(path: Path, types_too: bool = False) -> list[Import]:
    """What a file imports while it runs; imports for type checkers alone count only if asked for."""
    return list(_imports(ast.parse(path.read_text(encoding="utf-8")), path, True, types_too))


def _imports(node: ast.AST, path: Path, at_import_time: bool, types_too: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, node.lineno, at_import_time)
    elif isinstance(node, ast.ImportFrom):
        origin = _origin(node, path)
        # "from m3l_core import overlay" may mean a module.
        modules = [f"{origin}.{alias.name}" for alias in node.names] if origin == "m3l_core" else [origin]
        for module in modules:
            yield Import(module, node.lineno, at_import_time)
    elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not types_too:
        for child in node.orelse:
            yield from _imports(child, path, at_import_time, types_too)
    else:
        deferred = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.Try)
        for child in ast.iter_child_nodes(node):
            yield from _imports(child, path, at_import_time and not deferred, types_too)


def _origin(node: ast.ImportFrom, path: Path) -> str:
    if not node.level:
        return node.module or ""
    package = path.relative_to(ROOT).parent.parts
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room(path: Path) -> str:
    """Name in the table of floors."""
    folder, *inside = path.relative_to(ROOT).with_suffix("").parts
    return inside[0] if folder == "m3l_core" and inside[0] != "__init__" else folder


def room_of(module: str) -> str | None:
    """Name in the table of floors; None for a package from elsewhere."""
    folder, _, inside = module.partition(".")
    if folder != "m3l_core":
        # "launch" is ROS's: the folder here is no package.
        return folder if folder in {"m3l_ros", "training", "benchmarks"} else None
    name = inside.partition(".")[0]
    return name if (ROOT / "m3l_core" / name).is_dir() or (ROOT / "m3l_core" / f"{name}.py").is_file() else folder


def within(folder: str) -> list[Path]:
    return [path for path in SOURCES if place(path).startswith(folder + "/")]


def each(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=place)


def test_every_room_has_its_floor() -> None:
    assert {room(path) for path in SOURCES} == set(FLOOR), "place a new room in FLOORS, and take out one that is gone"
    assert len(FLOOR) == sum(map(len, FLOORS)), "a room stands on two floors"


def test_the_page_shows_the_floors_as_they_are() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    picture = re.sub(r"\n +", " ", page.split("```")[1].strip()).splitlines()
    assert [set(line.split()) for line in reversed(picture)] == [set(rooms) - {"m3l_core", "docs"} for rooms in FLOORS]
    first_cells = {
        name for line in page.splitlines() if line.startswith("| `") for name in line.split("|")[1].split("`")
    }
    assert set(FLOOR) - {"m3l_core", "docs", "launch"} <= first_cells, "each room has its line"


@each(SOURCES)
def test_no_room_imports_from_a_floor_above(path: Path) -> None:
    above = [
        f"{place(path)}:{found.line}: {room(path)} (floor {FLOOR[room(path)]}) imports {other} (floor {FLOOR[other]})"
        for found in imports(path, types_too=True)
        if (other := room_of(found.module)) and FLOOR[other] > FLOOR[room(path)]
    ]
    assert not above, "\n".join(above)


def test_rooms_do_not_go_round_in_circles() -> None:
    arrows: dict[str, set[str]] = defaultdict(set)
    for path in SOURCES:
        arrows[room(path)] |= {other for found in imports(path, types_too=True) if (other := room_of(found.module))}
    for name, others in arrows.items():
        others.discard(name)
    assert {"bags", "errors"} <= arrows["replay"], "the reader of imports sees too little"
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(f"rooms import each other: {' <- '.join(error.args[1])}")


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


@each(SOURCES)
def test_no_file_repeats_its_folders_name(path: Path) -> None:
    assert not path.stem.startswith(path.parent.name + "_"), f"{place(path)}: the folder has said it already"


@each([path for path in SOURCES if path.stem == "__init__"])
def test_each_package_says_in_one_line_what_it_holds(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")), clean=False)
    assert docstring and "\n" not in docstring, f"{place(path)} needs a docstring of one line"


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
