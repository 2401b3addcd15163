"""Sequential execution with data-parallel training of each victim by several processes.

The leader plans, claims, crafts, saves and reports; the followers only train.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

from howfar.engine.event import Event
from howfar.engine.in_process import InProcess
from howfar.engine.worker import RunContext, do
from howfar.errors import HowfarError
from howfar.grid.experiment import Experiment, Step
from howfar.store import Store, open_store
from howfar.training.process_group import ProcessGroup

END = -1
PATIENCE = 60.0  # seconds within which the leader must fail as well after a follower failed
POLL_SECONDS = 0.5


class DataParallel(InProcess):
    """The leader's pool."""

    def __init__(self, context: RunContext, group: ProcessGroup, steps: Sequence[Step]) -> None:
        """Create the pool of the leader.

        Args:
            context: settings of the run.
            group: all processes.
            steps: of the grid, in the same order in all processes.
        """
        super().__init__(context)
        self._group = group
        self._numbers = {step.key: number for number, step in enumerate(steps)}

    def _done(self, step: Step, report: Callable[[Event], None]) -> Event:
        return do(step, self.context, report, begin=partial(self._group.broadcast, self._numbers[step.key]))

    def close(self) -> None:
        """Let the followers exit."""
        self._group.broadcast(END)


def steps_of(experiments: Sequence[Experiment]) -> list[Step]:
    """Return the distinct steps of a grid, sorted by key."""
    found = {step.key: step for experiment in experiments for step in experiment.steps()}
    return [found[key] for key in sorted(found)]


def follow(experiments: Sequence[Experiment], context: RunContext, group: ProcessGroup) -> None:
    """Train together with the leader until it has finished.

    Raises:
        HowfarError: if only this process fails a step. The leader would wait for it forever; the launcher stops all
            processes once one of them has failed.
    """
    steps, store = steps_of(experiments), open_store(context.place).follower()
    while (number := group.broadcast(END)) != END:
        step = steps[number]
        if step.name == "protect":
            continue
        try:
            for _ in context.work(step, store, torch.device(context.device)):
                pass
        except Exception as error:
            if not _ends_soon(step, store):
                raise HowfarError(
                    f"process {group.rank} failed {step.label}, but the leader did not: {error} Give all processes the "
                    "same data, memory and access to the store."
                ) from error


def _ends_soon(step: Step, store: Store) -> bool:
    """Return whether the leader releases the step, which means that it failed in the same way and reports it."""
    until = time.monotonic() + PATIENCE
    while store.slot(step.name, step.key).read() is not None:
        if time.monotonic() > until:
            return False
        time.sleep(POLL_SECONDS)
    return True
