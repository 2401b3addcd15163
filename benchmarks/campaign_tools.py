"""What both halves of the campaign share: work in a process that may die, bounds on time and memory, counts on disk."""

import faulthandler
import json
import math
import mmap
import os
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MEMORY = 3 << 30  # bytes of address space that a process may take besides what it has when it begins
HUNG = 120.0  # seconds without a result after which a process is ended, whatever it is in


@dataclass
class Counts:
    """What a campaign has done so far, kept in a file so that a killed campaign goes on.

    Attributes:
        path: of the file.
        done: inputs tried, by reader or command.
        found: how often something came out, by reader or command and outcome.
        notes: whatever else is counted, by kind and name.
        peak: memory of the largest process, bytes.
        slowest: seconds of the slowest input, and what it was.
        seconds: of all processes together.
    """

    path: Path
    done: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    notes: dict[str, Counter[str]] = field(default_factory=dict)
    peak: int = 0
    slowest: tuple[float, str] = (0.0, "")
    seconds: float = 0.0

    @classmethod
    def load(cls, path: Path) -> "Counts":
        """Return the counts of a file; none where there is no file."""
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        counts = cls(path, Counter(found.get("done", {})), Counter(found.get("found", {})))
        counts.notes = {kind: Counter(each) for kind, each in found.get("notes", {}).items()}
        counts.peak, counts.seconds = found.get("peak", 0), found.get("seconds", 0.0)
        counts.slowest = tuple(found.get("slowest", (0.0, "")))
        return counts

    def save(self) -> None:
        """Write the file, whole or not at all."""
        draft = self.path.with_name(self.path.name + ".tmp")
        values = {key: value for key, value in self.__dict__.items() if key != "path"}
        draft.write_text(json.dumps(values, indent=1, sort_keys=True), encoding="utf-8")
        draft.replace(self.path)

    def note(self, kind: str, name: str, count: int = 1) -> None:
        """Count something else."""
        self.notes.setdefault(kind, Counter())[name] += count


def apart(work: Callable[[Callable[[int], None]], Any]) -> tuple[Any, int, int]:
    """Do work in a process of its own with bounds on memory and time.

    Args:
        work: gets a function that it calls with the number of what it is about to do; returns JSON.

    Returns:
        what the work returned (None where the process died), the last number, and the peak of its memory in bytes.
    """
    place = mmap.mmap(-1, 8)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        code = 70
        try:
            bound(MEMORY)
            result = json.dumps([work(_marker(place)), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024])
            with os.fdopen(writing, "w") as file:
                file.write(result)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as file:
        text = file.read()
    os.waitpid(child, 0)
    last = int.from_bytes(place[:8], "little")
    done = json.loads(text) if text else (None, 0)
    return done[0], last, done[1]


def bound(memory: int) -> None:
    """Let this process take so many bytes more, and no more."""
    taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + memory, taken + memory))


def _marker(place: mmap.mmap) -> Callable[[int], None]:
    armed = -math.inf

    def mark(number: int) -> None:
        nonlocal armed
        place[:8] = number.to_bytes(8, "little")
        if time.monotonic() - armed > 1:  # a thread a time: too dear for every input
            armed = time.monotonic()
            faulthandler.dump_traceback_later(HUNG, exit=True)

    return mark
