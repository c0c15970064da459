"""The tables on real rooms: with some of the runs, with none, and beside what others have published."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support.python_path import python_path

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "training" / "experiments" / "nyuv2_tables.py"
PLACES = "# Page\n<!-- nyuv2 -->\n<!-- end -->\n\n<!-- nyuv2_large -->\n<!-- end -->\nafter\n"


def write_result(folder: Path, method: str, fraction: float, seed: int, both: float, variant: str = "") -> None:
    run = {"method": method, "fraction": fraction, "seed": seed, "variant": variant}
    result = {"run": run, "test": {"color+depth": both, "color": 0.4, "depth": 0.3}}
    folder.mkdir(exist_ok=True)
    (folder / f"{method}-{variant}-{fraction}-{seed}.json").write_text(json.dumps(result))


def tables(folder: Path) -> tuple[str, str]:
    """The page, and what the command says."""
    (folder / "page.md").write_text(PLACES)
    command = [sys.executable, str(SCRIPT), "--results", str(folder / "out"), "--page", str(folder / "page.md")]
    environment = {"PATH": "", "PYTHONPATH": python_path()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (folder / "page.md").read_text(), done.stdout


def test_what_is_there_is_shown_and_what_is_not_is_named(tmp_path: Path) -> None:
    write_result(tmp_path / "out", "m3l_subsets", 0.05, 0, 0.5)
    write_result(tmp_path / "out", "m3l_subsets", 0.05, 1, 0.5)
    write_result(tmp_path / "out", "m3l_subsets", 1.0, 0, 0.5)
    write_result(tmp_path / "out", "m3l_subsets", 1.0, 0, 0.6, "240x320_40_classes")
    write_result(tmp_path / "out", "m3l_subsets", 0.2, 0, 0.7, "each")
    page, said = tables(tmp_path)
    assert "| 20% | `m3l_subsets`, 800 iterations for each network | 1 | 70.0 | 40.0 | 30.0 |" in page
    assert "5 of 47 runs are done." in page
    row = "| 5% | `m3l_subsets` | 2 | 50.0 ± 0.0 | 40.0 ± 0.0 | 30.0 ± 0.0 | 40.0 ± 0.0 | 30.0 ± 0.0 | 0.80 ± 0.00 |"
    assert row in page
    assert "| 100% | `m3l_subsets` | 1 | 50.0 | 40.0 | 30.0 | 40.0 | 30.0 | 0.80 |" in page
    large = [line for line in page.splitlines() if "| 60.0 | 40.0 | 30.0 | 43.3 | 30.0 | 0.72 |" in line]
    assert len(large) == 1 and "40 classes" in large[0]
    missing = said.splitlines()[-1].removeprefix("missing: ").split(", ")
    assert len(missing) == 42
    assert "m3l_subsets-0.05-2" in missing and "m3l_subsets-240x320-1.00-0" in missing
    assert not {"m3l_subsets-0.05-0", "m3l_subsets-1.00-0", "m3l_subsets-240x320_40_classes-1.00-0"} & set(missing)
    assert page.startswith("# Page\n") and page.endswith("\nafter\n")


def test_published_figures_stand_there_before_any_run(tmp_path: Path) -> None:
    page, _ = tables(tmp_path)
    assert "0 of 47 runs are done." in page
    rows = {line.split(" | ")[1]: line for line in page.splitlines() if line.count("|") == 9 and "NYU" in line}
    # both / color lost / depth lost are published as 55.7 / 43.5 / 48.3, their mean as 49.2.
    assert rows["ConD + DFormer-B (arXiv 2607.20326)"].endswith("| 55.7 | 48.3 | 43.5 | 49.2 | 43.5 | 0.88 |")
    assert rows["ESANet-R34 (arXiv 2011.06961)"].endswith("| 50.3 | – | – | – | – | – |")
