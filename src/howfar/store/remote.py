"""A store in a bucket, or at any URL supported by fsspec, with a local cache.

Objects cannot be renamed and folders do not exist, so a record is created exclusively, after its arrays, whose name
contains their digest. A lease is the highest of some numbered objects, which are created exclusively.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from howfar.errors import HowfarError, UsageError
from howfar.store.lease import Claim, Slot
from howfar.store.mark import HEAD_BYTES, MARK, TEXT, is_key, is_own
from howfar.store.objects import ObjectSlot
from howfar.store.record import ARRAYS, RECORD, SUM, DamagedError, Record
from howfar.store.records import Store
from howfar.store.seal import unsealed
from howfar.store.writing import write_bytes
from howfar.unfinished import atomic_write

LEASES = ".leases"


class RemoteStore(Store):
    """Records under a URL."""

    def __init__(self, url: str, *, reading: bool = False) -> None:
        """Open the store; its cache is in ``$HOWFAR_DATA/stores`` or ``~/.cache/howfar/stores``.

        Args:
            url: of the store.
            reading: open read-only; without an existing cache, a temporary one is used.

        Raises:
            HowfarError: if it cannot be written.
        """
        from fsspec.core import url_to_fs

        base = Path(os.environ.get("HOWFAR_DATA") or Path.home() / ".cache" / "howfar").expanduser()
        name = re.sub(r"[^A-Za-z0-9.-]+", "-", url.partition("://")[2]).strip("-")
        copy = base / "stores" / f"{name[-60:]}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"
        if reading and not copy.is_dir():
            self._passing = TemporaryDirectory(prefix="howfar-")  # removed with this object
            copy = Path(self._passing.name)
        super().__init__(copy, reading=reading)
        self.place = url.rstrip("/")
        try:
            found = url_to_fs(self.place, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise UsageError(f"{url} cannot be opened ({error}).") from None
        self._files: Any = found[0]
        self._prefix = str(found[1]).rstrip("/")
        self._marked = False
        if reading:
            return
        if self._is_marked() or not self._names(""):
            self._mark()  # even if it is marked, to check that it can be written
        else:
            self._probe()

    def steps(self) -> list[str]:
        """Return the kinds of steps that have records."""
        return [name for name in self._names("") if not name.startswith(".") and self.keys(name)]

    def keys(self, step: str) -> list[str]:
        """Return the keys of a step, including unreadable records; other names are ignored."""
        return [name for name in self._names(step) if is_key(name)]

    def owns(self, step: str, key: str) -> bool:
        """Return whether a record was written by this store, intact or damaged."""
        return is_key(key) and is_own(step, (), self._head(step, key))

    def find(self, step: str, key: str) -> Record | None:
        """Return the record, or None if there is none; finished records are fetched once.

        Raises:
            DamagedError: if it is damaged.
        """
        mine = super().find(step, key)
        if mine is not None and mine.status == "done":
            return mine
        raw = self._read(f"{step}/{key}/{RECORD}")
        if raw is None:
            return None
        self._copy(step, key, raw)
        return super().find(step, key)

    def records(self, step: str, *, damaged: bool = False) -> list[Record]:
        """Return all records of a step, sorted by key; missing ones are fetched together."""
        names = set(self.keys(step))
        done = {record.key for record in super().records(step, damaged=True) if record.status == "done"}
        paths = {f"{self._prefix}/{step}/{name}/{RECORD}": name for name in sorted(names - done)}
        with self._reaching():
            fetched = self._files.cat(list(paths), on_error="omit") if paths else {}
        if isinstance(fetched, bytes):  # for a single path, some back ends return the content itself
            fetched = dict.fromkeys(paths, fetched)
        for path, raw in fetched.items():
            self._copy(step, path.split("/")[-2], raw)
        return [record for record in super().records(step, damaged=damaged) if record.key in names]

    def has_arrays(self, step: str, key: str) -> bool:
        """Return whether the arrays of a step exist."""
        if super().has_arrays(step, key):
            return True
        name = self._arrays_of(step, key)
        with self._reaching():
            return name is not None and bool(self._files.exists(name))

    def arrays(self, step: str, key: str) -> dict[str, Tensor]:
        """Return the arrays of a finished step, memory-mapped from the cache."""
        name, final = self._arrays_of(step, key), self.root / step / key / ARRAYS
        if not final.is_file() and name is not None:
            with self._reaching(), atomic_write(final, aside=final.parent.parent) as draft:
                self._files.get_file(name, str(draft))
        return super().arrays(step, key)

    def _save(self, record: Record, arrays: Mapping[str, Tensor] | None) -> Record:
        """Write a record, replacing one that failed; a finished one is not changed."""
        record = super()._save(record, arrays)
        step, key = record.step, record.key
        folder, mine = f"{self._prefix}/{step}/{key}", self.root / step / key
        with self._reaching():
            name = self._arrays_of(step, key)
            if super().has_arrays(step, key) and name is not None and not self._files.exists(name):
                self._files.put_file(str(mine / ARRAYS), name)
            raw = (mine / RECORD).read_bytes()
            try:
                self._files.pipe_file(f"{folder}/{RECORD}", raw, mode="create")
            except FileExistsError:
                theirs = self._files.cat_file(f"{folder}/{RECORD}")
                if self._members(theirs, f"{folder}/{RECORD}")["status"] == "done":
                    self._copy(step, key, theirs)
                else:
                    self._files.pipe_file(f"{folder}/{RECORD}", raw)
        return record

    def slot(self, step: str, key: str) -> Slot:
        """Return the location of the lease of a step."""
        return ObjectSlot(self._files, f"{self._prefix}/{LEASES}/{step}/{key}")

    def leases(self) -> Iterator[tuple[Slot, Claim]]:
        """Yield all leases with their claims, by step and key."""
        with self._reaching():
            self._files.invalidate_cache()
            found = self._files.find(f"{self._prefix}/{LEASES}")
        for folder in sorted({path.rpartition("/")[0] for path in found}):
            slot = ObjectSlot(self._files, folder)
            claim = slot.read()
            if claim is not None:
                yield slot, claim

    def _head(self, step: str, key: str) -> bytes:
        with self._reaching():
            try:
                head: bytes = self._files.cat_file(f"{self._prefix}/{step}/{key}/{RECORD}", start=0, end=HEAD_BYTES)
            except FileNotFoundError:
                return b""
        return head

    def _is_marked(self) -> bool:
        if self._marked:
            return True
        with self._reaching():
            self._marked = bool(self._files.exists(f"{self._prefix}/{MARK}"))
        return self._marked

    def _mark(self) -> None:
        with self._reaching():
            self._files.pipe_file(f"{self._prefix}/{MARK}", TEXT.encode())
        self._marked = True

    def _probe(self) -> None:
        """Check that the place can be written, without marking it as a store."""
        probe = f"{self._prefix}/.probe"
        with self._reaching(), suppress(FileNotFoundError):  # another process may remove it first
            self._files.pipe_file(probe, b"")
            self._files.rm_file(probe)

    def _arrays_of(self, step: str, key: str) -> str | None:
        record = self.find(step, key)
        total = record.made.get(SUM) if record else None
        return f"{self._prefix}/{step}/{key}/arrays-{total[:20]}.safetensors" if total else None

    def _names(self, step: str) -> list[str]:
        folder = f"{self._prefix}/{step}".rstrip("/")
        with self._reaching():
            self._files.invalidate_cache()
            try:
                return sorted(path.rstrip("/").rpartition("/")[2] for path in self._files.ls(folder, detail=False))
            except FileNotFoundError:
                return []

    def _read(self, name: str) -> bytes | None:
        with self._reaching():
            try:
                raw: bytes = self._files.cat_file(f"{self._prefix}/{name}")
            except FileNotFoundError:
                return None
        return raw

    def _copy(self, step: str, key: str, raw: bytes) -> None:
        """Cache a record; cached arrays of another record of the same step are removed."""
        members = self._members(raw, f"{self.place}/{step}/{key}/{RECORD}")
        folder = self.root / step / key
        mine = super().find(step, key)
        if mine is not None and mine.made.get(SUM) != members["made"].get(SUM):
            (folder / ARRAYS).unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / RECORD, raw, aside=folder.parent)

    @staticmethod
    def _members(raw: bytes, where: str) -> dict[str, Any]:
        try:
            members: dict[str, Any] = json.loads(unsealed(raw))
            return {name: members[name] for name in ("status", "made")}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DamagedError(where, error) from None

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (HowfarError, FileNotFoundError, FileExistsError):
            raise
        except Exception as error:  # back ends raise different errors
            raise HowfarError(
                f"{self.place} cannot be reached or written ({error}). Check address and permissions."
            ) from None
