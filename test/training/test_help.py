"""Who asks a script for help gets help, and nothing else happens."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

TRAINING = Path(__file__).parents[2] / "training"
SCRIPTS = [path for path in sorted(TRAINING.rglob("*.py")) if "__main__" in path.read_text(encoding="utf-8")]


def test_there_are_scripts_of_both_folders() -> None:
    assert {path.parent for path in SCRIPTS} == {TRAINING, TRAINING / "experiments"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_help_does_no_work(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script))["main"]()
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {script.name} [-h]")
    assert not list(tmp_path.iterdir())
