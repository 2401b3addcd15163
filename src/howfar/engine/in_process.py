"""Sequential execution in this process, for debugging and as the reference for other engines."""

import time
from collections import deque
from collections.abc import Callable, Iterator

from howfar.engine.event import Event
from howfar.engine.pool import Pool
from howfar.engine.worker import RunContext, do
from howfar.grid.experiment import Step


class InProcess(Pool):
    """A pool without workers."""

    def __init__(self, context: RunContext) -> None:
        self.context = context
        self._steps: deque[Step] = deque()

    @property
    def room(self) -> bool:
        """Whether it accepts another step."""
        return not self._steps

    def submit(self, step: Step) -> None:
        """Submit a step."""
        self._steps.append(step)

    def events(self, seconds: float) -> Iterator[Event]:
        """Run the step, and yield events; without a step, wait, as other runs hold all of them."""
        if not self._steps:
            time.sleep(seconds)
        while self._steps:
            reported: list[Event] = []
            end = self._done(self._steps.popleft(), reported.append)
            yield from reported
            yield end

    def _done(self, step: Step, report: Callable[[Event], None]) -> Event:
        return do(step, self.context, report)

    def close(self) -> None:
        """Do nothing: there are no workers to stop."""
