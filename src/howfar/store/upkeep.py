"""Look after a store: check it, clear it up, take in another one, tell what differs."""

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

UNSEALED = "imported_without_seal"  # in what a record says about its making
PASSING = "seconds"  # times in results differ from run to run


@dataclass(frozen=True)
class Finding:
    """Something about a store that its owner should know.

    Attributes:
        path: what it is about.
        what: is wrong, or is left over.
        harm: whether numbers of the store are wrong or lost; else it only takes room.
        bytes: that removing it frees.
    """

    path: Path
    what: str
    harm: bool
    bytes: int = 0


def check(store: Store) -> Iterator[Finding]:
    """Read every record and all arrays of a store, and yield what is wrong or left over."""
    for folder in _folders(store):
        step, key = folder.parent.name, folder.name
        try:
            record = store.find(step, key)
            if record is None:
                yield Finding(folder, "has no record", harm=True, bytes=_size(folder))
                continue
            if (record.step, record.key) != (step, key) or store.key(step, record.spec) != key:
                yield Finding(folder, "lies where another record belongs", harm=True, bytes=_size(folder))
            if store.has_arrays(step, key):
                store.arrays(step, key)
        except DamagedError as error:
            yield Finding(folder, error.why, harm=True)
        else:
            if record.status == "failed":
                yield Finding(folder, f"failed: {record.result.get('error', '')}".strip(), harm=False)
            elif not has_seal(folder / RECORD):
                yield Finding(folder, "has no seal: an older version wrote it, or somebody changed it", harm=False)
            elif record.made.get(UNSEALED):
                yield Finding(folder, "was imported without a seal", harm=False)
            elif _lacks_its_set(store, record):
                yield Finding(folder, "its protected set has no record", harm=False)
    yield from left_over(store)


def left_over(store: Store, *, drafts: bool = False) -> Iterator[Finding]:
    """Yield what dead runs have left behind: half-written records, leases, and the state of crafting if wanted."""
    for path in store.abandoned():
        yield Finding(path, "half-written", harm=False, bytes=_size(path))
    for slot, claim in store.leases():
        if claim.orphaned and isinstance(slot, FileSlot):
            yield Finding(slot.path, "lease of a dead process", harm=False, bytes=_size(slot.path))
    for path in sorted(store.root.glob(f"*/.{'[0-9a-f]' * 20}.draft")) if drafts else ():
        if store.slot(path.parent.name, path.name[1:].partition(".")[0]).read() is None:
            yield Finding(path, "interrupted crafting, could go on", harm=False, bytes=_size(path))


def clean(
    store: Store, *, failed: bool = False, arrays: bool = False, damaged: bool = False, drafts: bool = False
) -> Iterator[Finding]:
    """Yield what can go; the caller removes it.

    Args:
        store: to clear up.
        failed: records of failures too; they run again anyway.
        arrays: images, weights and surfaces too; records are enough for all tables.
        damaged: what cannot be read too; it runs again.
        drafts: the state of interrupted crafting too; it begins anew then.
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
    """Remove what a finding is about."""
    remove_path(finding.path)


def merge(store: Store, other: Store) -> list[Record]:
    """Take in the finished records of another store that this one lacks, and return them.

    Those without a seal are marked for good (``UNSEALED``), since writing them seals them.

    Nothing is taken unless all can be.

    Raises:
        HowfarError: if both hold the same step with different results.
    """
    fresh = []
    for step in other.steps():
        if not any(other.owns(step, key) for key in other.keys(step)):  # a copy that somebody laid there
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
    """Yield the records of a step that only one of two stores holds, or with different results, as pairs by key."""
    mine = {record.key: record for record in one.records(step)}
    theirs = {record.key: record for record in other.records(step)}
    for key in sorted(mine | theirs):
        a, b = mine.get(key), theirs.get(key)
        if a is None or b is None or a.status != b.status or differs(a.result, b.result):
            yield a, b


def differs(one: Any, other: Any) -> bool:
    """Return whether two results differ in more than the time they took."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        names = (set(one) | set(other)) - {PASSING}
        return any(name not in one or name not in other or differs(one[name], other[name]) for name in names)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) != len(other) or any(differs(a, b) for a, b in zip(one, other, strict=True))
    return bool(one != other)


def _lacks_its_set(store: Store, record: Record) -> bool:
    """Return whether a victim stands alone: what it learned from cannot be shown."""
    names = ("dataset", "source_task", "protector", "seed")
    if record.step not in ("victim", "ablation", "trajectory") or not all(name in record.spec for name in names):
        return False
    return store.find("protect", store.key("protect", {name: record.spec[name] for name in names})) is None


def _folders(store: Store) -> Iterator[Path]:
    """Yield the folder of every step that is finished, and of nothing that the store did not make."""
    for step in store.steps():
        yield from (store.root / step / key for key in store.keys(step) if store.owns(step, key))


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
