"""Leases: exclusive rights to a step, across all processes and machines that share a store.

A lease is a small file (in a bucket: an object) that its holder renews every few seconds. It is stale if its holder is
known to be dead, or if a monitor has observed it *unchanged* for long enough by its own clock: clocks of different
machines are never compared, so a clock that jumps does not invalidate leases.
"""

import contextlib
import json
import math
import os
import re
import socket
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from howfar.unfinished import atomic_write, is_gone, temporary, this_process

SECONDS = 30.0  # a lease that was not renewed for this long is stale
BEATS = 6  # renewals within that time
ASIDE = re.compile(r"(?P<lease>\..+\.lease)\.[0-9a-f]{16,32}\.tmp")  # temporary name of older versions

KINDS: Mapping[Any, tuple[type, ...]] = {str: (str,), int: (int,), float: (int, float)}  # JSON types of the fields


@dataclass(frozen=True)
class Claim:
    """The content of a lease.

    Attributes:
        step: kind of step.
        key: of the step.
        label: of the step.
        host: machine of the holder.
        pid: process id of the holder.
        token: unique per lease.
        beat: number of renewals.
        started: seconds since 1970 by the holder's clock, for display only.
        share: progress, 0 to 1.
        note: text for progress displays.
        process: identifies the process among others with the same id, here or on a machine with the same name.
    """

    step: str
    key: str
    label: str
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    beat: int = 0
    started: float = field(default_factory=time.time)
    share: float = 0.0
    note: str = ""
    process: str = field(default_factory=this_process)

    @property
    def orphaned(self) -> bool:
        """Whether the holder was a process of this machine and has ended."""
        return self.host == socket.gethostname() and is_gone(self.pid, self.process)

    @property
    def is_sound(self) -> bool:
        """Whether all fields have valid types and values."""
        kinds = all(isinstance(getattr(self, part.name), KINDS[part.type]) for part in fields(self))
        return kinds and 0 <= self.pid < 2**31 and math.isfinite(self.share) and math.isfinite(self.started)

    @classmethod
    def parse(cls, text: str | bytes) -> "Claim":
        """Return the content of a lease; a claim without a holder if it is being written or damaged."""
        try:
            claim = cls(**{"process": "", **json.loads(text)})  # older versions lack the process
            if not claim.is_sound:
                raise ValueError("a field is invalid")
            return claim
        except (ValueError, TypeError, RecursionError):
            return cls("", "", "unreadable", host="", pid=0, token="", started=0.0, process="")

    @property
    def text(self) -> str:
        """The text of the lease."""
        return json.dumps(asdict(self))


class Slot(ABC):
    """The location of the lease of one step."""

    @abstractmethod
    def read(self) -> Claim | None:
        """Return the claim of the holder; None if the step is free."""

    @abstractmethod
    def take(self, claim: Claim) -> bool:
        """Create the lease if the step is free; returns whether it was."""

    @abstractmethod
    def renew(self, claim: Claim) -> None:
        """Rewrite the lease, as its holder."""

    @abstractmethod
    def give_back(self, claim: Claim) -> None:
        """Remove the lease, as its holder."""

    @abstractmethod
    def break_(self, claim: Claim) -> bool:
        """Remove a stale lease; returns whether it was still the given one."""


@dataclass(frozen=True)
class FileSlot(Slot):
    """A file in a folder that all processes can write."""

    path: Path

    def read(self) -> Claim | None:
        """Return the claim of the holder; None if the step is free."""
        try:
            return Claim.parse(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError:
            return Claim.parse("")

    def take(self, claim: Claim) -> bool:
        """Create the lease if the step is free; returns whether it was."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self.path.open("x", encoding="utf-8") as file:
                file.write(claim.text)
        except FileExistsError:
            return False
        return True

    def renew(self, claim: Claim) -> None:
        """Rewrite the lease, as its holder."""
        with atomic_write(self.path, aside=self.path.parent) as draft:
            draft.write_text(claim.text, encoding="utf-8")

    def give_back(self, claim: Claim) -> None:
        """Remove the lease, as its holder."""
        self.path.unlink(missing_ok=True)

    def break_(self, claim: Claim) -> bool:
        """Remove a stale lease; returns whether it was still the given one."""
        aside = FileSlot(self.path.with_name(temporary(self.path.name)))
        try:
            self.path.rename(aside.path)  # succeeds for only one of several processes
        except FileNotFoundError:
            return False
        found = aside.read()
        mine = found is None or found.token == claim.token
        if not mine and found is not None:
            self.take(found)  # it belongs to a new holder: restore it
        aside.path.unlink(missing_ok=True)
        return mine


def is_left_aside(path: Path) -> bool:
    """Return whether the file was left by an older version that was killed while it rewrote or broke a lease."""
    found = ASIDE.fullmatch(path.name)
    if found is None:
        return False
    claim = FileSlot(path).read()
    return not path.with_name(found["lease"]).exists() or (claim is not None and claim.orphaned)


class Lease:
    """The exclusive right to run a step, renewed by a thread until it is released."""

    def __init__(self, slot: Slot, claim: Claim) -> None:
        self.slot, self.claim = slot, claim
        self.lost = False
        self._over, self._writing = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._keep, daemon=True, name="lease")

    @classmethod
    def take(cls, slot: Slot, claim: Claim) -> "Lease | None":
        """Return the lease of a step; None if another process holds it."""
        if not slot.take(claim):
            return None
        lease = cls(slot, claim)
        lease._thread.start()
        return lease

    def report(self, share: float, note: str) -> None:
        """Set the progress, written with the next renewal."""
        self.claim = replace(self.claim, share=share, note=note)

    def give_back(self) -> None:
        """Release the step."""
        self._over.set()
        with self._writing:
            if self._mine():
                self.slot.give_back(self.claim)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()

    def _mine(self) -> bool:
        found = self.slot.read()
        return found is not None and found.token == self.claim.token

    def _keep(self) -> None:
        while not self._over.wait(SECONDS / BEATS):
            with self._writing, contextlib.suppress(OSError):  # a full disk must not stop the step, only the lease
                if self._over.is_set():
                    return
                self.lost = not self._mine()
                if self.lost:
                    return
                self.claim = replace(self.claim, beat=self.claim.beat + 1)
                self.slot.renew(self.claim)


class LeaseMonitor:
    """Monitors the leases of other processes for staleness."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._observed: dict[Slot, tuple[str, int, float]] = {}

    def stale(self, slot: Slot) -> Claim | None:
        """Return the claim of a stale lease; None if it is not stale or does not exist."""
        claim = slot.read()
        if claim is None:
            self._observed.pop(slot, None)
            return None
        token, beat, since = self._observed.get(slot, ("", -1, 0.0))
        if (token, beat) != (claim.token, claim.beat):
            self._observed[slot] = (claim.token, claim.beat, time.monotonic())
            since = time.monotonic()
        return claim if claim.orphaned or time.monotonic() - since > self.seconds else None

    def frees(self, slot: Slot) -> bool:
        """Return whether a step is free, after breaking its lease if that is stale."""
        stale = self.stale(slot)
        return slot.break_(stale) if stale else slot.read() is None
