"""Execution of one step by any kind of worker: claim it, run it, save it."""

import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from howfar import steps
from howfar.data.loaded import MemoryMaps, use_memory_maps
from howfar.engine.event import Event
from howfar.errors import HowfarError
from howfar.grid.experiment import Step
from howfar.protectors import Progress
from howfar.store import Store, open_store

REPORT_SECONDS = 0.2  # minimum interval of progress reports

Work = Callable[[Step, Store, torch.device], Iterator[Progress]]


@dataclass(frozen=True)
class RunContext:
    """Settings of a run that every worker needs.

    Attributes:
        place: folder or URL of the store.
        device: of the tensors.
        limit: time limit of a step in seconds; its worker is then terminated.
        work: runs a step and saves its record.
        memory_maps: memory-mapped data sets of the grid.
    """

    place: str
    device: str = "cpu"
    limit: float | None = None
    work: Work = steps.run
    memory_maps: MemoryMaps = field(default_factory=dict)


def do(
    step: Step, context: RunContext, report: Callable[[Event], None], begin: Callable[[], object] = lambda: None
) -> Event:  # fmt: skip
    """Run a step that is not in the store, and return how it ended; raises nothing.

    Args:
        step: the step.
        context: settings of the run.
        report: called with progress events.
        begin: called after the step is claimed, if it is not finished.
    """
    start = time.perf_counter()
    try:
        use_memory_maps(context.memory_maps)
        store = open_store(context.place)
        lease = store.claim(step.name, step.key, step.label)
        if lease is None:
            return Event("elsewhere", step.label, step.key)
        with lease:
            if finished(step, store):
                return Event("cached", step.label, step.key, 1.0)
            begin()
            last = start
            for progress in context.work(step, store, torch.device(context.device)):
                if lease.lost:
                    return Event("elsewhere", step.label, step.key)
                if time.perf_counter() - last > REPORT_SECONDS:
                    last = time.perf_counter()
                    share = progress.done / max(progress.total, 1)
                    lease.report(share, progress.note)
                    report(Event("running", step.label, step.key, share, progress.note))
    except Exception as error:  # a plug-in may raise anything, and one failed step must not stop the others
        text = str(error) if isinstance(error, HowfarError) else "".join(traceback.format_exception(error)[-2:])
        return Event("failed", step.label, step.key, note=text.strip(), seconds=time.perf_counter() - start)
    return Event("done", step.label, step.key, 1.0, seconds=time.perf_counter() - start)


def finished(step: Step, store: Store) -> bool:
    """Return whether the store has everything that other steps need from a step.

    A record without arrays, as in published stores, is enough for tables, but not as a trajectory or protected set.
    """
    return (store.done if step.name in ("victim", "ablation") else store.complete)(step.name, step.key)
