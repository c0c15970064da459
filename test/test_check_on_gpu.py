"""``scripts/check_on_gpu`` here: up to the point where there is no GPU, and all its stages with Python in disguise."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# The commands are told and end at once; of the tests one stage fails.
PYTHON = """#!/bin/sh
case "$*" in
  *"-c "*) echo "CudaDevice(name='Pretended')" ;;
  *"on_a_gpu"*) echo "ran: $*"; exit 3 ;;
  *) echo "ran: $*" ;;
esac
"""


def check_on_gpu(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / "check_on_gpu", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_without_a_gpu_it_says_so_and_installs_nothing(tmp_path: Path) -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
        pytest.skip("needs a machine without NVIDIA's driver")
    except OSError:
        done = check_on_gpu(str(tmp_path / "log"), M3L_VENV=str(tmp_path / "venv"))
    assert done.returncode == 2
    assert "there is nothing to check without a GPU. TensorRT needs an NVIDIA GPU, and its driver cannot" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("--as-is",), ("log", "--as-it-is"), ("--as-it-is", "--log", "log")])
def test_what_it_does_not_know_is_refused_before_anything_is_installed(arguments: tuple[str, ...]) -> None:
    done = check_on_gpu(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("check_on_gpu: expected [--as-it-is] [log], got '")


def test_every_stage_runs_and_what_failed_is_named_at_the_end_of_the_log(tmp_path: Path) -> None:
    for name in ("python", "m3l_check_gpu"):
        path = tmp_path / "venv" / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PYTHON)
        path.chmod(0o755)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "nvidia-smi").symlink_to("/bin/true")
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    done = check_on_gpu("--as-it-is", str(tmp_path / "log"), M3L_VENV=str(tmp_path / "venv"), PATH=path)
    log = (tmp_path / "log").read_text()
    assert done.returncode == 1
    assert done.stdout == log
    assert "CudaDevice(name='Pretended')" in log
    stages = ("nvidia-smi", "frames", "engines", "TensorRT", "training", "training step", "tests of the trainer")
    assert [stage for stage in stages if f"\n{stage}: done in " not in log] == []
    assert "\ntests on a GPU: FAILED with status 3\n" in log
    assert log.endswith("\nfailed or not ended: tests on a GPU\n")
    for line in log.splitlines():
        if line.startswith("ran: ") and " -m benchmarks." in f" {line[5:]}":
            assert (ROOT / "benchmarks" / f"{line.split('benchmarks.')[1].split()[0]}.py").is_file(), line
