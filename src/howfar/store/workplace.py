"""Leases, drafts and temporary files of the processes that use a store."""

from collections.abc import Iterator
from pathlib import Path

from howfar.store.lease import Claim, FileSlot, Lease, Slot, is_left_aside
from howfar.unfinished import left_in, remove, temporary


class Workplace:
    """A folder in which processes, possibly on several machines, write records.

    Attributes:
        root: the folder.
    """

    root: Path

    def draft(self, step: str, key: str) -> Path:
        """Return the path for the state of a long step until its record is saved."""
        return self.root / step / f".{key}.draft"

    def claim(self, step: str, key: str, label: str) -> Lease | None:
        """Return the lease of a step; None if another process holds it."""
        return Lease.take(self.slot(step, key), Claim(step, key, label))

    def slot(self, step: str, key: str) -> Slot:
        """Return the location of the lease of a step."""
        return FileSlot(self.root / step / f".{key}.lease")

    def claims(self) -> list[Claim]:
        """Return the claims on running steps, by step and key."""
        return [claim for _, claim in self.leases()]

    def leases(self) -> Iterator[tuple[Slot, Claim]]:
        """Yield all leases with their claims, by step and key."""
        for path in sorted(self.root.glob("*/.*.lease")):
            slot = FileSlot(path)
            claim = slot.read()
            if claim is not None:
                yield slot, claim

    def scratch(self) -> Path:
        """Return a temporary path for this process; swept later if it is killed."""
        return self.root / temporary("scratch")

    def sweep(self) -> None:
        """Remove temporary files and leases of dead processes of this machine."""
        for slot, claim in self.leases():
            if claim.orphaned:
                slot.break_(claim)
        for draft in self.abandoned():
            remove(draft)

    def abandoned(self) -> Iterator[Path]:
        """Yield temporary files and folders of dead processes of this machine."""
        for folder in (self.root, *self._folders()) if self.root.is_dir() else ():
            yield from left_in(folder)
            yield from (path for path in sorted(folder.glob(".*.lease.*.tmp")) if is_left_aside(path))

    def _folders(self) -> list[Path]:
        if not self.root.is_dir():  # opened for reading
            return []
        return sorted(path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))
