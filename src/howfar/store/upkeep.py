"""Maintenance of a store: check, clean, merge, compare."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from howfar.errors import HowfarError
from howfar.store.lease import FileSlot
from howfar.store.record import ARRAYS, RECORD, DamagedError, Record
from howfar.store.records import Store
from howfar.store.seal import has_seal
from howfar.unfinished import remove as remove_path

UNSEALED = "imported_without_seal"  # key in ``Record.made``
PASSING = "seconds"  # times in results, which vary from run to run
LATER = "correct"  # in results of victims; those of older versions lack it


@dataclass(frozen=True)
class Finding:
    """A finding of a check or clean-up.

    Attributes:
        path: of the file or folder.
        what: is wrong or left over.
        harm: whether results are wrong or lost; otherwise it only takes space.
        bytes: freed by removing it.
    """

    path: Path
    what: str
    harm: bool
    bytes: int = 0


def check(store: Store) -> Iterator[Finding]:
    """Read all records and arrays of a store, and yield findings."""
    for folder in _folders(store):
        step, key = folder.parent.name, folder.name
        try:
            record = store.find(step, key)
            if record is None:
                yield Finding(folder, "has no record", harm=True, bytes=_size(folder))
                continue
            if (record.step, record.key) != (step, key) or store.key(step, record.spec) != key:
                yield Finding(folder, "is in the place of another record", harm=True, bytes=_size(folder))
            if store.has_arrays(step, key):
                store.arrays(step, key)
        except DamagedError as error:
            yield Finding(folder, error.why, harm=True)
        else:
            if record.status == "failed":
                yield Finding(folder, f"failed: {record.result.get('error', '')}".strip(), harm=False)
            elif not has_seal(folder / RECORD):
                yield Finding(folder, "has no seal: it was written by an older version, or changed", harm=False)
            elif record.made.get(UNSEALED):
                yield Finding(folder, "was imported without a seal", harm=False)
            elif _lacks_its_set(store, record):
                yield Finding(folder, "its protected set has no record", harm=False)
    yield from left_over(store)


def left_over(store: Store, *, drafts: bool = False) -> Iterator[Finding]:
    """Yield the remains of dead runs: partial records, leases, and optionally drafts of protectors."""
    for path in store.abandoned():
        yield Finding(path, "half-written", harm=False, bytes=_size(path))
    for slot, claim in store.leases():
        if claim.orphaned and isinstance(slot, FileSlot):
            yield Finding(slot.path, "lease of a dead process", harm=False, bytes=_size(slot.path))
    for path in sorted(store.root.glob(f"*/.{'[0-9a-f]' * 20}.draft")) if drafts else ():
        if store.slot(path.parent.name, path.name[1:].partition(".")[0]).read() is None:
            yield Finding(path, "interrupted crafting, can be resumed", harm=False, bytes=_size(path))


def clean(
    store: Store, *, failed: bool = False, arrays: bool = False, damaged: bool = False, drafts: bool = False
) -> Iterator[Finding]:
    """Yield what can be removed; the caller removes it.

    Args:
        store: the store.
        failed: include records of failed steps, which run again anyway.
        arrays: include images, weights and surfaces; tables need only records.
        damaged: include damaged records, which run again.
        drafts: include drafts of interrupted protectors, which then start again.
    """
    yield from left_over(store, drafts=drafts)
    broken = {finding.path: finding for finding in check(store) if finding.harm} if damaged else {}
    yield from broken.values()
    for folder in _folders(store):
        if folder in broken:
            continue
        try:
            record = store.find(folder.parent.name, folder.name)
        except DamagedError:
            continue
        if failed and record is not None and record.status == "failed":
            yield Finding(folder, "failed", harm=False, bytes=_size(folder))
        elif arrays and (folder / ARRAYS).is_file():
            yield Finding(folder / ARRAYS, "arrays", harm=False, bytes=_size(folder / ARRAYS))


def remove(finding: Finding) -> None:
    """Remove the file or folder of a finding."""
    remove_path(finding.path)


def merge(store: Store, other: Store) -> list[Record]:
    """Import finished records of another store that are missing here, and return them.

    Records without a seal are marked permanently (``UNSEALED``), since writing them adds a seal. Either all or none are
    imported.

    Raises:
        HowfarError: if both hold the same step with different results.
    """
    fresh = []
    for step in other.steps():
        if not any(other.owns(step, key) for key in other.keys(step)):  # copied there by the user
            continue
        for record in other.records(step):
            mine = store.find(step, record.key)
            if mine is not None and mine.status == record.status == "done" and differs(mine.result, record.result):
                raise HowfarError(
                    f"{store.place}/{step}/{record.key} and {other.place}/{step}/{record.key} hold the same step with "
                    "different results. Find out which is right (howfar compare) and delete the other."
                )
            lacks = mine is None or mine.status != "done"
            if record.status == "done" and (
                lacks or other.has_arrays(step, record.key) > store.has_arrays(step, record.key)
            ):
                sealed = has_seal(other.root / step / record.key / RECORD)
                fresh.append(record if sealed else replace(record, made={**record.made, UNSEALED: True}))
    for record in fresh:
        held = other.has_arrays(record.step, record.key)
        store.save(record, other.arrays(record.step, record.key) if held else None)
    return fresh


def differences(one: Store, other: Store, step: str = "victim") -> Iterator[tuple[Record | None, Record | None]]:
    """Yield pairs of records of a step that are in only one of two stores, or have different results, by key."""
    mine = {record.key: record for record in one.records(step)}
    theirs = {record.key: record for record in other.records(step)}
    for key in sorted(mine | theirs):
        a, b = mine.get(key), theirs.get(key)
        if a is None or b is None or a.status != b.status or differs(a.result, b.result):
            yield a, b


def differs(one: Any, other: Any) -> bool:
    """Return whether two results differ, ignoring durations and what only one version of howfar records."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        names = (set(one) | set(other)) - {PASSING} - ({LATER} - (set(one) & set(other)))
        return any(name not in one or name not in other or differs(one[name], other[name]) for name in names)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) != len(other) or any(differs(a, b) for a, b in zip(one, other, strict=True))
    return bool(one != other)


def _lacks_its_set(store: Store, record: Record) -> bool:
    """Return whether the protected set of a victim is missing."""
    names = ("dataset", "source_task", "protector", "seed")
    if record.step not in ("victim", "ablation", "trajectory") or not all(name in record.spec for name in names):
        return False
    return store.find("protect", store.key("protect", {name: record.spec[name] for name in names})) is None


def _folders(store: Store) -> Iterator[Path]:
    """Yield the folders of all records created by the store."""
    for step in store.steps():
        yield from (store.root / step / key for key in store.keys(step) if store.owns(step, key))


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
