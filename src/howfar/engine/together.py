"""One step after the other, each by all processes that were started together: for models too large for one GPU's time.

The leader plans, claims, crafts, keeps and tells; the others train along and keep nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from howfar.engine.cell import Site, do
from howfar.engine.event import Event
from howfar.engine.here import Here
from howfar.experiment import Experiment, Step
from howfar.store import Record, Store, open_store
from howfar.train.team import Team

END = -1


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

    def events(self, seconds: float) -> Iterator[Event]:
        """Do the step, and yield what happened."""
        while self._steps:
            step, told = self._steps.popleft(), list[Event]()
            end = do(step, self.site, told.append, begin=partial(self._team.tell, self._numbers[step.key]))
            yield from told
            yield end

    def close(self) -> None:
        """Let the others go."""
        self._team.tell(END)


def steps_of(experiments: Sequence[Experiment]) -> list[Step]:
    """Return all steps of a grid, each once, in an order that depends on nothing else."""
    found = {step.key: step for experiment in experiments for step in experiment.steps()}
    return [found[key] for key in sorted(found)]


def follow(experiments: Sequence[Experiment], site: Site, team: Team) -> None:
    """Train along with the leader until it is through."""
    steps, store = steps_of(experiments), Mute(open_store(site.place))
    while (number := team.tell(END)) != END:
        step = steps[number]
        if step.name == "protect":
            continue
        try:
            for _ in site.doing(step, store, torch.device(site.device)):
                pass
        except Exception:  # noqa: S112  # the leader failed in the same way, and says so
            continue


class Mute(Store):
    """A store that is read but never written."""

    def __init__(self, store: Store) -> None:
        self.__dict__ = dict(store.__dict__)

    def save(self, record: Record, arrays: Mapping[str, Tensor] | None = None) -> Record:
        """Return the record as it is."""
        return record
