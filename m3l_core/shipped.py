"""What comes with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

_DATA = Path(str(files("m3l_core"))) / "data"


def shipped_bundle() -> Path:
    """Folder of the model bundle for color and depth of indoor rooms."""
    return _DATA / "bundles" / "indoor"


def shipped_recording() -> Path:
    """Folder of the sample bag, which that bundle labels."""
    return _DATA / "recordings" / "rooms_a"
