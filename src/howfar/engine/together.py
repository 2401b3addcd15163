"""One step after the other, each by all processes that were started together: for models too large for one GPU's time.

The leader plans, claims, crafts, keeps and tells; the others train along and keep nothing.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

from howfar.engine.cell import Site, do
from howfar.engine.event import Event
from howfar.engine.here import Here
from howfar.errors import HowfarError
from howfar.grid.experiment import Experiment, Step
from howfar.store import Store, open_store
from howfar.train.team import Team

END = -1
PATIENCE = 60.0  # seconds in which the leader of a team fails too, if it does
LOOK_SECONDS = 0.5


class Together(Here):
    """The leader's pool."""

    def __init__(self, site: Site, team: Team, steps: Sequence[Step]) -> None:
        """Lead.

        Args:
            site: where steps are done.
            team: all processes.
            steps: of the grid, in an order that all processes agree on.
        """
        super().__init__(site)
        self._team = team
        self._numbers = {step.key: number for number, step in enumerate(steps)}

    def _done(self, step: Step, tell: Callable[[Event], None]) -> Event:
        return do(step, self.site, tell, begin=partial(self._team.tell, self._numbers[step.key]))

    def close(self) -> None:
        """Let the others go."""
        self._team.tell(END)


def steps_of(experiments: Sequence[Experiment]) -> list[Step]:
    """Return all steps of a grid, each once, in an order that depends on nothing else."""
    found = {step.key: step for experiment in experiments for step in experiment.steps()}
    return [found[key] for key in sorted(found)]


def follow(experiments: Sequence[Experiment], site: Site, team: Team) -> None:
    """Train along with the leader until it is through.

    Raises:
        HowfarError: if this process alone cannot do a step. The leader would wait for it for ever; what has started
            the processes ends all of them once one has ended with an error.
    """
    steps, store = steps_of(experiments), open_store(site.place).follower()
    while (number := team.tell(END)) != END:
        step = steps[number]
        if step.name == "protect":
            continue
        try:
            for _ in site.doing(step, store, torch.device(site.device)):
                pass
        except Exception as error:
            if not _ends_soon(step, store):
                raise HowfarError(
                    f"process {team.rank} cannot train along on {step.label}, while the first one can: {error} "
                    "Give all processes the same data, memory and access to the store."
                ) from error


def _ends_soon(step: Step, store: Store) -> bool:
    """Return whether the leader gives a step back: then it has failed in the same way, and says so."""
    until = time.monotonic() + PATIENCE
    while store.slot(step.name, step.key).read() is not None:
        if time.monotonic() > until:
            return False
        time.sleep(LOOK_SECONDS)
    return True
