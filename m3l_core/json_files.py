"""JSON files from strangers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from m3l_core.files import regular_size

_MOST_BYTES = 1 << 29
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""Of a character that takes two, which need not stand beside its other half."""


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON in UTF-8, is nested without end, or is larger than any list of frames.
    """
    if (size := regular_size(path)) > _MOST_BYTES:
        raise ValueError(f"it has {size} bytes, expected {_MOST_BYTES} at most")
    return parse_json(path.read_bytes())


def parse_json(content: bytes) -> Any:
    """The same of the content of a file.

    Raises:
        ValueError: as ``read_json``, and of text that cannot be written again.
    """
    try:
        text = content.decode("utf-8")
        found = json.loads(text)
        if _HALF.search(text):
            json.dumps(found, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise ValueError("it is nested without end") from error
    return found
