"""Who is at work in a store, what they keep until their record is saved, and what killed processes left of it."""

from collections.abc import Iterator
from pathlib import Path

from howfar.store.lease import Claim, FileSlot, Lease, Slot, is_left_aside
from howfar.unfinished import left_in, remove, temporary


class Workplace:
    """A folder in which processes, on several machines perhaps, make records.

    Attributes:
        root: the folder.
    """

    root: Path

    def draft(self, step: str, key: str) -> Path:
        """Return where long work may keep its state until its record is saved."""
        return self.root / step / f".{key}.draft"

    def claim(self, step: str, key: str, label: str) -> Lease | None:
        """Return the right to do a step; None while somebody else has it, on this machine or another."""
        return Lease.take(self.slot(step, key), Claim(step, key, label))

    def slot(self, step: str, key: str) -> Slot:
        """Return where it says who is at work on a step."""
        return FileSlot(self.root / step / f".{key}.lease")

    def claims(self) -> list[Claim]:
        """Return who is at work on what, by step and key."""
        return [claim for _, claim in self.leases()]

    def leases(self) -> Iterator[tuple[Slot, Claim]]:
        """Yield every lease and what it says, by step and key."""
        for path in sorted(self.root.glob("*/.*.lease")):
            slot = FileSlot(path)
            claim = slot.read()
            if claim is not None:
                yield slot, claim

    def scratch(self) -> Path:
        """Return where this process may keep what it needs while it runs; swept later if it is killed."""
        return self.root / temporary("scratch")

    def sweep(self) -> None:
        """Remove the drafts and leases that dead processes of this machine left behind."""
        for slot, claim in self.leases():
            if claim.orphaned:
                slot.break_(claim)
        for draft in self.abandoned():
            remove(draft)

    def abandoned(self) -> Iterator[Path]:
        """Yield the half-written files and folders that dead processes of this machine left behind."""
        for folder in (self.root, *self._folders()) if self.root.is_dir() else ():
            yield from left_in(folder)
            yield from (path for path in sorted(folder.glob(".*.lease.*.tmp")) if is_left_aside(path))

    def _folders(self) -> list[Path]:
        if not self.root.is_dir():  # opened for reading
            return []
        return sorted(path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))
