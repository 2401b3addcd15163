"""One step after the other in this very process: for debuggers, and to compare the other engines with."""

import time
from collections import deque
from collections.abc import Callable, Iterator

from howfar.engine.cell import Site, do
from howfar.engine.event import Event
from howfar.engine.pool import Pool
from howfar.grid.experiment import Step


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
        """Do the step, and yield what happened; wait where there is none, as all are done by other runs."""
        if not self._steps:
            time.sleep(seconds)
        while self._steps:
            told: list[Event] = []
            end = self._done(self._steps.popleft(), told.append)
            yield from told
            yield end

    def _done(self, step: Step, tell: Callable[[Event], None]) -> Event:
        return do(step, self.site, tell)

    def close(self) -> None:
        """Nothing is left to be stopped."""
