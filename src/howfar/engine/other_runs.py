"""Steps that are claimed by other runs, polled at increasing intervals."""

import time
from collections.abc import Iterator

from howfar.engine.worker import REPORT_SECONDS, finished
from howfar.grid.experiment import Step
from howfar.store import LeaseMonitor, Store

LONGEST_SECONDS = 5.0  # maximum polling interval, which is the renewal interval of leases


class OtherRuns:
    """Waits for the steps of other runs. Each poll takes one request per step to the store, which may be remote."""

    def __init__(self, store: Store) -> None:
        self._store, self._monitor = store, LeaseMonitor()
        self._steps: dict[str, Step] = {}
        self._pause, self._due = REPORT_SECONDS, 0.0

    def add(self, step: Step) -> None:
        """Wait for a step that another run holds."""
        self._steps[step.key] = step
        self._pause = REPORT_SECONDS
        self._due = time.monotonic() + self._pause

    def ended(self) -> Iterator[tuple[Step, bool]]:
        """Yield steps that ended there, and whether they are finished; if not, they are free to run here."""
        if not self._steps or time.monotonic() < self._due:
            return
        self._pause = min(2 * self._pause, LONGEST_SECONDS)
        for key, step in list(self._steps.items()):
            done = finished(step, self._store)
            if done or self._monitor.frees(self._store.slot(step.name, key)):
                del self._steps[key]
                self._pause = REPORT_SECONDS
                yield step, done
        self._due = time.monotonic() + self._pause
