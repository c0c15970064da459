"""Figures as JSON knows them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def without_nan(value: Any, digits: int | None = None) -> Any:
    """None in place of every float that is not finite, for which JSON has no word; the others rounded where asked."""
    if isinstance(value, Mapping):
        return {key: without_nan(entry, digits) for key, entry in value.items()}
    if isinstance(value, list):
        return [without_nan(entry, digits) for entry in value]
    if isinstance(value, float):
        return float(value if digits is None else round(value, digits)) if math.isfinite(value) else None
    return value
