"""Execution of grids: in this process, in worker processes, or on a Ray cluster, with identical results.

A grid is a graph: every protected set is crafted once, before the victims that need it. Long steps are scheduled first.
Several runs can share one store: a step claimed by one run is skipped by the others.
"""

import shutil
from collections.abc import Iterator, Mapping

import torch

from howfar import arrays, steps
from howfar.data.loaded import write_memory_maps
from howfar.engine.data_parallel import DataParallel, follow, steps_of
from howfar.engine.event import Event
from howfar.engine.graph import Graph, plan
from howfar.engine.in_process import InProcess
from howfar.engine.other_runs import OtherRuns
from howfar.engine.pool import DIED, Pool
from howfar.engine.processes import Processes
from howfar.engine.worker import REPORT_SECONDS, RunContext
from howfar.errors import UsageError
from howfar.grid.experiment import Experiment, Step
from howfar.store import Store
from howfar.training.process_group import process_group

__all__ = [
    "Event",
    "InProcess",
    "Pool",
    "Processes",
    "RunContext",
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
        UsageError: if a requested GPU is not available.
    """
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if here["cuda"] else "cpu")
    if name not in here:
        raise UsageError(f"unknown device '{name}'. Choose auto, cpu, cuda or mps.")
    if not here[name]:
        raise UsageError(f"PyTorch finds no '{name}' GPU on this machine. Use --device cpu, or see howfar doctor.")
    return torch.device(name)


def choose_workers(wanted: int | None, device: torch.device) -> int:
    """Return the number of worker processes: as requested, else one per core, or one on a GPU.

    Raises:
        UsageError: for a negative number, or something else.
    """
    if wanted is None:
        return arrays.cores() if device.type == "cpu" else 1
    if not isinstance(wanted, int):
        raise UsageError(f"--workers is {wanted!r}, not a number. Use 1 or more, or 0 to run in this process.")
    if wanted < 0:
        raise UsageError(f"--workers {wanted} is negative. Use 1 or more, or 0 to run in this process.")
    return wanted


def run(
    experiments: list[Experiment], store: Store, *, workers: int, device: torch.device,
    seconds: Mapping[str, float] | None = None, limit: float | None = None, ray: str | None = None,
    memory: Mapping[str, int] | None = None,
) -> Iterator[Event]:  # fmt: skip
    """Run all experiments that are not in the store; yields events.

    A failed step is recorded, and the others continue. Closing the iterator (Ctrl-C) stops the workers; finished steps
    stay in the store. A script that calls this needs ``if __name__ == "__main__":``, as workers import it. Processes
    started by ``accelerate launch`` train every victim in parallel: the leader yields the events, the followers yield
    none and write nothing.

    Args:
        experiments: the grid.
        store: destination of the records.
        workers: number of processes; each gets an equal share of the cores, and at most as many threads as PyTorch uses
            here. 0 runs in this process.
        device: of the tensors.
        seconds: expected duration of steps, by key; None estimates it from passes over the images.
        limit: time limit of a step in seconds; it fails if it takes longer.
        ray: address of a Ray cluster to use instead, or ``auto``; on GPUs, ``workers`` steps share one GPU.
        memory: memory that steps need in bytes, by key; on a cluster, steps are scheduled within each node's memory.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from howfar import Store, make_suite, run
        >>> settings = {"protectors": "lsp", "models": "linear", "defenses": "none", "seeds": "0", "limit_train": 100}
        >>> experiments = make_suite("digits", settings).experiments()
        >>> store = Store(tempfile.mkdtemp())
        >>> events = list(run(experiments, store, workers=0, device=torch.device("cpu")))
        >>> len(store.records("victim"))
        2
    """
    peers = process_group(device.type)
    if peers is not None and peers.rank > 0:
        follow(experiments, RunContext(store.place, str(device)), peers)
        return
    store.sweep()
    todo, ready = plan(experiments, store)
    for step in ready:
        yield Event("cached", step.label, step.key, 1.0)
    if not todo and peers is None:
        return
    graph = Graph(todo, {step.key: _passes(step) for step in todo} if seconds is None else seconds)
    scratch = store.scratch()
    pool: Pool | None = None
    try:
        alone = peers is not None or (ray is None and workers < 2)
        choices = [choice for experiment in experiments for choice in experiment.choices]
        context = RunContext(
            store.place, str(device), limit, memory_maps={} if alone else write_memory_maps(choices, scratch)
        )
        if peers is not None:
            pool = DataParallel(context, peers, steps_of(experiments))
        elif ray is not None:
            from howfar.engine.cluster import Cluster

            pool = Cluster(context, ray, sharing=max(workers, 1), memory=memory)
        else:
            pool = Processes(context, workers) if workers else InProcess(context)
        yield from drive(pool, graph, store)
    finally:
        if pool is not None:
            pool.close()
        shutil.rmtree(scratch, ignore_errors=True)
        store.sweep()


def is_follower(device: torch.device) -> bool:
    """Return whether this process is a follower in data-parallel training, whose leader saves and reports results."""
    peers = process_group(device.type)
    return peers is not None and peers.rank > 0


def drive(pool: Pool, graph: Graph, store: Store) -> Iterator[Event]:
    """Submit steps as they become ready until all have ended; yields events."""
    elsewhere = OtherRuns(store)
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
    """Remove an ended step from the graph, and record failures."""
    failed = event.status == "failed"
    if failed:
        steps.failed(graph.step(event.key), store, event.note)
    yield event
    for blocked in graph.over(event.key, failed=failed):
        note = f"its protected set failed: {event.note}"
        steps.failed(blocked, store, note)
        yield Event("failed", blocked.label, blocked.key, note=note)


def _passes(step: Step) -> float:
    """Return the approximate number of passes over the images of a step."""
    experiment = step.experiment
    if step.name == "protect":
        return experiment.protector.build().passes
    return experiment.recipe.epochs * experiment.defense.build().passes
