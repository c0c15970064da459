"""The tables and curves of the rooms, from results and onto a page that options name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support.python_path import python_path

SCRIPT = Path(__file__).parents[3] / "training" / "experiments" / "rooms_tables.py"
PLACES = "# Page\n<!-- comparison -->\n<!-- end -->\n\n<!-- ablation -->\n<!-- end -->\nafter\n"


def write_result(folder: Path, method: str, both: float, change: str = "") -> None:
    miou = {"color+depth": both, "color": 0.4, "depth": 0.3}
    run = {"method": method, "fraction": 0.04, "seed": 0, "change": change}
    result = {"run": run, "validation": [{"iteration": number, "miou": miou} for number in (100, 200)]}
    folder.mkdir(exist_ok=True)
    (folder / f"{method}-{change}.json").write_text(json.dumps(result | ({} if change else {"test": miou})))


def tables(folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "page.md").write_text(PLACES)
    options = [f"--{name}={folder / at}" for name, at in (("results", "out"), ("page", "page.md"), ("curves", "c.svg"))]
    environment = {"PATH": "", "PYTHONPATH": python_path()}
    command = [sys.executable, str(SCRIPT), *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_what_is_there_is_shown_and_drawn(tmp_path: Path) -> None:
    write_result(tmp_path / "out", "m3l_plus", 0.5)
    write_result(tmp_path / "out", "m3l_plus", 0.5, "unchanged")
    write_result(tmp_path / "out", "m3l_plus", 0.47, "without_cutmix")
    done = tables(tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "page.md").read_text()
    assert "| 4% | `m3l_plus` | 1 | 50.0 | 40.0 | 30.0 | 40.0 | 30.0 | 0.80 |" in page
    assert "| without cutmix | 1 | -3.0 | +0.0 | +0.0 | -1.0 |" in page
    assert page.startswith("# Page\n") and page.endswith("\nafter\n")
    drawn = (tmp_path / "c.svg").read_text()
    assert drawn.startswith("<svg ") and "4% of the labels" in drawn and ">m3l_plus<" in drawn


def test_without_results_nothing_is_written(tmp_path: Path) -> None:
    done = tables(tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("rooms_tables: there is no result of the comparison: expected")
    assert (tmp_path / "page.md").read_text() == PLACES
    assert not (tmp_path / "c.svg").exists()
