"""Charts as the page contains them."""

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any


def packed(charts: Mapping[str, Any]) -> str:
    """Return the charts as gzipped JSON in base64, with five significant digits."""
    return zipped(json.dumps(_short(charts), separators=(",", ":")))


def zipped(text: str) -> str:
    """Return a text gzipped, in base64."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _short(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_short(member) for member in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
