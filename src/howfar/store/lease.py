"""Who is at work on a step: one process at a time, on however many machines the store is shared by.

A lease is a small file (in a bucket: an object) that its holder rewrites every few seconds. It is stale once its
holder is known to be dead, or once an onlooker has seen it *unchanged* for long enough by a clock of its own: times of
different machines are never compared, so that a clock that jumps takes nobody's lease away.
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

from howfar.unfinished import is_gone, temporary, this_process, whole

SECONDS = 30.0  # unchanged for so long, a lease is stale
BEATS = 6  # a holder rewrites its lease so often in that time
ASIDE = re.compile(r"(?P<lease>\..+\.lease)\.[0-9a-f]{16,32}\.tmp")  # how older versions named a lease being rewritten

KINDS: Mapping[Any, tuple[type, ...]] = {str: (str,), int: (int,), float: (int, float)}  # of members as JSON has them


@dataclass(frozen=True)
class Claim:
    """What a lease says.

    Attributes:
        step: kind of work.
        key: of the step.
        label: the step's name.
        host: the holder's machine.
        pid: the holder's process there.
        token: one of a kind for every lease ever held.
        beat: counts the times it was renewed.
        started: seconds since 1970 by the holder's clock, to be shown, never compared.
        share: how much of the step is done, 0 to 1.
        note: what a person would like to read.
        process: tells the process from another one with its number, here or on a machine of the same name.
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
        """Whether the holder was a process of this machine and is gone."""
        return self.host == socket.gethostname() and is_gone(self.pid, self.process)

    @property
    def is_sound(self) -> bool:
        """Whether every member is of its kind, and every number one that can be."""
        kinds = all(isinstance(getattr(self, part.name), KINDS[part.type]) for part in fields(self))
        return kinds and 0 <= self.pid < 2**31 and math.isfinite(self.share) and math.isfinite(self.started)

    @classmethod
    def parse(cls, text: str | bytes) -> "Claim":
        """Return what a lease says; nobody's claim while it is being written, or if it is damaged."""
        try:
            claim = cls(**{"process": "", **json.loads(text)})  # older versions do not tell the process
            if not claim.is_sound:
                raise ValueError("a member is of another kind")
            return claim
        except (ValueError, TypeError, RecursionError):
            return cls("", "", "unreadable", host="", pid=0, token="", started=0.0, process="")

    @property
    def text(self) -> str:
        """What stands in the lease."""
        return json.dumps(asdict(self))


class Slot(ABC):
    """The place of the lease of one step."""

    @abstractmethod
    def read(self) -> Claim | None:
        """Return who holds the lease; None if nobody does."""

    @abstractmethod
    def take(self, claim: Claim) -> bool:
        """Write a lease where there is none; returns whether that was so."""

    @abstractmethod
    def renew(self, claim: Claim) -> None:
        """Write the lease anew, as its holder."""

    @abstractmethod
    def give_back(self, claim: Claim) -> None:
        """Remove the lease, as its holder."""

    @abstractmethod
    def break_(self, claim: Claim) -> bool:
        """Remove a stale lease; returns whether it was still the one that was seen to be stale."""


@dataclass(frozen=True)
class FileSlot(Slot):
    """A file in a folder that all who work on the store can write."""

    path: Path

    def read(self) -> Claim | None:
        """Return who holds the lease; None if nobody does."""
        try:
            return Claim.parse(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError:
            return Claim.parse("")

    def take(self, claim: Claim) -> bool:
        """Write a lease where there is none; returns whether that was so."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self.path.open("x", encoding="utf-8") as file:
                file.write(claim.text)
        except FileExistsError:
            return False
        return True

    def renew(self, claim: Claim) -> None:
        """Write the lease anew, as its holder."""
        with whole(self.path, aside=self.path.parent) as draft:
            draft.write_text(claim.text, encoding="utf-8")

    def give_back(self, claim: Claim) -> None:
        """Remove the lease, as its holder."""
        self.path.unlink(missing_ok=True)

    def break_(self, claim: Claim) -> bool:
        """Remove a stale lease; returns whether it was still the one that was seen to be stale."""
        aside = FileSlot(self.path.with_name(temporary(self.path.name)))
        try:
            self.path.rename(aside.path)  # of several who try, one succeeds
        except FileNotFoundError:
            return False
        found = aside.read()
        mine = found is None or found.token == claim.token
        if not mine and found is not None:
            self.take(found)  # a new holder was quicker: it gets its lease back
        aside.path.unlink(missing_ok=True)
        return mine


def is_left_aside(path: Path) -> bool:
    """Return whether an older version, killed while it rewrote or broke a lease, left this file."""
    found = ASIDE.fullmatch(path.name)
    if found is None:
        return False
    claim = FileSlot(path).read()
    return not path.with_name(found["lease"]).exists() or (claim is not None and claim.orphaned)


class Lease:
    """The right to do a step, renewed by a thread until it is given back."""

    def __init__(self, slot: Slot, claim: Claim) -> None:
        self.slot, self.claim = slot, claim
        self.lost = False
        self._over, self._writing = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._keep, daemon=True, name="lease")

    @classmethod
    def take(cls, slot: Slot, claim: Claim) -> "Lease | None":
        """Return the lease of a step; None if somebody holds it."""
        if not slot.take(claim):
            return None
        lease = cls(slot, claim)
        lease._thread.start()
        return lease

    def tell(self, share: float, note: str) -> None:
        """Say how far the work is, with the next renewal."""
        self.claim = replace(self.claim, share=share, note=note)

    def give_back(self) -> None:
        """Let others have the step."""
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
            with self._writing, contextlib.suppress(OSError):  # a full disk must not end the work, only the lease
                if self._over.is_set():
                    return
                self.lost = not self._mine()
                if self.lost:
                    return
                self.claim = replace(self.claim, beat=self.claim.beat + 1)
                self.slot.renew(self.claim)


class Onlooker:
    """Watches the leases of others, and says which are stale."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._seen: dict[Slot, tuple[str, int, float]] = {}

    def stale(self, slot: Slot) -> Claim | None:
        """Return the claim in a lease that is stale by now; None if it is not, or not there."""
        claim = slot.read()
        if claim is None:
            self._seen.pop(slot, None)
            return None
        token, beat, since = self._seen.get(slot, ("", -1, 0.0))
        if (token, beat) != (claim.token, claim.beat):
            self._seen[slot] = (claim.token, claim.beat, time.monotonic())
            since = time.monotonic()
        return claim if claim.orphaned or time.monotonic() - since > self.seconds else None

    def frees(self, slot: Slot) -> bool:
        """Return whether nobody holds a lease, after breaking it if it is stale."""
        stale = self.stale(slot)
        return slot.break_(stale) if stale else slot.read() is None
