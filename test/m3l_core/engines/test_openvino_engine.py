"""What OpenVINO does to the process it runs in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.python_path import python_path

pytestmark = pytest.mark.needs("openvino")

INTERRUPTED = """
import signal, sys
from pathlib import Path
from m3l_core.bundle import ModelBundle
from m3l_core.engines.engine import load_engine

bundle = ModelBundle.load(Path(sys.argv[1]))
engines = [load_engine(bundle, "openvino") for _ in range(3)]
while engines:
    engines.pop(0)
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_process_whose_engines_ended_in_any_order_can_be_interrupted(onnx_bundle: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(onnx_bundle)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": python_path()}, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
