"""An index of the records, so that thousands of them are listed without reading every file.

A small SQLite file in the store, derived from the records: it can be deleted at any time, and if it cannot be written,
the records are read instead.
"""

import contextlib
import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

VERSION = 1
NAME = ".index.sqlite"
LONG = 1000  # bytes of JSON; longer parts of a result are read from the record on access
FRESH = 2.0  # seconds; a newer file could change again within the resolution of its timestamp
FAULTS = (sqlite3.Error, UnicodeDecodeError)  # SQLite quotes damaged names, which may not be text
TABLES = """
CREATE TABLE IF NOT EXISTS record (step TEXT, key TEXT, stamp TEXT, sum BLOB, text BLOB, PRIMARY KEY (step, key));
CREATE TABLE IF NOT EXISTS note (kind TEXT, name TEXT, sum BLOB, text BLOB, PRIMARY KEY (kind, name));
"""


class Short(Mapping[str, Any]):
    """A result whose long parts are read on access."""

    def __init__(self, short: Mapping[str, Any], left_out: list[str], read: Callable[[], Mapping[str, Any]]) -> None:
        self._values = dict(short)
        self._left_out, self._read = left_out, read

    def __getitem__(self, name: str) -> Any:
        if name in self._left_out:
            whole = self._read()
            self._values |= {part: whole[part] for part in self._left_out}
            self._left_out = []
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Index:
    """The index of one store; if its file is damaged, it is ignored."""

    def __init__(self, root: Path, *, reading: bool = False) -> None:
        self._path, self._reading = root / NAME, reading

    def known(self, step: str) -> dict[str, tuple[str, dict[str, Any]]]:
        """Return the stamp and the shortened record of every key of a step."""
        found = {}
        for key, stamp, total, text in self._all("SELECT key, stamp, sum, text FROM record WHERE step = ?", step):
            if _is_whole(text, total):
                found[key] = stamp, from_json(text)
        return found

    def learn(self, step: str, records: Mapping[str, tuple[str, Mapping[str, Any]]], changed: bool) -> None:
        """Store shortened records with their stamps, by key; notes are dropped if a known record ``changed``."""
        rows = [(step, key, stamp, *_summed(short)) for key, (stamp, short) in records.items()]
        if changed:
            self._write("DELETE FROM note", [()])
        self._write("INSERT OR REPLACE INTO record VALUES (?, ?, ?, ?, ?)", rows)

    def notes(self, kind: str) -> dict[str, Any]:
        """Return values derived from records, by name."""
        rows = self._all("SELECT name, sum, text FROM note WHERE kind = ?", kind)
        return {name: from_json(text) for name, total, text in rows if _is_whole(text, total)}

    def note(self, kind: str, values: Mapping[str, Any]) -> None:
        """Store values derived from records that cannot change unnoticed."""
        rows = [(kind, name, *_summed(value)) for name, value in values.items()]
        self._write("INSERT OR REPLACE INTO note VALUES (?, ?, ?, ?)", rows)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Give a connection for one query; it is closed afterwards, so that the folder can be unmounted."""
        if self._reading:
            with contextlib.closing(
                sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True)
            ) as connection:
                if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                    raise sqlite3.OperationalError("the index is of another version")
                yield connection
            return
        if self._path.is_symlink():
            self._path.unlink()  # its target is not a file of this store
        with contextlib.closing(sqlite3.connect(self._path, timeout=1.0, isolation_level=None)) as connection:
            if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                connection.executescript("DROP TABLE IF EXISTS record; DROP TABLE IF EXISTS note;")
                connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.executescript(TABLES)
            yield connection

    def _all(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        try:
            with self._opened() as connection:
                return connection.execute(query, values).fetchall()
        except FAULTS as error:
            self._give_up(error)
            return []

    def _write(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        if not rows or self._reading:
            return
        try:
            with self._opened() as connection, connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(statement, rows)
        except FAULTS as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        if (
            type(error) in (sqlite3.DatabaseError, UnicodeDecodeError) and not self._reading
        ):  # the file is not a database: create a new one next time
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)


def _is_whole(text: Any, total: Any) -> bool:
    """Return whether a text has this digest."""
    return isinstance(text, bytes) and hashlib.sha256(text).digest() == total


def stamp(path: Path) -> tuple[str, bool]:
    """Return time, size and inode of a file, and whether the file is old enough to rely on them."""
    about = path.stat()
    return f"{about.st_mtime_ns} {about.st_size} {about.st_ino}", time.time() - about.st_mtime > FRESH


def shortened(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a record without long parts of its result, and the names of these parts."""
    result = record["result"]
    left_out = [name for name, part in result.items() if isinstance(part, list | dict) and len(to_json(part)) > LONG]
    kept = {name: None if name in left_out else part for name, part in result.items()}
    return {**record, "result": kept, "left_out": left_out}


def _summed(value: Any) -> tuple[bytes, bytes]:
    text = to_json(value)
    return hashlib.sha256(text).digest(), text
