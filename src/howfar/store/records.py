"""Content-addressed records of finished steps: the key is the hash of the complete specification.

``runs/<step>/<key>/`` holds ``record.json`` and, if there are arrays, ``arrays.safetensors``. A folder is written under
a temporary name, flushed and renamed, so that its files are always complete. No pickle is written or read. A small file
marks the folder as a store; folders without this mark and without valid records are not modified.
"""

import contextlib
import copy
import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from howfar.arrays import canonical
from howfar.errors import HowfarError
from howfar.store.index import Index, Short, shortened, stamp
from howfar.store.mark import HEAD_BYTES, MARK, TEXT, is_key, is_own, place_of
from howfar.store.record import ARRAYS, RECORD, SUM, DamagedError, Record, read_record, text_of
from howfar.store.seal import sha256
from howfar.store.workplace import Workplace
from howfar.store.writing import flush, write_bytes, write_text
from howfar.unfinished import remove, temporary


class Store(Workplace):
    """A store in a folder.

    Attributes:
        root: the folder, which also holds other files of a run.
        place: argument of ``open_store`` for the same store, also on other machines.
        index: of the records.
    """

    place: str

    def __init__(self, root: Path | str, *, reading: bool = False) -> None:
        """Open the store in the folder ``root``, and create it if necessary.

        A new or empty folder is marked as a store at once, others with the first record.

        Args:
            root: the folder.
            reading: open read-only; the folder need not exist.

        Raises:
            HowfarError: if the folder cannot be written.
        """
        self.root = Path(root)
        self.place = str(self.root)
        self.index = Index(self.root, reading=reading)
        self._keeps = not reading
        if reading:
            return
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            empty = next(self.root.iterdir(), None) is None
            probe = self.root / temporary("probe")
            probe.touch()
            probe.unlink()
            if empty:
                Store._mark(self)
        except OSError as error:
            raise HowfarError(
                f"cannot write to {self.root} ({error.strerror}). Choose another folder with --runs."
            ) from None

    def __repr__(self) -> str:
        """Return the place and the numbers of records."""
        counts = ", ".join(f"{len(self.keys(step))} {step}" for step in self.steps())
        return f"{type(self).__name__}({self.place}: {counts or 'empty'})"

    @property
    def recognized(self) -> bool:
        """Whether this is a store: it has a mark, or, as older versions wrote none, a record in its own place."""
        places = ((step, key) for step in self.steps() for key in self.keys(step))
        return self._is_marked() or any(place_of(self._head(*place)) == place for place in places)

    def follower(self) -> "Store":
        """Return the same store for a follower process, which writes nothing."""
        other = copy.copy(self)
        other._keeps = False
        return other

    def steps(self) -> list[str]:
        """Return the kinds of steps that have records."""
        return [path.name for path in self._folders() if self.keys(path.name)]

    def keys(self, step: str) -> list[str]:
        """Return the keys of a step, including unreadable records; other names are ignored."""
        folder = self.root / step
        if not folder.is_dir():
            return []
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if is_key(entry.name) and entry.is_dir())

    def owns(self, step: str, key: str) -> bool:
        """Return whether a folder was created by this store, so that it may be checked and removed."""
        folder = self.root / step / key
        return (
            is_key(key)
            and folder.is_dir()
            and is_own(step, [path.name for path in folder.iterdir()], self._head(step, key))
        )

    @staticmethod
    def key(step: str, spec: Mapping[str, Any]) -> str:
        """Return the key of a step: 20 hexadecimal digits of the SHA-256 of its canonical JSON."""
        return hashlib.sha256(canonical([step, spec]).encode()).hexdigest()[:20]

    def find(self, step: str, key: str) -> Record | None:
        """Return the record, or None if there is none.

        Raises:
            HowfarError: if the record is damaged.
        """
        members = read_record(f"{self.root}/{step}/{key}/{RECORD}")
        return None if members is None else Record(**members)

    def done(self, step: str, key: str) -> bool:
        """Return whether the step is finished and did not fail; damaged records count as missing."""
        try:
            record = self.find(step, key)
        except DamagedError:
            return False
        return record is not None and record.status == "done"

    def records(self, step: str, *, damaged: bool = False) -> list[Record]:
        """Return all records of a step, sorted by key; long parts of results are read on access.

        Args:
            step: name of the step.
            damaged: skip damaged records.

        Raises:
            HowfarError: if a record is damaged, unless they are skipped.
        """
        folder, names = self.root / step, Store.keys(self, step)
        known = self.index.known(step) if names else {}
        fresh: dict[str, tuple[str, dict[str, Any]]] = {}
        found, changed = [], False
        for name in names:
            try:
                now, settled = stamp(folder / name / RECORD)
            except FileNotFoundError:
                continue
            then, short = known.get(name, ("", {}))
            if then != now:
                try:
                    members = read_record(f"{folder}/{name}/{RECORD}")
                except DamagedError:
                    if not damaged:
                        raise
                    members = None
                if members is None:
                    continue
                short, changed = shortened(members), changed or bool(then)
                if settled:
                    fresh[name] = now, short
            found.append(self._short(step, name, dict(short)))
        self.index.learn(step, fresh, changed)
        return found

    def _short(self, step: str, key: str, short: dict[str, Any]) -> Record:
        def read() -> Mapping[str, Any]:
            record = self.find(step, key)
            if record is None:
                raise DamagedError(self.root / step / key / RECORD, "it was removed meanwhile")
            return record.result

        left_out = short.pop("left_out")
        return Record(**{**short, "result": Short(short["result"], left_out, read)} if left_out else short)

    def has_arrays(self, step: str, key: str) -> bool:
        """Return whether the arrays of a step exist; tables need only records."""
        return (self.root / step / key / ARRAYS).is_file()

    def complete(self, step: str, key: str) -> bool:
        """Return whether the step is finished and its arrays exist, for steps that depend on them."""
        return self.done(step, key) and self.has_arrays(step, key)

    def arrays(self, step: str, key: str) -> dict[str, Tensor]:
        """Return the arrays of a finished step, memory-mapped."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.root / step / key / ARRAYS
        record = self.find(step, key)
        try:
            written = record.made.get(SUM) if record else None  # missing in records of older versions
            if written is not None and written != sha256(path):
                raise ValueError("its content does not match its digest")
            return load_file(path)
        except (OSError, ValueError, SafetensorError) as error:
            raise DamagedError(path, error) from None

    def save(self, record: Record, arrays: Mapping[str, Tensor] | None = None) -> Record:
        """Write a record, replacing one that failed or lost its arrays; a finished one is not changed.

        Raises:
            HowfarError: if the disk is full or cannot be written; no partial files are left.
        """
        if not self._keeps:
            return record
        if not self._is_marked():
            self._mark()
        return self._save(record, arrays)

    def leave(self, name: str, content: str | bytes) -> None:
        """Write a file next to the records, such as a page. A symbolic link is replaced, never followed.

        Raises:
            HowfarError: if the disk is full or cannot be written.
        """
        write_bytes(self.root / name, content.encode() if isinstance(content, str) else content, follow=False)

    def _save(self, record: Record, arrays: Mapping[str, Tensor] | None) -> Record:
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        final = self.root / record.step / record.key
        draft = final.parent / temporary(record.key)
        try:
            draft.mkdir(parents=True)
            if arrays:
                save_file({name: array.contiguous() for name, array in arrays.items()}, draft / ARRAYS)
                flush(draft / ARRAYS)
                record = replace(record, made={**record.made, SUM: sha256(draft / ARRAYS)})
            write_text(draft / RECORD, text_of(record))
            flush(draft)
            self._publish(draft, final)
        except (OSError, SafetensorError) as error:
            raise HowfarError(f"could not write {final} ({error}). Free some space or choose another --runs.") from None
        finally:
            remove(draft)
        return record

    def _head(self, step: str, key: str) -> bytes:
        """Return the first bytes of a record; empty if there is none."""
        try:
            with (self.root / step / key / RECORD).open("rb") as file:
                return file.read(HEAD_BYTES)
        except OSError:
            return b""

    def _is_marked(self) -> bool:
        return (self.root / MARK).is_file()

    def _mark(self) -> None:
        self.leave(MARK, TEXT)

    def _publish(self, draft: Path, final: Path) -> None:
        if final.exists():
            if self.done(final.parent.name, final.name) and (final / ARRAYS).exists() >= (draft / ARRAYS).exists():
                return
            old = draft.with_suffix(".old.tmp")
            final.rename(old)
            draft.rename(final)
            remove(old)
        else:
            with contextlib.suppress(FileExistsError):  # another process finished the same step
                draft.rename(final)
        flush(final.parent)
