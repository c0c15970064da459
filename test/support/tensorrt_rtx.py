"""TensorRT for RTX: nearly TensorRT 11's interface, and it reads graphs and builds engines without a GPU.

Nothing can be deserialized or run without one, and no ``Runtime`` may be created: it crashes when the process ends.
"""

from __future__ import annotations

from typing import Any

import pytest

REASON = "needs TensorRT for RTX: pip install 'm3l_ros[rtx]'"


def tensorrt_rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx_bindings", reason=REASON, exc_type=ImportError)
