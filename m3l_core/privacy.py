"""Libraries that count their users do not count ours: no look-up, no connection, no file, from their import on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SETTINGS = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime from 1.32 on, by its Privacy.md
    "RAY_USAGE_STATS_ENABLED": "0",
}
_OPENVINO_COUNTS_BY = "openvino_telemetry"


@contextmanager
def untold() -> Iterator[None]:
    """Around the first import of such a library; a setting that the user made stays as it is.

    OpenVINO counts by a package of its own, which it does without where that cannot be imported; others still can.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    if "openvino" in sys.modules or _OPENVINO_COUNTS_BY in sys.modules:
        yield
        return
    sys.modules[_OPENVINO_COUNTS_BY] = None  # type: ignore[assignment]  # by which Python knows that it cannot
    try:
        yield
    finally:
        del sys.modules[_OPENVINO_COUNTS_BY]
