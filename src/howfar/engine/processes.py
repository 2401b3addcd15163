"""Execution in worker processes of this machine. A worker that dies loses only its current step."""

import contextlib
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from multiprocessing.connection import Connection
from typing import Any

import torch

from howfar import arrays
from howfar.engine.event import Event
from howfar.engine.memory import keep_freed
from howfar.engine.pool import DIED, Pool
from howfar.engine.worker import RunContext, do
from howfar.grid.experiment import Step

AHEAD = 2  # submitted steps per worker, so that the next one is ready when one ends


class Processes(Pool):
    """A pool of processes on this machine."""

    def __init__(self, context: RunContext, workers: int) -> None:
        """Create the pool; workers start with their first step.

        Args:
            context: settings of the run.
            workers: number of workers; each gets an equal share of the cores, and at most as many threads as PyTorch
                uses here.
        """
        spawn = multiprocessing.get_context("spawn")
        self.context, self.workers = context, workers
        self._reports, self._sender = spawn.Pipe(duplex=False)
        threads = max(min(arrays.cores() // workers, torch.get_num_threads()), 1)
        from pebble import ProcessPool

        self._pool = ProcessPool(workers, initializer=_start, initargs=(self._sender, threads), context=spawn)
        self._running: dict[Any, Step] = {}

    @property
    def room(self) -> bool:
        """Whether it accepts another step."""
        return len(self._running) < AHEAD * self.workers

    def submit(self, step: Step) -> None:
        """Submit a step."""
        self._running[self._pool.schedule(_work, args=(step, self.context), timeout=self.context.limit)] = step

    def events(self, seconds: float) -> Iterator[Event]:
        """Wait for at most ``seconds``, and yield events."""
        if not self._running:
            time.sleep(seconds)
        finished, _ = wait(self._running, timeout=seconds, return_when=FIRST_COMPLETED)
        while self._reports.poll():
            yield Event(**json.loads(self._reports.recv_bytes()))
        for future in finished:
            yield self._ended(future, self._running.pop(future))

    def close(self) -> None:
        """Stop the workers and their steps."""
        self._pool.stop()
        self._pool.join()
        self._sender.close()
        self._reports.close()

    def _ended(self, future: Any, step: Step) -> Event:
        from pebble import ProcessExpired

        try:
            event: Event = future.result()
        except TimeoutError:
            note = f"it took longer than {self.context.limit:g} s and was ended. Give it more with --time-limit."
            return Event("failed", step.label, step.key, note=note)
        except ProcessExpired as error:
            how = f"signal {-error.exitcode}" if error.exitcode < 0 else f"exit code {error.exitcode}"
            note = f"{DIED} ({how}), probably for lack of memory. Run again with fewer --workers."
            return Event("failed", step.label, step.key, note=note)
        return event


_sender: Connection | None = None  # the worker's end of the pipe


def _start(sender: Connection, threads: int) -> None:
    global _sender
    _sender = sender
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent, which stops the workers
    torch.set_num_threads(threads)
    keep_freed()
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(step: Step, context: RunContext) -> Event:
    return do(step, context, _report)


def _report(event: Event) -> None:
    """Send progress to the parent.

    A short message is one atomic write, so no lock is needed that a killed worker could hold.
    """
    if _sender is not None:
        with contextlib.suppress(OSError):
            _sender.send_bytes(json.dumps(event.brief(), ensure_ascii=True).encode())
