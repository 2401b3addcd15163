"""A packed store: its finished records without arrays in one file, enough for every table.

The file is JSON lines, compressed with xz. Its first line holds the name and version of the format, the number of
records and the SHA-256 of all following lines. Each of these is the sealed text of a record, sorted by step and key.
The same records give the same bytes.
"""

import hashlib
import json
import lzma
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from howfar.errors import HowfarError, UsageError
from howfar.store.mark import MARK, TEXT, is_key
from howfar.store.record import RECORD, Record, members_of, text_of
from howfar.store.records import Store
from howfar.store.seal import SEAL, has_seal
from howfar.store.upkeep import UNSEALED

FORMAT, VERSION = "howfar-records", 1
MAGIC = b"\xfd7zXZ\0"  # first bytes of every xz file
LONGEST = 32 << 20  # maximum bytes of a line
LARGEST = 1 << 30  # maximum bytes of all lines
MEMORY = 128 << 20  # memory limit of decompression; files written here need 9 MiB
PART = 1 << 20  # bytes that are read and decompressed at a time
_STEP = re.compile(r"[a-z][a-z0-9_-]{0,39}")


def finished(store: Store, steps: Iterable[str]) -> Iterator[Record]:
    """Yield the finished records of some steps; those without a seal are marked permanently (``UNSEALED``).

    Raises:
        HowfarError: if a record is damaged or misplaced.
    """
    for step in sorted(steps):
        for key in store.keys(step):
            record = store.find(step, key) if store.owns(step, key) else None
            if record is None or record.status != "done":
                continue
            why = _misplaced(record.__dict__)
            if why:
                raise HowfarError(f"{store.place}/{step}/{key} cannot be packed: {why}. Remove it from the store.")
            is_sealed = has_seal(store.root / step / key / RECORD)
            yield record if is_sealed else replace(record, made={**record.made, UNSEALED: True})


def packed(records: Iterable[Record]) -> bytes:
    """Return the content of a file of these records.

    Raises:
        HowfarError: if it would exceed the limits for reading.
    """
    lines = [text_of(record).encode() for record in sorted(records, key=lambda record: (record.step, record.key))]
    if sum(map(len, lines)) > LARGEST or max(map(len, lines), default=0) > LONGEST:
        raise HowfarError(
            f"the records exceed {LARGEST >> 20} MiB, or one exceeds {LONGEST >> 20} MiB. Pack fewer steps."
        )
    body = b"".join(line + b"\n" for line in lines)
    about = {"format": FORMAT, "version": VERSION, "records": len(lines), "sha256": hashlib.sha256(body).hexdigest()}
    return lzma.compress(json.dumps(about).encode() + b"\n" + body)


class Archive(Store):
    """A packed store, unpacked into a temporary folder for the lifetime of this object; read-only."""

    def __init__(self, path: Path) -> None:
        """Unpack a file.

        Args:
            path: of the file; see ``packed``.

        Raises:
            UsageError: if the file has another format or version.
            HowfarError: if it is damaged, or unpacks to more than ``LARGEST`` bytes.
        """
        self._passing = TemporaryDirectory(prefix="howfar-")  # removed with this object
        super().__init__(self._passing.name, reading=True)
        self.place = str(path)
        self._listed: dict[str, list[Record]] = {}
        (self.root / MARK).write_text(TEXT, encoding="utf-8")
        try:
            for (step, key), line in _records(path):
                folder = self.root / step / key
                folder.mkdir(parents=True)
                (folder / RECORD).write_bytes(line)
        except (ValueError, EOFError, lzma.LZMAError, RecursionError) as error:
            raise HowfarError(f"{path} is damaged ({error}). Get it again, or pack its store again.") from None
        except OSError as error:
            raise HowfarError(
                f"{path} cannot be unpacked ({error.strerror}). Check its permissions and the disk."
            ) from None

    def records(self, step: str, *, damaged: bool = False) -> list[Record]:
        """Return all records of a step, sorted by key; cached, as they cannot change."""
        if step not in self._listed:
            self._listed[step] = super().records(step, damaged=damaged)
        return list(self._listed[step])


def _records(path: Path) -> Iterator[tuple[tuple[str, str], bytes]]:
    """Yield step, key and text of every validated record of a file; the digest is checked at the end.

    Raises:
        ValueError: if the file is damaged.
    """
    lines = _lines(path)
    about = _head(path, next(lines))
    total, count, last = hashlib.sha256(), 0, ("", "")
    for line in lines:
        total.update(line + b"\n")
        count += 1
        members = members_of(line)
        why = "it has no seal" if SEAL.encode() not in line else _misplaced(members)
        place = members["step"], members["key"]
        if why or place <= last:
            raise ValueError(f"record {count}: {why or 'it is out of order'}")
        yield place, line
        last = place
    if count != about["records"]:
        raise ValueError(f"it holds {count} records, not {about['records']}")
    if total.hexdigest() != about["sha256"]:
        raise ValueError("its content does not match its digest")


def _misplaced(members: dict[str, Any]) -> str:
    """Return why a record cannot be packed or unpacked; empty if it can."""
    if not _STEP.fullmatch(members["step"]):
        return "its step is not the name of a step"
    if not is_key(members["key"]):
        return "its key is invalid"
    if Store.key(members["step"], members["spec"]) != members["key"]:
        return "its key is not the hash of its spec"
    return "" if members["status"] == "done" else "it is not finished"


def _head(path: Path, line: bytes) -> dict[str, Any]:
    """Return number and digest of the records from the first line."""
    try:
        about = json.loads(line)
    except ValueError:
        about = None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise _foreign(path)
    if about.get("version") != VERSION:
        raise UsageError(f"{path} has version {str(about.get('version'))[:20]} of its format. Update howfar.")
    return {"records": about.get("records"), "sha256": about.get("sha256")}


def _foreign(path: Path) -> UsageError:
    return UsageError(f"{path} is not a packed store. Give a folder, a URL, or a file written by howfar store pack.")


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a compressed file without line ends.

    Raises:
        ValueError: if a line or the file exceeds the limits.
    """
    held, total = b"", 0
    for part in _parts(path):
        total += len(part)
        *whole, held = (held + part).split(b"\n")
        if total > LARGEST or max(map(len, (*whole, held))) > LONGEST:
            raise ValueError(f"it unpacks to more than {LARGEST >> 20} MiB, or {LONGEST >> 20} MiB per line")
        yield from whole
    if held or not total:
        raise ValueError("its end is missing")


def _parts(path: Path) -> Iterator[bytes]:
    """Yield the decompressed bytes of a file in small parts."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise _foreign(path)
        file.seek(0)
        unpacking = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY)
        while not unpacking.eof:
            raw = file.read(PART) if unpacking.needs_input else b""
            if unpacking.needs_input and not raw:
                raise EOFError("its end is missing")
            yield unpacking.decompress(raw, PART)
        if unpacking.unused_data or file.read(1):
            raise ValueError("something follows its end")
