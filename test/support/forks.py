"""Runs a command many times, each in a fork of one process that has imported it, and tells how each time ended.

    python test/support/forks.py < WORK.json

A process of its own, in which nothing is computed: none of its threads is at work when it forks.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from support.python_path import python_path

from m3l_core import command_line

ROOT = Path(__file__).parents[2]
TRACEBACK = 70
"""Status of a command that an exception ended."""
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def ask(work: dict[str, Any], timeout: float = 110.0) -> Any:
    """What the function MODULE:FUNCTION that the work names as ``do`` returns for it, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": python_path(ROOT / "test"), "OMP_NUM_THREADS": "1", "COLUMNS": "140"}
    command = [sys.executable, __file__]
    text = json.dumps(work)
    done = subprocess.run(command, input=text, env=environment, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Run:
    """A command, MODULE of a script or MODULE:FUNCTION of an entry point, in a fork of this process.

    One that is ``watched`` waits before it changes a file of its folder.
    """

    def __init__(
        self,
        command: str,
        arguments: Sequence[str],
        folder: Path,
        before: Callable[[], None] = lambda: None,
        watched: bool = False,
    ) -> None:
        module, _, function = command.partition(":")
        (said, says), (told, tells), (answers, self._answer) = os.pipe(), os.pipe(), os.pipe()
        for end in (says, tells):
            fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 1 << 20)  # it ends without being read
        if (pid := os.fork()) == 0:
            status = TRACEBACK
            try:
                os.chdir(folder)
                os.environ["M3L_CACHE"] = str(folder / "cache")
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                os.dup2(says, 2)
                sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
                sys.argv = [function or module.rpartition(".")[2], *arguments]
                main = getattr(importlib.import_module(module), function or "main")
                before()
                if watched:
                    sys.addaudithook(_watch(folder, tells, answers))
                main() if function else command_line.run(main)  # as the file itself does
                status = 0
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else int(end.code is not None)
                if isinstance(end.code, str):
                    print(end.code, file=sys.stderr)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os.write(tells, f"imported {' '.join(sys.modules)}\n".encode())
                os._exit(status)
        for end in (says, tells, answers):
            os.close(end)
        self._pid, self._said, self._told = pid, os.fdopen(said, errors="replace"), os.fdopen(told)
        self.operations = self._operations()
        """What it is about to do; it stands still until the next is asked for."""

    def _operations(self) -> Generator[str]:
        for line in self._told:
            word, *names = line.split()
            if word == "imported":
                _import(names)
                continue
            os.kill(self._pid, signal.SIGSTOP)  # its other threads, too
            os.waitpid(self._pid, os.WUNTRACED)
            yield names[0]
            os.kill(self._pid, signal.SIGCONT)
            os.write(self._answer, b".")

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        self.operations.close()

    def wait(self, seconds: float) -> None:
        """Until it has ended, or for so long: it may wait for another one."""
        deadline = time.monotonic() + seconds
        while os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            if time.monotonic() > deadline:
                return
            time.sleep(0.02)

    def end(self) -> tuple[int, str]:
        """Status and stderr; a negative status is the signal that ended it."""
        for _ in self.operations:
            pass
        _, status = os.waitpid(self._pid, 0)
        os.close(self._answer)
        with self._told, self._said:
            return os.waitstatus_to_exitcode(status), self._said.read()


def _watch(folder: Path, tells: int, answers: int) -> Callable[[str, tuple[Any, ...]], None]:
    """Tells before a file of the folder is changed, and waits for an answer."""

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            mode, flags = arguments[1:3]
            changes = bool(flags & _WRITES) if mode is None else any(letter in mode for letter in "wax+")
        else:
            changes = event in _CHANGES
        if not changes or isinstance(arguments[0], int):
            return
        if os.path.abspath(os.fsdecode(arguments[0])).startswith(f"{folder}/"):
            os.write(tells, f"at {event}\n".encode())
            os.read(answers, 1)

    return watch


def _import(names: Sequence[str]) -> None:
    """Once, not in each fork that is to come."""
    for name in names:
        if name not in sys.modules:
            with suppress(Exception):  # names of things that are none, and what only one command may have
                importlib.import_module(name)


def content(folder: Path) -> dict[str, str]:
    """Every file and folder, hidden ones too, with what is in it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "a folder"
        for path in sorted(folder.rglob("*"))
    }


def run_all(work: dict[str, Any]) -> list[tuple[int, str]]:
    """Run a command with each list of arguments, in a folder, and with a limit on the size of a file or none."""

    def limited(size: int | None) -> Callable[[], None]:
        def before() -> None:
            signal.alarm(work.get("seconds", 0))
            limit = resource.RLIM_INFINITY if size is None else size
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        return before

    return [
        Run(work["command"], arguments, Path(folder), limited(size)).end() for arguments, folder, size in work["runs"]
    ]


def named(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    _import([asked["command"].partition(":")[0]])
    json.dump(named(asked["do"])(asked), sys.stdout)
