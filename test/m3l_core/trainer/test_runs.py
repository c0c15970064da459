"""Runs in processes of their own: what they are told, what is told of them, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.python_path import python_path

from m3l_core.trainer.runs import run_each

ROOT = Path(__file__).parents[3]
SCRIPT = """
import os, sys
print(sys.argv[1:], os.environ["OMP_NUM_THREADS"])
sys.exit("bad" in sys.argv[2])
"""
ENDLESS = """
import signal, sys, time
from pathlib import Path

def end(number, frame):
    Path(sys.argv[2] + ".saved").touch()
    sys.exit(1)

signal.signal(signal.SIGTERM, end)
Path(sys.argv[2] + ".began").touch()
time.sleep(60)
"""
CALLER = """
import sys
from pathlib import Path
from m3l_core.command_line import run
from m3l_core.trainer.runs import run_each

run(lambda: sys.exit(run_each("endless.py", ["one", "two", "three"], (), Path("work"), 2)))
"""


def test_each_run_has_a_process_a_log_and_one_thread(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    work = tmp_path / "deep" / "work"
    assert run_each(str(script), ["good", "bad", "other"], ("--data", "here"), work, 2) == 1
    for name in ("good", "bad", "other"):
        assert (work / f"{name}.log").read_text() == f"['--run', '{name}', '--data', 'here'] 1\n"
    said = capsys.readouterr().out.splitlines()
    assert sorted(said) == [f"bad: failed, see {work / 'bad.log'}", "good: done", "other: done"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_it_ends_its_runs_and_begins_no_other(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "endless.py").write_text(ENDLESS)
    environment = os.environ | {"PYTHONPATH": python_path()}
    caller = subprocess.Popen([sys.executable, "-c", CALLER], cwd=tmp_path, env=environment)
    try:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("*.began"))) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        caller.send_signal(number)
        assert caller.wait(30) == 128 + number
    finally:
        caller.kill()
        caller.wait()
    assert {path.name for path in tmp_path.glob("*.saved")} == {"one.saved", "two.saved"}
    assert not (tmp_path / "three.began").exists()
