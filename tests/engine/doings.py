"""What workers do in tests instead of work. In a module, as workers import it."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from howfar.grid.experiment import Step
from howfar.protectors import Progress
from howfar.store import Record, Store

_X = torch.zeros(1)


def nothing(step: Step, store: Store, device: torch.device) -> Iterator[Progress]:
    """Save a record at once."""
    store.save(Record(step.name, step.key, step.spec, "done", {"quality": 0.5}, {"pid": os.getpid()}), {"x": _X})
    yield Progress(1, 1)


def faulty(step: Step, store: Store, device: torch.device) -> Iterator[Progress]:
    """Do nothing, with a fault for every seed.

    The victims of seed 0 kill their worker once, those of seed 1 never come back, the protected sets of seed 2 fail
    with what nobody foresaw, and the victims of seed 3 kill every worker.
    """
    kind = step.name, step.experiment.seed
    died = store.root / f"died {step.key}"
    if kind == ("victim", 3) or (kind == ("victim", 0) and not died.exists()):
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == ("victim", 1):
        time.sleep(1000)
    if kind == ("protect", 2):
        raise ZeroDivisionError("a plug-in's fault")
    yield from nothing(step, store, device)


def counts(step: Step, store: Store, device: torch.device) -> Iterator[Progress]:
    """Note in a file of its own that a step was begun, and take a while."""
    Path(store.root, "begun").mkdir(exist_ok=True)
    Path(store.root, "begun", f"{step.key}.{os.getpid()}.{time.monotonic_ns()}").touch()
    time.sleep(0.05)
    yield from nothing(step, store, device)


def slow(step: Step, store: Store, device: torch.device) -> Iterator[Progress]:
    """Take a second for nothing."""
    time.sleep(1)
    yield from nothing(step, store, device)
