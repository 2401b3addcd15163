"""A Ray cluster, or Ray on this machine alone: every node works on the one store that all of them can write.

Ray places steps by their needs (cores, a share of a GPU, memory) and starts them again when a node is lost. What a
node was at is free once its lease has not been renewed for a while.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from howfar.engine.cell import Site, do, finished
from howfar.engine.event import Event
from howfar.engine.memory import keep_freed
from howfar.engine.pool import DIED, Pool
from howfar.errors import HowfarError, UsageError
from howfar.grid.experiment import Step
from howfar.store import Onlooker, Store, absolute, open_store

AUTO = "auto"
LOOK_SECONDS = 2.0  # progress is read from the leases so often
LOOPBACK = "127.0.0.1"


class Cluster(Pool):
    """A pool of whatever machines a Ray cluster has."""

    def __init__(
        self, site: Site, address: str, *, threads: int = 1, sharing: int = 1, memory: Mapping[str, int] | None = None
    ) -> None:
        """Join the cluster, or start one on this machine.

        Args:
            site: where steps are done; all nodes must see its store under this path.
            address: of the cluster; ``auto`` takes the one this machine belongs to, else starts one here.
            threads: cores a step takes.
            sharing: steps that share a GPU.
            memory: bytes that steps are known to need, by key.
        """
        self._ray = _joined(address)
        self.site, self.threads = replace(site, place=absolute(site.place)), threads
        self._memory = memory or {}
        self._gpus = 1 / sharing if site.device == "cuda" else 0
        self._remote = self._ray.remote(_work)
        self._running: dict[Any, Step] = {}
        self._since: dict[str, float] = {}
        self._looked = 0.0
        self._nodes: set[str] = set()
        self._doubtful: set[Any] = set()
        self._onlooker = Onlooker()

    @property
    def room(self) -> bool:
        """Whether it takes another step: Ray keeps as many as there are."""
        return True

    def submit(self, step: Step) -> None:
        """Take a step."""
        needs = {"memory": self._memory[step.key]} if step.key in self._memory else {}
        placed = self._remote.options(
            num_cpus=self.threads, num_gpus=self._gpus, name=step.label, max_retries=1, **needs
        )  # fmt: skip
        self._running[placed.remote(step, self.site, self.threads)] = step

    def events(self, seconds: float) -> Iterator[Event]:
        """Wait for so long at most, and yield what happened."""
        if not self._running:
            time.sleep(seconds)
            return
        ready, _ = self._ray.wait(list(self._running), timeout=seconds)
        for reference in ready:
            yield self._ended(reference, self._running.pop(reference))
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            yield from self._progress()

    def close(self) -> None:
        """Cancel what is left, and leave the cluster."""
        for reference in self._running:
            with contextlib.suppress(Exception):  # a lost cluster cannot be asked to stop
                self._ray.cancel(reference, force=True)
        self._ray.shutdown()

    def _ended(self, reference: Any, step: Step) -> Event:
        begun = self._since.pop(step.key, None)
        late = self.site.limit is not None and begun is not None and time.monotonic() - begun > self.site.limit
        try:
            event: Event = self._ray.get(reference)
        except (self._ray.exceptions.RayError, OSError) as error:
            if late:
                note = f"it took longer than {self.site.limit:g} s and was ended. Give it more with --time-limit."
            else:
                note = f"{DIED} ({type(error).__name__}), for lack of memory or with its machine."
            return Event("failed", step.label, step.key, note=note)
        return event

    def _progress(self) -> Iterator[Event]:
        """Yield how far the steps are by their leases, and end those that take too long."""
        references = {step.key: reference for reference, step in self._running.items()}
        store = open_store(self.site.place)
        claims = store.claims()
        yield from self._lost(store, {claim.key for claim in claims})
        for claim in claims:
            if claim.key not in references:
                continue
            since = self._since.setdefault(claim.key, time.monotonic())
            yield Event("running", claim.label, claim.key, claim.share, claim.note)
            if self.site.limit is not None and time.monotonic() - since > self.site.limit:
                self._ray.cancel(references[claim.key], force=True)

    def _lost(self, store: Store, claimed: set[str]) -> Iterator[Event]:
        """Ask again for steps that were under way when a machine was lost, once nobody is at work on them.

        Ray itself waits for minutes for the answer of a machine that is cut off. Asking twice does no harm: who comes
        second finds the step claimed or finished.
        """
        nodes = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        if self._nodes - nodes:
            self._doubtful |= set(self._running)
        self._nodes = nodes
        self._doubtful &= set(self._running)
        for reference in list(self._doubtful):
            step = self._running[reference]
            if step.key in claimed and self._onlooker.stale(store.slot(step.name, step.key)) is None:
                continue
            self._doubtful.discard(reference)
            del self._running[reference]
            with contextlib.suppress(Exception):  # it may be out of reach
                self._ray.cancel(reference)
            if finished(step, store):
                yield Event("cached", step.label, step.key, 1.0)
            else:
                self.submit(step)


def _joined(address: str) -> Any:
    # Both must be set before Ray is imported: it would listen on all addresses of this machine, and report its use.
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
            raise HowfarError(f"no Ray cluster answers at {address} ({error}). See ray status, or take auto.") from None
        ray.init(_node_ip_address=LOOPBACK, include_dashboard=False, **quiet)
    return ray


def _work(step: Step, site: Site, threads: int) -> Event:
    torch.set_num_threads(threads)
    keep_freed()
    return do(step, site, lambda _: None)
