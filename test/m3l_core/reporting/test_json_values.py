"""What JSON has no word for becomes null, wherever it stands."""

from __future__ import annotations

import json
import math
from types import MappingProxyType

import numpy as np

from m3l_core.reporting.json_values import without_nan

VALUES = MappingProxyType(
    {"a": [1, math.nan, {"b": math.inf}], "c": np.float64(0.12345678), "d": "nan", "e": True, "f": 1e-9}
)


def test_figures_that_do_not_exist_are_null() -> None:
    found = without_nan(VALUES)
    assert found == {"a": [1, None, {"b": None}], "c": 0.12345678, "d": "nan", "e": True, "f": 1e-9}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_figures_are_rounded_where_asked() -> None:
    assert without_nan(VALUES, digits=6) == without_nan(VALUES) | {"c": 0.123457, "f": 0.0}
