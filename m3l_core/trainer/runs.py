"""A comparison of trainings, run by run: each in a process of its own, each leaving one small file of results.

Importable without torch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from m3l_core.command_line import positive
from m3l_core.files import replacing_file


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
