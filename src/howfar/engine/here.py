"""One step after the other in this very process: for debuggers, and to compare the other engines with."""

from collections import deque
from collections.abc import Iterator

from howfar.engine.cell import Site, do
from howfar.engine.event import Event
from howfar.engine.pool import Pool
from howfar.experiment import Step


class Here(Pool):
    """A pool without workers."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._steps: deque[Step] = deque()

    @property
    def room(self) -> bool:
        """Whether it takes another step."""
        return not self._steps

    def submit(self, step: Step) -> None:
        """Take a step."""
        self._steps.append(step)

    def events(self, seconds: float) -> Iterator[Event]:
        """Do the step, and yield what happened."""
        while self._steps:
            told: list[Event] = []
            end = do(self._steps.popleft(), self.site, told.append)
            yield from told
            yield end

    def close(self) -> None:
        """Nothing is left to be stopped."""
