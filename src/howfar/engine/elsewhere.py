"""Steps that another run is at work on: they are looked at less and less often while nothing changes."""

import time
from collections.abc import Iterator

from howfar.engine.cell import REPORT_SECONDS, finished
from howfar.grid.experiment import Step
from howfar.store import Onlooker, Store

LONGEST_SECONDS = 5.0  # between two looks: leases are renewed so often


class Elsewhere:
    """Waits for the steps of other runs. Every look asks the store, which may be far away, for each of them."""

    def __init__(self, store: Store) -> None:
        self._store, self._onlooker = store, Onlooker()
        self._steps: dict[str, Step] = {}
        self._pause, self._due = REPORT_SECONDS, 0.0

    def add(self, step: Step) -> None:
        """Wait for a step that somebody else holds."""
        self._steps[step.key] = step
        self._pause = REPORT_SECONDS
        self._due = time.monotonic() + self._pause

    def ended(self) -> Iterator[tuple[Step, bool]]:
        """Yield the steps that are over there, each with whether it is finished; if not, it is free to be done here."""
        if not self._steps or time.monotonic() < self._due:
            return
        self._pause = min(2 * self._pause, LONGEST_SECONDS)
        for key, step in list(self._steps.items()):
            done = finished(step, self._store)
            if done or self._onlooker.frees(self._store.slot(step.name, key)):
                del self._steps[key]
                self._pause = REPORT_SECONDS
                yield step, done
        self._due = time.monotonic() + self._pause
