"""Records that were checked before tables are drawn from them."""

from typing import Any

from howfar.store import DamagedError, Record, Store
from howfar.tables.schema import epochs_fault, fault


def sound_records(store: Store, step: str, *, whole: bool = True) -> list[Record]:
    """Return all records of a step, each of which holds what its step must.

    Args:
        store: where they are.
        step: name of the step.
        whole: whether what was measured in every epoch is read and checked as well.

    Raises:
        DamagedError: for one that does not, or that is not what was written.
    """
    found = store.records(step)
    for record in found:
        _refuse_unsound(store, record, whole=whole)
    return found


def sound_record(store: Store, step: str, key: str) -> Record | None:
    """Return the finished record of a step; None where the store holds none.

    Raises:
        DamagedError: if it lacks what its step must hold.
    """
    record = store.find(step, key)
    if record is None or record.status != "done":
        return None
    _refuse_unsound(store, record)
    return record


def _refuse_unsound(store: Store, record: Record, *, whole: bool = True) -> None:
    why = fault(record, whole=whole)
    if why:
        raise DamagedError(f"{store.place}/{record.step}/{record.key}/record.json", why)


def epochs_of(record: Record) -> list[dict[str, Any]]:
    """Return what was measured in every epoch of a victim.

    Raises:
        DamagedError: if it is not what it must be; tables that need none of it read records without this check.
    """
    why = epochs_fault(record.result)
    if why:
        raise DamagedError(f"{record.step}/{record.key}/record.json", why)
    found: list[dict[str, Any]] = record.result["epochs"]
    return found
