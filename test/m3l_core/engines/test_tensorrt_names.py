"""Every name of TensorRT and CUDA that we use exists in all the versions that we run on, read from our source."""

from __future__ import annotations

import ast
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tensorrt_rtx import tensorrt_rtx

from m3l_core.engines import cuda_driver
from m3l_core.engines.cuda_bindings import CudaError, call

ROOT = Path(__file__).parents[3]
SOURCES = [ROOT / "m3l_core" / "engines" / f"{name}.py" for name in ("tensorrt_builder", "tensorrt_engine")]
CUDA_SOURCES = [ROOT / "m3l_core" / "engines" / f"{name}.py" for name in ("cuda_bindings", "cuda_driver")]
MODULE = "trt"
CLASSES = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "error": "ParserError",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "timing_cache": "ITimingCache",
    "measured": "ITimingCache",
    "serialized": "IHostMemory",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "execution": "IExecutionContext",
    "inspector": "EngineInspector",
}
"""What we call an object of TensorRT's, with or without an underscore -> its class."""
NOT_TENSORRTS = {"__version__"}

Names = dict[str, list[str]]


@pytest.fixture(scope="module")
def versions(shared: Path) -> dict[str, Names]:
    folder = shared / "tensorrt_api"
    found = {path.stem: json.loads(path.read_text())["names"] for path in sorted(folder.glob("*.json"))}
    if not found:
        pytest.skip("needs the lists of TensorRT's names in ../shared/tensorrt_api")
    return found


def identifier(node: ast.AST) -> str:
    """``builder`` of ``builder`` and of ``self._builder``."""
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name.lstrip("_")


def chain(node: ast.Attribute) -> list[str] | None:
    """``[A, B]`` of ``trt.A.B`` and of ``self._trt.A.B``."""
    attributes = [node.attr]
    value = node.value
    while identifier(value) != MODULE:
        if not isinstance(value, ast.Attribute):
            return None
        attributes.insert(0, value.attr)
        value = value.value
    return attributes


def unknown_names(source: str, names: Names) -> Iterator[str]:
    """What a source uses, and what no class of TensorRT has; also what it keeps under a name not in ``CLASSES``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            if (attributes := chain(node)) and attributes[0] not in NOT_TENSORRTS:
                class_name, *members = attributes
                if class_name not in names or not set(members[:1]) <= {"__init__", *names[class_name]}:
                    yield ".".join(attributes)
            elif (known := CLASSES.get(identifier(node.value))) and node.attr not in names[known]:
                yield f"{known}.{node.attr}"
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            function = node.value.func
            if isinstance(function, ast.Attribute) and (chain(function) or identifier(function.value) in CLASSES):
                yield from (
                    f"{identifier(target)} (not in CLASSES)"
                    for target in node.targets
                    if identifier(target) not in CLASSES
                )
        elif isinstance(node, ast.ClassDef):
            methods = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
            for base in node.bases:
                if isinstance(base, ast.Attribute) and (attributes := chain(base)):
                    wanted = {name for name in names.get(attributes[0], []) if name.islower()}
                    yield from (f"{node.name} lacks {name}" for name in wanted - methods)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_name_exists_in_every_version(path: Path, versions: dict[str, Names]) -> None:
    assert {version.split(".")[0] for version in versions} == {"10", "11"}
    assert "10.3.0" in versions
    missing = {version: sorted(unknown_names(path.read_text(), names)) for version, names in versions.items()}
    assert missing == {version: [] for version in versions}


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("trt.BuilderFlag.FP16", "BuilderFlag.FP16"),
        ("self._trt.IInt8Calibrator", "IInt8Calibrator"),
        ("engine.device_memory_size", "ICudaEngine.device_memory_size"),
        ("self._engine.max_batch_size", "ICudaEngine.max_batch_size"),
        ("config.max_workspace_size = 1", "IBuilderConfig.max_workspace_size"),
        ("self._execution.execute_async_v2(1)", "IExecutionContext.execute_async_v2"),
        ("thing = builder.create_network(1)", "thing (not in CLASSES)"),
        ("thing = trt.Builder(logger)", "thing (not in CLASSES)"),
        ("class Monitor(trt.IProgressMonitor):\n    def phase_start(self): ...", "Monitor lacks step_complete"),
        ("network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))", None),
        ("trt.__version__", None),
    ],
)
def test_a_name_that_11_does_not_have_is_found(source: str, complaint: str | None, versions: dict[str, Names]) -> None:
    found = list(unknown_names(source, versions["11.4.0.106"]))
    assert complaint in found if complaint else not found


def calls(source: str) -> Iterator[tuple[str, str, int]]:
    """(class, method, number of arguments) of every call on an object of TensorRT's."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            known = CLASSES.get(identifier(node.func.value))
            if known and not any(isinstance(argument, ast.Starred) for argument in node.args):
                yield known, node.func.attr, len(node.args) + len(node.keywords)


