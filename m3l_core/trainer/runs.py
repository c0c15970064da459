"""A comparison of trainings, run by run: each in a process of its own, each leaving one small file of results.

Importable without torch.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from m3l_core.command_line import positive
from m3l_core.errors import require
from m3l_core.files import replacing_file
from m3l_core.trainer.data import TrainingData, read_data
from m3l_core.trainer.recipe import Recipe

if TYPE_CHECKING:
    from m3l_core.trainer.networks import TrainedNetwork


class NamedRun(Protocol):
    """One training of a comparison."""

    @property
    def name(self) -> str: ...


_Run = TypeVar("_Run", bound=NamedRun)


def run_comparison(
    parser: argparse.ArgumentParser,
    script: str,
    runs: Iterable[_Run],
    train: Callable[[_Run, Sequence[str], Path, Path, Path], None],
    results: Path,
) -> Path:
    """The whole command of a comparison whose runs all can have other settings, for a trial.

    Args:
        parser: of ``parser_of_runs``.
        script: of the command.
        runs: in the order in which they are to be done.
        train: makes ``NAME.json`` of a run, its settings, and the folders of the data, the checkpoints and the results.
        results: where they belong, if nobody says otherwise.

    Returns:
        The folder of the results.

    Raises:
        SystemExit: with 2 where the options cannot be, with 0 after a single run, with a message where runs failed.
    """
    parser.add_argument("--results", type=Path, default=results, help="folder for the results")
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="of the recipes, for a trial; needs --results of its own"
    )
    arguments = parser.parse_args()
    folders: list[Path] = [arguments.data, arguments.work, arguments.results]
    data, work, chosen = (folder.resolve() for folder in folders)
    if arguments.settings and chosen == results.resolve():
        parser.error("a trial with other settings is no part of the comparison: give it --results of its own")
    by_name = {run.name: run for run in runs}
    if arguments.run:
        if arguments.run not in by_name:
            parser.error(f"there is no run '{arguments.run}'; there are {', '.join(by_name)}")
        train(by_name[arguments.run], arguments.settings, data, work, chosen)
        sys.exit()
    wanted = [name for name in by_name if arguments.only in name]
    missing = [name for name in wanted if not (chosen / f"{name}.json").exists()]
    print(f"{len(wanted) - len(missing)} of {len(wanted)} runs are done", flush=True)
    options = ("--data", str(data), "--work", str(work), "--results", str(chosen), *arguments.settings)
    if failed := run_each(script, missing, options, work, arguments.jobs):
        sys.exit(f"{failed} runs failed")
    return chosen


def trained(recipe: Recipe, data: Path, output: Path) -> tuple[list[TrainedNetwork], TrainingData]:
    """The networks of a run of a comparison, and the data that they are of; told by log lines.

    Raises:
        M3LError: as ``read_data``, then without torch, then as ``train_networks``.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    lists = read_data(recipe, data)  # before what takes long to load and longer to train
    require("torch", "train")
    from m3l_core.trainer.networks import train_networks

    return train_networks(recipe, lists, output), lists


def parser_of_runs(description: str | None, data: str, work: Path) -> argparse.ArgumentParser:
    """What every comparison is told.

    Args:
        description: of the command.
        data: what ``--data`` is.
        work: where checkpoints are by default.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help=data)
    parser.add_argument("--work", type=Path, default=work, help="folder for checkpoints")
    parser.add_argument("--jobs", type=positive, default=2, help="trainings at a time, one thread each")
    parser.add_argument("--only", default="", help="runs whose name contains this")
    parser.add_argument("--run", help="one run by its name, in this process")
    return parser


def run_each(script: str, names: Sequence[str], options: Sequence[str], work: Path, jobs: int) -> int:
    """Call ``script --run NAME OPTIONS`` for each, in a process of its own with one thread; returns how many failed.

    What a run says goes to ``work/NAME.log``. Interrupted, the runs are told to end, as trainings do with their state
    saved, and no other begins.
    """
    work.mkdir(parents=True, exist_ok=True)
    processes: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> bool:
        command = [sys.executable, script, "--run", name, *options]
        with (work / f"{name}.log").open("a") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"})
            processes.append(process)
            done = process.wait() == 0
        print(f"{name}: {'done' if done else f'failed, see {log.name}'}", flush=True)
        return done

    pool = ThreadPoolExecutor(jobs)
    try:
        return sum(not done for done in pool.map(start, names))
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        raise
    finally:
        pool.shutdown()


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing_file(path) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
