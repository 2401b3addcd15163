"""Execution on a Ray cluster, or with Ray on this machine: all nodes write to one shared store.

Ray schedules steps by their resources (cores, a share of a GPU, memory) and restarts them when a node is lost. The
steps of a lost node become free once their leases have expired.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from howfar.engine.event import Event
from howfar.engine.memory import keep_freed
from howfar.engine.pool import DIED, Pool
from howfar.engine.worker import RunContext, do, finished
from howfar.errors import HowfarError, UsageError
from howfar.grid.experiment import Step
from howfar.store import LeaseMonitor, Store, absolute, open_store

AUTO = "auto"
POLL_SECONDS = 2.0  # interval at which progress is read from the leases
LOOPBACK = "127.0.0.1"


class Cluster(Pool):
    """A pool on the machines of a Ray cluster."""

    def __init__(
        self,
        context: RunContext,
        address: str,
        *,
        threads: int = 1,
        sharing: int = 1,
        memory: Mapping[str, int] | None = None,
    ) -> None:
        """Join the cluster, or start one on this machine.

        Args:
            context: settings of the run; its store must have the same path on all nodes.
            address: of the cluster; ``auto`` takes the one this machine belongs to, or starts one here.
            threads: cores per step.
            sharing: steps per GPU.
            memory: memory that steps need in bytes, by key.
        """
        self._ray = _joined(address)
        self.context, self.threads = replace(context, place=absolute(context.place)), threads
        self._memory = memory or {}
        self._gpus = 1 / sharing if context.device == "cuda" else 0
        self._remote = self._ray.remote(_work)
        self._running: dict[Any, Step] = {}
        self._since: dict[str, float] = {}
        self._polled = 0.0
        self._nodes: set[str] = set()
        self._doubtful: set[Any] = set()
        self._monitor = LeaseMonitor()

    @property
    def room(self) -> bool:
        """Whether it accepts another step: always, as Ray queues them."""
        return True

    def submit(self, step: Step) -> None:
        """Submit a step."""
        needs = {"memory": self._memory[step.key]} if step.key in self._memory else {}
        placed = self._remote.options(
            num_cpus=self.threads, num_gpus=self._gpus, name=step.label, max_retries=1, **needs
        )  # fmt: skip
        self._running[placed.remote(step, self.context, self.threads)] = step

    def events(self, seconds: float) -> Iterator[Event]:
        """Wait for at most ``seconds``, and yield events."""
        if not self._running:
            time.sleep(seconds)
            return
        ready, _ = self._ray.wait(list(self._running), timeout=seconds)
        for reference in ready:
            yield self._ended(reference, self._running.pop(reference))
        if time.monotonic() - self._polled > POLL_SECONDS:
            self._polled = time.monotonic()
            yield from self._progress()

    def close(self) -> None:
        """Cancel the remaining steps, and leave the cluster."""
        for reference in self._running:
            with contextlib.suppress(Exception):  # the cluster may be lost
                self._ray.cancel(reference, force=True)
        self._ray.shutdown()

    def _ended(self, reference: Any, step: Step) -> Event:
        begun = self._since.pop(step.key, None)
        late = self.context.limit is not None and begun is not None and time.monotonic() - begun > self.context.limit
        try:
            event: Event = self._ray.get(reference)
        except (self._ray.exceptions.RayError, OSError) as error:
            if late:
                note = f"it took longer than {self.context.limit:g} s and was ended. Give it more with --time-limit."
            else:
                note = f"{DIED} ({type(error).__name__}), for lack of memory or with its machine."
            return Event("failed", step.label, step.key, note=note)
        return event

    def _progress(self) -> Iterator[Event]:
        """Yield the progress of steps from their leases, and cancel those over the time limit."""
        references = {step.key: reference for reference, step in self._running.items()}
        store = open_store(self.context.place)
        claims = store.claims()
        yield from self._lost(store, {claim.key for claim in claims})
        for claim in claims:
            if claim.key not in references:
                continue
            since = self._since.setdefault(claim.key, time.monotonic())
            yield Event("running", claim.label, claim.key, claim.share, claim.note)
            if self.context.limit is not None and time.monotonic() - since > self.context.limit:
                self._ray.cancel(references[claim.key], force=True)

    def _lost(self, store: Store, claimed: set[str]) -> Iterator[Event]:
        """Resubmit steps that were running when a node was lost, once no worker holds them.

        Ray itself waits minutes for a disconnected node. Submitting twice is harmless: the second worker finds the step
        claimed or finished.
        """
        nodes = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        if self._nodes - nodes:
            self._doubtful |= set(self._running)
        self._nodes = nodes
        self._doubtful &= set(self._running)
        for reference in list(self._doubtful):
            step = self._running[reference]
            if step.key in claimed and self._monitor.stale(store.slot(step.name, step.key)) is None:
                continue
            self._doubtful.discard(reference)
            del self._running[reference]
            with contextlib.suppress(Exception):  # it may be unreachable
                self._ray.cancel(reference)
            if finished(step, store):
                yield Event("cached", step.label, step.key, 1.0)
            else:
                self.submit(step)


def _joined(address: str) -> Any:
    # Must be set before Ray is imported, which would otherwise listen on all addresses and report usage statistics.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UsageError("--ray needs Ray. Install howfar[ray], or leave --ray out.") from None
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    try:
        ray.init(address=address, **quiet)
    except ConnectionError as error:
        if address != AUTO:
            raise HowfarError(f"no Ray cluster responds at {address} ({error}). See ray status, or use auto.") from None
        ray.init(_node_ip_address=LOOPBACK, include_dashboard=False, **quiet)
    return ray


def _work(step: Step, context: RunContext, threads: int) -> Event:
    torch.set_num_threads(threads)
    keep_freed()
    return do(step, context, lambda _: None)