def arities(documentation: str, method: str) -> list[tuple[int, int]]:
    """(fewest, most) arguments of each overload in a docstring by pybind11."""
    found = []
    for listed in re.findall(rf"^(?:\d+\. )?{method}\(self: [\w.]+,? ?(.*)\) -> ", documentation, re.MULTILINE):
        flat = listed
        while (simpler := re.sub(r"\[[^\[\]]*\]", "", flat)) != flat:
            flat = simpler
        parameters = [parameter for parameter in flat.split(", ") if parameter]
        found.append((sum("=" not in parameter for parameter in parameters), len(parameters)))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_call_has_as_many_arguments_as_the_method_takes(path: Path) -> None:
    trt: Any = tensorrt_rtx()
    checked = 0
    for class_name, method, number in calls(path.read_text()):
        function = getattr(getattr(trt, class_name), method)
        takes = arities(function.__doc__, method)
        assert any(fewest <= number <= most for fewest, most in takes), (class_name, method, number, takes)
        checked += 1
    assert checked >= 7


def test_the_arguments_in_a_docstring_are_counted() -> None:
    simple = "set_tensor_address(self: tensorrt.tensorrt.IExecutionContext, name: str, memory: int) -> bool"
    assert arities(simple, "set_tensor_address") == [(2, 2)]
    nested = "f(self: a.B, values: dict[str, list[int]], more: Sequence[int, int] = None) -> None"
    assert arities(nested, "f") == [(1, 2)]
    overloaded = (
        "f(*args, **kwargs)\nOverloaded function.\n\n1. f(self: a.B) -> int\n\n2. f(self: a.B, x: int) -> int\n"
    )
    assert arities(overloaded, "f") == [(0, 0), (1, 1)]


def driver_calls(source: str) -> Iterator[tuple[str, int]]:
    """(function, number of arguments) of what is handed to ``call`` and ``release``, at once or later."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            for index, argument in enumerate(node.args):
                if isinstance(argument, ast.Attribute) and re.fullmatch("cu[A-Z]\\w+", argument.attr):
                    yield argument.attr, len(node.args) - index - 1


@pytest.mark.needs("cuda.bindings.driver")
@pytest.mark.parametrize("path", CUDA_SOURCES, ids=lambda path: path.stem)
def test_cuda_bindings_have_every_function_and_it_takes_our_arguments(path: Path) -> None:
    cuda: Any = importlib.import_module("cuda.bindings.driver")
    found = dict(driver_calls(path.read_text()))
    assert len(found) >= 5
    for name, number in found.items():
        signature = re.match(rf"{name}\((.*)\)", getattr(cuda, name).__doc__.strip())
        assert signature, name
        assert number == len([each for each in signature[1].split(",") if each]), name


@pytest.mark.needs("cuda.bindings.driver")
def test_success_is_zero_and_captures_have_a_mode_for_one_thread() -> None:
    cuda: Any = importlib.import_module("cuda.bindings.driver")
    assert int(cuda.CUresult.CUDA_SUCCESS) == 0
    assert int(cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL) == 1
    assert int(cuda.CUstream_flags.CU_STREAM_NON_BLOCKING) == cuda_driver._NON_BLOCKING


@pytest.mark.needs("cuda.bindings.driver")
def test_cuda_bindings_take_plain_numbers_for_addresses_and_handles() -> None:
    """What they cannot convert is a TypeError, which comes before the driver is looked for."""
    cuda: Any = importlib.import_module("cuda.bindings.driver")
    array = np.zeros(4, np.uint8)
    nothing = 0
    for function, arguments in {
        cuda.cuMemcpyHtoDAsync: (nothing, array.ctypes.data, array.nbytes, nothing),
        cuda.cuMemcpyDtoHAsync: (array.ctypes.data, nothing, array.nbytes, nothing),
        cuda.cuMemFree: (nothing + 1,),
        cuda.cuMemFreeHost: (array.ctypes.data,),
    }.items():
        with pytest.raises(CudaError, match=function.__name__):
            call(function, *arguments)
