"""The file of a row of a public leaderboard: reading it, and checking that it follows from its runs."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from howfar.errors import HowfarError
from howfar.score import from_json
from howfar.score.metrics import SHARES
from howfar.tables.distances import Ud
from howfar.tables.entry import FORMAT, STRICT, Entry

LARGEST = 4 << 20  # bytes of a file
CLOSE = 1e-6  # numbers are written with six decimals


@dataclass(frozen=True)
class _WrittenUd:
    """UD as a file holds it; its n is that of the runs without defense."""

    __pydantic_config__ = STRICT

    value: float
    low: float | None
    high: float | None
    beta: float
    probe_error: float


@dataclass(frozen=True)
class _WithUd:
    ud: _WrittenUd | None


def read(path: Path) -> Entry:
    """Read a row.

    Raises:
        HowfarError: if the file is no row.
    """
    return _parsed(path)[0]


def faults(path: Path) -> Iterator[str]:
    """Yield what is wrong with a row: numbers that do not follow from its runs, and impossible ones.

    Raises:
        HowfarError: if the file is no row.
    """
    entry, stated = _parsed(path)
    for name, runs in entry.runs.items():
        lists = (runs.seeds, runs.clean, runs.protected, *(runs.validation or ()))
        if not runs.seeds or len({len(values) for values in lists}) != 1:
            yield f"the runs with defense '{name}' are not one per seed: their lists differ in length or are empty."
            return
        if len(set(runs.seeds)) < len(runs.seeds):
            yield f"a seed stands twice among the runs with defense '{name}'."
        if entry.metric in SHARES and not all(0 <= value <= 1 for values in lists[1:] for value in values):
            yield f"with defense '{name}', {entry.metric} is outside 0 to 1."
    if not entry.runs:
        yield "there are no runs."
        return
    for key, value in entry.summary().items():
        if not _same(stated.get("summary", {}).get(key), value):
            yield f"{key} is stated as {stated.get('summary', {}).get(key)}, but the runs give {value}."
    for key in sorted(set(stated.get("summary", {})) - set(entry.summary())):
        yield f"{key} does not follow from the runs."
    if stated.get("unreliable") != entry.doubts():
        yield f"'unreliable' should be {entry.doubts()}."


def _parsed(path: Path) -> tuple[Entry, dict[str, Any]]:
    """Return the row, and what the file says follows from it."""
    try:
        if path.stat().st_size > LARGEST:
            raise HowfarError(f"{path} has {path.stat().st_size >> 20} MiB; a row has at most {LARGEST >> 20}.")
        whole = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise HowfarError(f"{path} cannot be read as JSON: {error}. Write rows with howfar submit.") from error
    if not isinstance(whole, dict) or whole.pop("format", None) != FORMAT:
        raise HowfarError(f"{path} is no row of the format {FORMAT}. Write rows with howfar submit.")
    stated = {key: whole.pop(key, None) for key in ("summary", "unreliable")}
    stated["summary"] = stated["summary"] if isinstance(stated["summary"], dict) else {}
    try:
        entry = TypeAdapter(Entry).validate_python({**whole, "ud": None} if "ud" in whole else whole)
        found = TypeAdapter(_WithUd).validate_python({"ud": whole["ud"]}).ud
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise HowfarError(f"{path}: {place}: {first['msg']}. Write rows with howfar submit.") from error
    if found is not None:
        n = len(entry.runs["none"].seeds) if "none" in entry.runs else 0
        mean = from_json(asdict(found), n, "t").within(0.0, math.inf)
        entry = replace(entry, ud=Ud(mean, found.beta, found.probe_error))
    return entry, stated


def _same(stated: Any, value: Any) -> bool:
    if isinstance(value, float) and isinstance(stated, int | float):
        return abs(stated - value) <= CLOSE
    return bool(stated == value)
