"""The store: records and arrays of finished steps under content hashes, and leases on running steps."""

from howfar.store.archive import finished, packed
from howfar.store.index import Index
from howfar.store.lease import Claim, Lease, LeaseMonitor, Slot
from howfar.store.mark import MARK
from howfar.store.opening import absolute, is_url, obstacle, open_store
from howfar.store.record import DamagedError, Record
from howfar.store.records import Store
from howfar.store.upkeep import UNSEALED, Finding, check, clean, differences, merge, remove
from howfar.store.writing import save_text, write_bytes, write_text

__all__ = [
    "MARK", "UNSEALED", "Claim", "DamagedError", "Finding", "Index", "Lease", "LeaseMonitor", "Record", "Slot", "Store",
    "absolute", "check", "clean", "differences", "finished", "is_url", "merge", "obstacle", "open_store", "packed",
    "remove", "save_text", "write_bytes", "write_text",
]  # fmt: skip
