"""What a worker does with one step, whatever kind of worker it is: claim it, do it, keep it."""

import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from howfar import steps
from howfar.engine.event import Event
from howfar.errors import HowfarError
from howfar.grid.experiment import Shelf, Step, take_from
from howfar.protect import Progress
from howfar.store import Store, open_store

REPORT_SECONDS = 0.2  # progress is told at most so often

Doing = Callable[[Step, Store, torch.device], Iterator[Progress]]


@dataclass(frozen=True)
class Site:
    """What every worker of a run must know.

    Attributes:
        place: folder or URL of the store.
        device: where tensors live.
        limit: seconds that a step may take; its worker is ended then.
        doing: does the work of a step and saves its record.
        shelf: data sets that lie ready to be mapped.
    """

    place: str
    device: str = "cpu"
    limit: float | None = None
    doing: Doing = steps.run
    shelf: Shelf = field(default_factory=dict)


def do(
    step: Step, site: Site, tell: Callable[[Event], None], begin: Callable[[], object] = lambda: None
) -> Event:  # fmt: skip
    """Do a step that the store lacks and return how it ended; nothing is raised.

    Args:
        step: what is to do.
        site: where.
        tell: takes progress.
        begin: is called once the step is claimed and not finished.
    """
    start = time.perf_counter()
    try:
        take_from(site.shelf)
        store = open_store(site.place)
        lease = store.claim(step.name, step.key, step.label)
        if lease is None:
            return Event("elsewhere", step.label, step.key)
        with lease:
            if finished(step, store):
                return Event("cached", step.label, step.key, 1.0)
            begin()
            last = start
            for progress in site.doing(step, store, torch.device(site.device)):
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

    A record without its arrays, as it is published, is enough for tables, but no path and nothing to learn from.
    """
    return (store.done if step.name in ("victim", "ablation") else store.whole)(step.name, step.key)
