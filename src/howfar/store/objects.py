"""Leases as numbered objects in a bucket, where objects cannot be renamed but can be created exclusively."""

from typing import Any

from howfar.store.lease import Claim, Slot


class ObjectSlot(Slot):
    """Numbered objects: the highest one holds the claim; an empty one means that the step is free."""

    def __init__(self, files: Any, folder: str) -> None:
        self._files, self._folder, self._own = files, folder, 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectSlot) and other._folder == self._folder

    def __hash__(self) -> int:
        return hash(self._folder)

    def read(self) -> Claim | None:
        """Return the claim of the holder; None if the step is free."""
        return self._at(self._numbers())

    def take(self, claim: Claim) -> bool:
        """Create the lease if the step is free; returns whether it was."""
        numbers = self._numbers()
        if self._at(numbers) is not None:
            return False
        self._own = max(numbers, default=0) + 1
        return self._create(self._own, claim.text.encode())

    def renew(self, claim: Claim) -> None:
        """Rewrite the lease, as its holder."""
        self._files.pipe_file(self._path(self._own), claim.text.encode())

    def give_back(self, claim: Claim) -> None:
        """Remove the lease, as its holder, and older objects; the highest last."""
        for number in self._numbers():
            if number <= self._own:
                self._files.rm_file(self._path(number))

    def break_(self, claim: Claim) -> bool:
        """Create an empty object above a stale lease; returns whether it was still the given one."""
        numbers = self._numbers()
        found = self._at(numbers)
        return found is not None and found.token == claim.token and self._create(max(numbers) + 1, b"")

    def _numbers(self) -> list[int]:
        self._files.invalidate_cache()
        try:
            names = [path.rpartition("/")[2] for path in self._files.ls(self._folder, detail=False)]
        except FileNotFoundError:
            return []
        return sorted(int(name) for name in names if name.isdigit())

    def _at(self, numbers: list[int]) -> Claim | None:
        try:
            raw: bytes = self._files.cat_file(self._path(max(numbers))) if numbers else b""
        except FileNotFoundError:
            return None
        return Claim.parse(raw) if raw else None

    def _create(self, number: int, content: bytes) -> bool:
        try:
            self._files.pipe_file(self._path(number), content, mode="create")
        except FileExistsError:
            return False
        return True

    def _path(self, number: int) -> str:
        return f"{self._folder}/{number:06d}"
