"""What a worker does with one step, whatever kind of worker it is: claim it, do it, keep it."""

import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from howfar import work
from howfar.engine.event import Event
from howfar.errors import HowfarError
from howfar.experiment import Step
from howfar.protect import Progress
from howfar.store import DamagedError, Store

REPORT_SECONDS = 0.2  # progress is told at most so often

Doing = Callable[[Step, Store, torch.device], Iterator[Progress]]


def do(step: Step, root: Path, device: str, tell: Callable[[Event], None], doing: Doing = work.run) -> Event:
    """Do a step that the store lacks and return how it ended; nothing is raised.

    Args:
        step: what is to do.
        root: folder of the store.
        device: where tensors live.
        tell: takes progress.
        doing: does the work and saves the record.
    """
    start = time.perf_counter()
    try:
        store = Store(root)
        lease = store.claim(step.name, step.key, step.label)
        if lease is None:
            return Event("elsewhere", step.label, step.key)
        with lease:
            if finished(step, store):
                return Event("cached", step.label, step.key, 1.0)
            last = start
            for progress in doing(step, store, torch.device(device)):
                if lease.lost:
                    return Event("elsewhere", step.label, step.key)
                if time.perf_counter() - last > REPORT_SECONDS:
                    last = time.perf_counter()
                    share = progress.done / max(progress.total, 1)
                    lease.tell(share, progress.note)
                    tell(Event("running", step.label, step.key, share, progress.note))
    except Exception as error:  # a plug-in may raise anything, and one bad cell must not end the rest
        text = str(error) if isinstance(error, HowfarError) else "".join(traceback.format_exception(error)[-2:])
        return Event("failed", step.label, step.key, note=text.strip(), seconds=time.perf_counter() - start)
    return Event("done", step.label, step.key, 1.0, seconds=time.perf_counter() - start)


def finished(step: Step, store: Store) -> bool:
    """Return whether the store has all that others need of a step.

    A record without its arrays, as it is published, is enough for tables, but no path and nothing to learn from. What
    cannot be read any more is to do again.
    """
    try:
        return (store.done if step.name in ("victim", "ablation") else store.whole)(step.name, step.key)
    except DamagedError:
        return False
