"""Rows of cells or of victims as CSV, JSON or Parquet, for other tools."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from howfar.errors import HowfarError, UsageError
from howfar.store import write_text
from howfar.unfinished import atomic_write


def write(found: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows as CSV, JSON or Parquet, whichever the name of the file says.

    Raises:
        UsageError: for another kind of file.
        HowfarError: if there are no rows, or what writes Parquet is not installed.
    """
    if not found:
        raise HowfarError(
            "the store holds no such row. A cell needs a clean and a protected victim of the same seed: run howfar "
            "bench, or export single victims (--victims)."
        )
    kind = path.suffix.lower()
    if kind == ".csv":
        write_text(path, _csv(found))
    elif kind == ".json":
        write_text(path, json.dumps(list(found), indent=1, ensure_ascii=False) + "\n")
    elif kind == ".parquet":
        _parquet(found, path)
    else:
        raise UsageError(f"cannot write '{path.name}'. Choose a name that ends with .csv, .json or .parquet.")


def _csv(found: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(found[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue()


def _parquet(found: Iterable[Mapping[str, Any]], path: Path) -> None:
    try:
        from pyarrow import Table
        from pyarrow.parquet import write_table
    except ImportError:
        raise HowfarError("Parquet needs pyarrow. Install howfar[parquet], or choose a .csv or .json file.") from None
    with atomic_write(path) as draft:
        write_table(Table.from_pylist([dict(row) for row in found]), draft)
