"""TensorRT for RTX: nearly TensorRT 11's interface, and it reads graphs and builds engines without a GPU.

Nothing can be deserialized or run without one, and no ``Runtime`` may be created: it crashes when the process ends.
"""

from __future__ import annotations

import importlib
from typing import Any

from support.needs import require_modules


def tensorrt_rtx() -> Any:
    require_modules("tensorrt_rtx_bindings")
    return importlib.import_module("tensorrt_rtx_bindings")
