"""Who is at work on a step: one process at a time, on however many machines the store is shared by.

A lease is a small file that its holder rewrites every few seconds. It is stale once its holder is known to be dead, or
once an onlooker has seen it *unchanged* for long enough by a clock of its own: times of different machines are never
compared, so that a clock that jumps takes nobody's lease away.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from howfar.store.writing import alive

SECONDS = 30.0  # unchanged for so long, a lease is stale
BEATS = 6  # a holder rewrites its lease so often in that time


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

    @property
    def orphaned(self) -> bool:
        """Whether the holder was a process of this machine and is gone."""
        return self.host == socket.gethostname() and not alive(self.pid)

    @classmethod
    def read(cls, path: Path) -> "Claim | None":
        """Return what the lease in a file says; None if there is none, and nobody's claim while it is being written."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError):
            return cls("", "", "unreadable", host="", pid=0, token="", started=0.0)


class Lease:
    """The right to do a step, renewed by a thread until it is given back."""

    def __init__(self, path: Path, claim: Claim) -> None:
        self.path, self.claim = path, claim
        self.lost = False
        self._over, self._writing = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._keep, daemon=True, name="lease")

    @classmethod
    def take(cls, path: Path, claim: Claim) -> "Lease | None":
        """Return the lease of a step; None if somebody holds it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _create(path, claim):
            return None
        lease = cls(path, claim)
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
                self.path.unlink(missing_ok=True)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()

    def _mine(self) -> bool:
        found = Claim.read(self.path)
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
                draft = self.path.with_name(f"{self.path.name}.{self.claim.token}.tmp")
                draft.write_text(_text(self.claim), encoding="utf-8")
                draft.replace(self.path)


class Onlooker:
    """Watches the leases of others, and says which are stale."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._seen: dict[Path, tuple[str, int, float]] = {}

    def stale(self, path: Path) -> Claim | None:
        """Return the claim in a lease that is stale by now; None if it is not, or not there."""
        claim = Claim.read(path)
        if claim is None:
            self._seen.pop(path, None)
            return None
        token, beat, since = self._seen.get(path, ("", -1, 0.0))
        if (token, beat) != (claim.token, claim.beat):
            self._seen[path] = (claim.token, claim.beat, time.monotonic())
            since = time.monotonic()
        return claim if claim.orphaned or time.monotonic() - since > self.seconds else None


def break_lease(path: Path, claim: Claim) -> bool:
    """Remove a stale lease; returns whether it was still the one that was seen to be stale."""
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.rename(aside)  # of several who try, one succeeds
    except FileNotFoundError:
        return False
    found = Claim.read(aside)
    mine = found is None or found.token == claim.token
    if not mine and found is not None:
        _create(path, found)  # a new holder was quicker: it gets its lease back
    aside.unlink(missing_ok=True)
    return mine


def _create(path: Path, claim: Claim) -> bool:
    """Write a lease where there is none; returns whether that was so."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(_text(claim))
    except FileExistsError:
        return False
    return True


def _text(claim: Claim) -> str:
    return json.dumps(asdict(claim))
