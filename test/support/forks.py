"""Runs a command many times, each in a fork of one process that has imported it, and tells how each time ended.

    python test/support/forks.py < WORK.json

A process of its own: none of its threads is running when it forks.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from support.python_path import python_path

ROOT = Path(__file__).parents[2]
TRACEBACK = 70
"""Status of a command that an exception ended."""
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def ask(work: dict[str, Any], timeout: float = 110.0) -> Any:
    """The answer to a piece of work, from a process of its own."""
    environment = {**os.environ, "PYTHONPATH": python_path(ROOT / "test"), "OMP_NUM_THREADS": "1", "COLUMNS": "140"}
    command = [sys.executable, __file__]
    text = json.dumps(work)
    done = subprocess.run(command, input=text, env=environment, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def run_forked(
    module: str, arguments: Sequence[str], folder: Path, before: Callable[[], None] = lambda: None
) -> tuple[int, str]:
    """Status and stderr of a command; a negative status is the signal that ended it."""
    import m3l_core.command_line

    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        status = TRACEBACK
        try:
            os.chdir(folder)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(writing, 2)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
            sys.argv = [module.rpartition(".")[2], *arguments]
            main = importlib.import_module(module).main
            before()
            m3l_core.command_line.run(main)
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(writing)
    with open(reading, errors="replace") as file:
        said = file.read()
    _, ended = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(ended), said


def killer(folder: Path, after: int) -> Callable[[], None]:
    """Kills this process before it changes a file of the folder, once it has changed so many."""
    left = after

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event == "open":
            mode, flags = arguments[1:3]
            changes = bool(flags & _WRITES) if mode is None else any(letter in mode for letter in "wax+")
        else:
            changes = event in _CHANGES
        if not changes or isinstance(arguments[0], int):
            return
        if os.path.abspath(os.fsdecode(arguments[0])).startswith(f"{folder}/"):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return lambda: sys.addaudithook(watch)


def content(folder: Path) -> dict[str, str]:
    """Every file and folder, hidden ones too, with what is in it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "a folder"
        for path in sorted(folder.rglob("*"))
    }


def _kill_everywhere(work: dict[str, Any]) -> dict[str, Any]:
    """Kill a command before every operation on a file, run it again, and compare with a run that was left alone."""
    given, place = Path(work["given"]), Path(work["place"])

    def fresh(name: str) -> Path:
        return Path(shutil.copytree(given, place / name, symlinks=True))

    def seen(folder: Path) -> dict[str, str]:
        return {name: "" if work["names_alone"] else digest for name, digest in content(folder).items()}

    whole = fresh("whole")
    status, said = run_forked(work["module"], work["arguments"], whole)
    if status:
        return {"points": 0, "problems": [f"left alone: {status}, {said}"]}
    expected, problems, point = seen(whole), [], 0
    while True:
        folder = fresh(str(point))
        status, said = run_forked(work["module"], work["arguments"], folder, killer(folder, point))
        if status == 0:
            break
        if status == -signal.SIGKILL:
            status, said = run_forked(work["module"], work["arguments"], folder)
        if status or (found := seen(folder)) != expected:
            differing = [] if status else sorted(name for name, _ in found.items() ^ expected.items())
            problems.append(f"killed before operation {point}: {status} {said} {differing[:5]}")
        shutil.rmtree(folder)
        point += work.get("step", 1)
    return {"points": point, "problems": problems}


def _run_all(work: dict[str, Any]) -> list[tuple[int, str]]:
    """Run a command with each list of arguments."""

    def limited(size: int | None) -> Callable[[], None]:
        limit = resource.RLIM_INFINITY if size is None else size
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return [
        run_forked(work["module"], arguments, Path(folder), limited(size)) for arguments, folder, size in work["runs"]
    ]


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    for each in (asked["module"], *asked.get("also", ())):  # once, not in each fork
        importlib.import_module(each)
    json.dump((_kill_everywhere if asked["do"] == "kill" else _run_all)(asked), sys.stdout)
