"""What several test folders share. Helpers lie in test/support, imported as ``support``: ``test`` is Python's own."""

from __future__ import annotations

import importlib
import logging
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings

# A script's background job ignores Ctrl-C, and so would every process that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# On a busy machine any example may be slow.
settings.register_profile("untimed", settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("untimed")

# Loggers that are made after ROS's launch was imported, as its plugins of pytest do, do not propagate to caplog.
with suppress(ImportError):
    importlib.import_module("launch.logging")
logging.setLoggerClass(logging.Logger)

# At the end: test/m3l_core and test/m3l_ros must not come before the packages they test.
sys.path.append(str(Path(__file__).parent))

from support.needs import SkippedFile, needs_of_file, require_modules, why_missing  # noqa: E402


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Collector:
    """Before ROS's launch_testing: it imports every file while the session is collected, and a skip ends all of it."""
    kind = SkippedFile if any(map(why_missing, needs_of_file(module_path))) else pytest.Module
    return kind.from_parent(parent, path=module_path)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        require_modules(*mark.args)


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a tiny random network for color and depth; for reading only."""
    require_modules("torch")
    from support.bundles import write_bundle

    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def axe(pytestconfig: pytest.Config) -> Path:
    """The script that looks for what keeps readers out of a page."""
    from support.browser import axe_core

    cache = pytestconfig.cache
    assert cache is not None
    return axe_core(cache.mkdir("axe"))


@pytest.fixture(scope="session")
def exported_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with its graph for the other engines; for reading only."""
    require_modules("torch", "onnx", "onnxscript", "onnxruntime")
    from support.bundles import write_exported_bundle

    return write_exported_bundle(tmp_path_factory.mktemp("bundles") / "exported")


@pytest.fixture(scope="session")
def onnx_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a graph alone, made without torch; for reading only."""
    from support.bundles import write_onnx_bundle

    if why_missing("openvino") and (why := why_missing("onnxruntime")):
        pytest.skip(f"needs openvino, or onnxruntime: {why}")
    return write_onnx_bundle(tmp_path_factory.mktemp("bundles") / "onnx")
