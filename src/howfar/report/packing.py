"""How the page carries its charts, and what it lets run."""

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from typing import Any


def packed(charts: Mapping[str, Any]) -> str:
    """Return the charts as gzipped JSON in base64, with as many digits as can be seen."""
    text = json.dumps(_short(charts), separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _short(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_short(member) for member in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def policy(*scripts: str) -> str:
    """Return a content security policy: these scripts and no other, and nothing is fetched from anywhere."""
    known = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    own = "style-src 'unsafe-inline'; img-src data: blob:"
    return f"default-src 'none'; script-src {known}; {own}; base-uri 'none'; form-action 'none'"
