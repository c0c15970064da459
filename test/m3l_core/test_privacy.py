"""Nothing that is imported here tells anybody: no look-up, no connection, no file in the home folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.needs import require_modules
from support.python_path import python_path

ROOT = Path(__file__).parents[2]
# In the process itself: what goes beyond this machine by Python's sockets.
WATCH = """
import sys
def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "socket.sendto"):
        print("TOLD", event, arguments, file=sys.stderr, flush=True)
sys.addaudithook(watch)
"""
LOAD = """
from m3l_core.bundle import ModelBundle
from m3l_core.engines.engine import load_engine, seconds_per_frame
from m3l_core.shipped import shipped_bundle
bundle = ModelBundle.load(shipped_bundle())
seconds_per_frame(load_engine(bundle, "{engine}"), bundle.description, 1)
"""
RERUN = """
from m3l_core.errors import require
rerun = require("rerun", "")
stream = rerun.RecordingStream("m3l_replay")
stream.save("run.rrd")
stream.log("a", rerun.TextLog("b"))
"""
IMPORTS = {
    "openvino": LOAD.format(engine="openvino"),
    "onnxruntime": LOAD.format(engine="onnxruntime"),
    "torch": "from m3l_core.errors import require; require('torch', '').ones(9).sum()",
    "ray": "import os; from m3l_core.errors import require; require('ray', ''); "
    "assert os.environ['RAY_USAGE_STATS_ENABLED'] == '0'",
    "rerun": RERUN,
}


@pytest.mark.parametrize("package", IMPORTS)
def test_nothing_is_told_to_anybody(tmp_path: Path, package: str) -> None:
    require_modules(package)
    home, traced = tmp_path / "home", tmp_path / "traced.txt"
    home.mkdir()
    command = [sys.executable, "-c", WATCH + IMPORTS[package]]
    strace = ["strace", "-f", "--seccomp-bpf", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(traced)]
    if shutil.which("strace") and subprocess.run([*strace, "true"], check=False, capture_output=True).returncode == 0:
        command = [*strace, *command]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "RAY_"))}
    environment = {**kept, "HOME": str(home), "PYTHONPATH": python_path(), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    assert "TOLD" not in done.stderr
    calls = traced.read_text().splitlines() if traced.is_file() else []
    assert not [line for line in calls if re.search(r"AF_INET6?\b|sin_port|sin6_port", line)]
    assert [str(path.relative_to(home)) for path in home.rglob("*")] == []


def test_what_would_tell_can_be_imported_by_others() -> None:
    require_modules("openvino")
    code = "from m3l_core.errors import require; require('openvino', ''); import openvino_telemetry"
    environment = {**os.environ, "PYTHONPATH": python_path()}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
