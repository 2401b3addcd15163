"""Where cells run: in this process, in worker processes, or on a Ray cluster; the same bytes from all of them.

A grid is a graph: protected sets are made once, and victims wait for theirs. Long steps come first. Several runs may
share one store: a step that one of them is at work on is left to it.
"""

import shutil
from collections.abc import Iterator, Mapping

import torch

from howfar import arrays, steps
from howfar.engine.cell import REPORT_SECONDS, Site
from howfar.engine.elsewhere import Elsewhere
from howfar.engine.event import Event
from howfar.engine.graph import Graph, plan
from howfar.engine.here import Here
from howfar.engine.pool import DIED, Pool
from howfar.engine.processes import Processes
from howfar.engine.together import Together, follow, steps_of
from howfar.errors import UsageError
from howfar.grid.experiment import Experiment, Step, shelve
from howfar.store import Store
from howfar.train.team import team

__all__ = [
    "Event",
    "Here",
    "Pool",
    "Processes",
    "Site",
    "choose_device",
    "choose_workers",
    "drive",
    "is_follower",
    "plan",
    "run",
]


def choose_device(name: str) -> torch.device:
    """Return the device for ``auto``, ``cpu``, ``cuda`` or ``mps`` (Apple's GPUs, which ``auto`` never takes).

    Raises:
        UsageError: if a GPU is asked for where none is.
    """
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if here["cuda"] else "cpu")
    if name not in here:
        raise UsageError(f"unknown device '{name}'. Choose auto, cpu, cuda or mps.")
    if not here[name]:
        raise UsageError(f"no GPU that PyTorch can use as '{name}' is here. Take --device cpu, or see howfar doctor.")
    return torch.device(name)


def choose_workers(wanted: int | None, device: torch.device) -> int:
    """Return how many processes work at a time: as many as wanted, else one a core, or one on a GPU.

    Raises:
        UsageError: for fewer than none.
    """
    if wanted is None:
        return arrays.cores() if device.type == "cpu" else 1
    if wanted < 0:
        raise UsageError(f"--workers {wanted} makes no sense. Take 1 or more, or 0 for this process itself.")
    return wanted


def run(
    experiments: list[Experiment], store: Store, *, workers: int, device: torch.device,
    seconds: Mapping[str, float] | None = None, limit: float | None = None, ray: str | None = None,
    memory: Mapping[str, int] | None = None,
) -> Iterator[Event]:  # fmt: skip
    """Run all experiments that the store lacks; yields events as they come.

    A step that fails is recorded and the rest goes on. Closing the iterator (Ctrl-C) stops the workers; what is
    finished stays in the store. A script that calls this needs Python's usual ``if __name__ == "__main__":``, as
    workers import it. Processes that ``accelerate launch`` started together train every victim together: the first one
    yields the events, the others yield none and keep nothing.

    Args:
        experiments: the grid.
        store: where records go.
        workers: processes; each gets an equal share of the cores, and no more threads than PyTorch has here. 0 works
            in this process.
        device: where tensors live.
        seconds: that steps are expected to take, by key; None judges by passes over the images.
        limit: seconds that a step may take in a worker; it fails then.
        ray: address of a Ray cluster to work on instead, or ``auto``; on GPUs ``workers`` steps share one.
        memory: bytes that steps are known to need, by key: on a cluster each starts where there is room.
    """
    fellows = team(device.type)
    if fellows is not None and fellows.rank > 0:
        follow(experiments, Site(store.place, str(device)), fellows)
        return
    store.sweep()
    todo, ready = plan(experiments, store)
    for step in ready:
        yield Event("cached", step.label, step.key, 1.0)
    if not todo and fellows is None:
        return
    graph = Graph(todo, {step.key: _passes(step) for step in todo} if seconds is None else seconds)
    scratch = store.scratch()
    pool: Pool | None = None
    try:
        alone = fellows is not None or (ray is None and workers < 2)
        site = Site(store.place, str(device), limit, shelf={} if alone else shelve(experiments, scratch))
        if fellows is not None:
            pool = Together(site, fellows, steps_of(experiments))
        elif ray is not None:
            from howfar.engine.cluster import Cluster

            pool = Cluster(site, ray, sharing=max(workers, 1), memory=memory)
        else:
            pool = Processes(site, workers) if workers else Here(site)
        yield from drive(pool, graph, store)
    finally:
        if pool is not None:
            pool.close()
        shutil.rmtree(scratch, ignore_errors=True)
        store.sweep()


def is_follower(device: torch.device) -> bool:
    """Return whether this process trains along with another one, which keeps and tells what comes out."""
    fellows = team(device.type)
    return fellows is not None and fellows.rank > 0


def drive(pool: Pool, graph: Graph, store: Store) -> Iterator[Event]:
    """Hand out steps as they become ready until all are over; yields what happens."""
    elsewhere = Elsewhere(store)
    while graph:
        while pool.room and (step := graph.next()) is not None:
            pool.submit(step)
        for event in pool.events(REPORT_SECONDS):
            if event.status == "running":
                yield event
            elif event.status == "elsewhere":
                elsewhere.add(graph.step(event.key))
            elif event.status == "failed" and event.note.startswith(DIED) and graph.may_retry(event.key):
                graph.again(graph.step(event.key))
            else:
                yield from _over(event, graph, store)
        for step, done in elsewhere.ended():
            if done:
                yield from _over(Event("cached", step.label, step.key, 1.0), graph, store)
            else:
                graph.again(step)


def _over(event: Event, graph: Graph, store: Store) -> Iterator[Event]:
    """Cross off a step that has ended, and record what failed."""
    failed = event.status == "failed"
    if failed:
        steps.failed(graph.step(event.key), store, event.note)
    yield event
    for blocked in graph.over(event.key, failed=failed):
        note = f"its protected set failed: {event.note}"
        steps.failed(blocked, store, note)
        yield Event("failed", blocked.label, blocked.key, note=note)


def _passes(step: Step) -> float:
    """Return about how many passes over the images a step takes."""
    experiment = step.experiment
    if step.name == "protect":
        return experiment.protector.build().passes
    return experiment.recipe.epochs * experiment.defense.build().passes
