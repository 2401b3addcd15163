"""Numbers as JSON holds them."""

import math
from collections.abc import Mapping
from typing import Any

DECIMALS = 6  # of published numbers, which is more than they mean


def to_json(value: Any, digits: int | None = None) -> Any:
    """Return a value for JSON, which knows no infinity: infinite numbers and NaN become None.

    Args:
        value: numbers, texts, None, and mappings and sequences of them.
        digits: decimals to keep; None keeps all.

    Example:
        >>> to_json({"drop": 1 / 3, "ends": (0.25, float("inf"))}, 3)
        {'drop': 0.333, 'ends': [0.25, None]}
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return value if digits is None else round(value, digits)
    if isinstance(value, Mapping):
        return {key: to_json(inner, digits) for key, inner in value.items()}
    return [to_json(inner, digits) for inner in value] if isinstance(value, list | tuple) else value
