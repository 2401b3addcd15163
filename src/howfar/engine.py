"""Where cells run: in worker processes of this machine, each with its share of the cores."""

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from howfar import arrays, work
from howfar.errors import HowfarError, UsageError
from howfar.experiment import Experiment, Step
from howfar.store import Store

REPORT_SECONDS = 0.2  # a worker reports progress at most so often


@dataclass(frozen=True)
class Event:
    """Something happened to a step.

    Attributes:
        status: ``cached`` (it was in the store), ``running``, ``done`` or ``failed``.
        step: its label.
        key: its key in the store.
        share: how much of it is done, 0 to 1.
        note: what a person would like to read; of a failed step the error.
        seconds: wall time of a step that is done.
    """

    status: Literal["cached", "running", "done", "failed"]
    step: str
    key: str
    share: float = 0.0
    note: str = ""
    seconds: float = 0.0


def choose_device(name: str) -> torch.device:
    """Return the device for ``auto``, ``cpu`` or ``cuda``.

    Raises:
        UsageError: if a GPU is asked for where none is.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise UsageError(f"unknown device '{name}'. Choose auto, cpu or cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("no GPU that PyTorch can use is here. Take --device cpu, or see howfar doctor.")
    return torch.device(name)


def choose_workers(wanted: int | None, device: torch.device) -> int:
    """Return how many processes work at a time: as many as wanted, else one a core, or one on a GPU.

    Raises:
        UsageError: for fewer than one.
    """
    workers = wanted or (1 if device.type == "cuda" else arrays.cores())
    if workers < 1:
        raise UsageError(f"--workers {workers} makes no sense. Take 1 or more.")
    return workers


def plan(experiments: Iterable[Experiment], store: Store) -> tuple[list[Step], list[Step]]:
    """Return the steps that are to do, in order and each once, and those that the store has already."""
    todo: dict[str, Step] = {}
    ready: dict[str, Step] = {}
    for experiment in experiments:
        protect, victim = experiment.steps()
        # A record without its arrays, as it is published, is enough for tables, but no path and nothing to learn from.
        finished = store.whole if victim.name == "trajectory" else store.done
        if finished(victim.name, victim.key):
            ready[victim.key] = victim
            continue
        made = store.whole(protect.name, protect.key)
        (ready if made else todo)[protect.key] = protect
        todo[victim.key] = victim
    return sorted(todo.values(), key=_dearest_first), list(ready.values())


def run(experiments: list[Experiment], store: Store, *, workers: int, device: torch.device) -> Iterator[Event]:
    """Run all experiments that the store lacks; yields events as they come.

    A step that fails is recorded and the rest goes on. Closing the iterator (Ctrl-C) stops the workers; what is
    finished stays in the store. A script that calls this needs Python's usual ``if __name__ == "__main__":``, as
    workers import it.

    Args:
        experiments: the grid.
        store: where records go.
        workers: processes; each gets an equal share of the cores, and no more threads than PyTorch has here.
        device: where tensors live.
    """
    store.sweep()
    todo, ready = plan(experiments, store)
    for step in ready:
        yield Event("cached", step.label, step.key, 1.0)
    if not todo:
        return
    context = multiprocessing.get_context("spawn")
    reports: Any = context.Queue()
    threads = max(min(arrays.cores() // workers, torch.get_num_threads()), 1)
    pool = ProcessPoolExecutor(workers, context, _start_worker, (reports, threads))
    try:
        yield from _drive(pool, reports, todo, store, device)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list((getattr(pool, "_processes", None) or {}).values()):
            process.terminate()
        store.sweep()


def _drive(
    pool: ProcessPoolExecutor, reports: Any, todo: list[Step], store: Store, device: torch.device
) -> Iterator[Event]:
    """Submit every step once its protected set is there, and pass the workers' reports on."""
    missing = {step.key for step in todo if step.name == "protect"}
    waiting = list(todo)
    running: dict[Future[Event], Step] = {}
    while waiting or running:
        for step in [s for s in waiting if s.needs not in missing]:
            waiting.remove(step)
            running[pool.submit(_work, step, store.root, str(device))] = step
        finished, _ = wait(running, timeout=REPORT_SECONDS, return_when=FIRST_COMPLETED)
        yield from _pending(reports)
        for future in finished:
            step = running.pop(future)
            event = _outcome(future, step, store)
            yield event
            if step.name == "protect":
                missing.discard(step.key)
                if event.status == "failed":
                    for blocked in [s for s in waiting if s.needs == step.key]:
                        waiting.remove(blocked)
                        work.failed(blocked, store, f"its protected set failed: {event.note}")
                        yield Event("failed", blocked.label, blocked.key, note=event.note)


def _outcome(future: "Future[Event]", step: Step, store: Store) -> Event:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise HowfarError(
            f"a worker died during '{step.label}', probably for lack of memory ({error}). "
            "Run again with fewer --workers; finished cells are kept."
        ) from None


def _pending(reports: Any) -> Iterator[Event]:
    with contextlib.suppress(queue.Empty):
        while True:
            yield reports.get_nowait()


def _dearest_first(step: Step) -> tuple[bool, float]:
    """Long work first; protected sets before the victims that wait for them."""
    cost = step.experiment.protector.build().passes if step.name == "protect" else 0.0
    return step.name != "protect", -cost


_reports: Any = None  # the worker's end of the queue


def _start_worker(reports: Any, threads: int) -> None:
    global _reports
    _reports = reports
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends the workers
    torch.set_num_threads(threads)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(step: Step, root: Path, device: str) -> Event:
    start, last = time.perf_counter(), 0.0
    store = Store(root)
    try:
        for progress in work.run(step, store, torch.device(device)):
            if time.perf_counter() - last > REPORT_SECONDS:
                last = time.perf_counter()
                share = progress.done / max(progress.total, 1)
                _reports.put(Event("running", step.label, step.key, share, progress.note))
    except Exception as error:  # a plug-in may raise anything, and one bad cell must not end the rest
        text = str(error) if isinstance(error, HowfarError) else "".join(traceback.format_exception(error)[-2:])
        work.failed(step, store, text.strip())
        return Event("failed", step.label, step.key, note=text.strip())
    return Event("done", step.label, step.key, 1.0, seconds=time.perf_counter() - start)
