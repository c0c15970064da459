"""PYTHONPATH for the processes that tests start."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python_path(*before: Path) -> str:
    """These folders, the repository, and what this process was given: ROS installations are found by that."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join([*map(str, before), str(ROOT), *filter(None, given)])
