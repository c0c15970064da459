"""What becomes of a command that is killed anywhere, or meets another one; a part of ``forks``."""

from __future__ import annotations

import hashlib
import importlib
import pickle
import re
import shutil
import signal
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from support.forks import Run, content, named

from m3l_core import files


class Trial:
    """A command, what it works on, and what comes of it when it is left alone."""

    def __init__(self, work: dict[str, Any]) -> None:
        self._work = work
        self._place = Path(work["place"])
        self._remembered = self._place / "remembered"
        self._remembered.mkdir()

    def fresh(self, name: str) -> Path:
        return Path(shutil.copytree(self._work["given"], self._place / name, symlinks=True))

    def start(self, folder: Path, watched: bool = False, patience_s: float | None = None) -> Run:
        """Begin it; ``patience_s`` is how long it waits for others."""

        def before() -> None:
            if patience_s is not None:
                files._PATIENCE_S = patience_s
            if self._work["prepare"]:
                named(self._work["prepare"])()
            for name in self._work["remembered"]:
                _remember(name, self._remembered)

        return Run(self._work["command"], self._work["arguments"], folder, before, watched)

    def start_until(self, folder: Path, number: int) -> Run:
        """One that stands before an operation."""
        run = self.start(folder, watched=True)
        for _ in range(number + 1):
            next(run.operations)
        return run

    def seen(self, folder: Path) -> dict[str, str]:
        """What is in it; of files that hold measured times the names alone."""
        measured = self._work["measured"]
        return {
            name: "" if any(fnmatch(name, each) for each in measured) else it for name, it in content(folder).items()
        }


def _remember(name: str, folder: Path) -> None:
    """Let a function that takes seconds, and changes no file, be computed once for the same arguments."""
    module, _, function = name.partition(":")
    home = importlib.import_module(module)
    compute = getattr(home, function)

    def remembered(*arguments: Any) -> Any:
        path = folder / hashlib.sha256(pickle.dumps(arguments)).hexdigest()
        if not path.exists():
            path.write_bytes(pickle.dumps(compute(*arguments)))
        return pickle.loads(path.read_bytes())

    setattr(home, function, remembered)


def try_all(work: dict[str, Any]) -> dict[str, Any]:
    """Run a command, and keep what lies in its folder before each operation on a file; then see what comes of trials.

    What lies there is what one leaves that is killed. Of states that are alike one is kept.

    Returns:
        ``killed``, problems of the same command on what is left; ``together``, problems of two at once; ``refusals``,
        what was told to those that were refused; ``states``, how many there were.
    """
    trial, states = Trial(work), {}
    whole = trial.fresh("whole")
    run = trial.start(whole, watched=True)
    for number, operation in enumerate(run.operations):
        if (key := tuple(content(whole).items())) not in states:
            states[key] = Path(shutil.copytree(whole, whole.with_name(f"{number}, {operation}"), symlinks=True))
    status, said = run.end()
    if status:
        return {"killed": [f"left alone: {status}, {said}"]}
    expected = trial.seen(whole)
    killed = [_try_again(trial, folder, expected) for folder in states.values()]
    gaps = -(-number // work["most_together"])
    together = [_try_together(trial, place, expected) for place in (None, *range(0, number, gaps))]
    refusals = sorted({refusal for _, refusal in together if refusal})
    return {
        "killed": list(filter(None, killed)),
        "together": [problem for problem, _ in together if problem],
        "refusals": refusals,
        "states": len(states),
    }


def _try_again(trial: Trial, left: Path, expected: dict[str, str]) -> str:
    """What is wrong with a command that is run on what one has left that was killed."""
    status, said = trial.start(left).end()
    differing = _differing(trial.seen(left), expected)
    shutil.rmtree(left)
    return f"killed before operation {left.name}: {status}, {differing}, {said}" if status or differing else ""


def _try_together(trial: Trial, number: int | None, expected: dict[str, str]) -> tuple[str, str]:
    """What is wrong with two at once, and what was told to the one that was refused.

    Args:
        number: the operation that the first one stands before when the second one begins; None = they begin together.
    """
    folder = trial.fresh(f"together {number}")
    if number is None:
        runs = [trial.start(folder), trial.start(folder)]
    else:
        runs = [trial.start_until(folder, number), trial.start(folder, patience_s=0.1)]
        runs[1].wait(5.0)
    ends = [run.end() for run in runs]
    told = [said for status, said in ends if status]
    differing = _differing(trial.seen(folder), expected)
    shutil.rmtree(folder)
    wrong = differing or len(told) > 1 or any("Traceback" in said for said in told)
    return f"before operation {number}: {differing}, {ends}" if wrong else "", "".join(told)


def _differing(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    return sorted({name for name, _ in found.items() ^ expected.items()})[:5]


def kill(work: dict[str, Any]) -> list[list[str]]:
    """What lies in the folder of a command before each operation on a file, and what it leaves that is killed there."""
    trial = Trial(work)
    whole = trial.fresh("whole")
    run = trial.start(whole, watched=True)
    before = [_without_process(content(whole)) for _ in run.operations]
    run.end()
    left = []
    for number in range(len(before)):
        killed = trial.start_until(trial.fresh(str(number)), number)
        killed.kill()
        assert killed.end() == (-signal.SIGKILL, "")
        left.append(_without_process(content(whole.with_name(str(number)))))
    return [before, left]


def _without_process(found: dict[str, str]) -> str:
    return re.sub(r"-\d+-\d+\.part", ".part", repr(found))
