"""The graph of steps: pending steps, dependencies, and priorities."""

import heapq
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from howfar.engine.worker import finished
from howfar.grid.experiment import Experiment, Step
from howfar.store import Store

RETRIES = 1  # of a step whose worker died, as others may have used the memory


def plan(experiments: Iterable[Experiment], store: Store) -> tuple[list[Step], list[Step]]:
    """Return the distinct steps to run, and those already in the store; damaged records are run again."""
    todo: dict[str, Step] = {}
    ready: dict[str, Step] = {}
    for experiment in experiments:
        protect, victim = experiment.steps()
        if finished(victim, store):
            ready[victim.key] = victim
            continue
        (ready if finished(protect, store) else todo)[protect.key] = protect
        todo[victim.key] = victim
    return list(todo.values()), list(ready.values())


class Graph:
    """Steps in topological order, long ones first."""

    def __init__(self, steps: Iterable[Step], seconds: Mapping[str, float]) -> None:
        """Build the graph.

        Args:
            steps: the steps to run, in any order.
            seconds: expected duration of steps, by key; the priority of a protected set includes its longest victim.
        """
        self._steps = {step.key: step for step in steps}
        self._waiting: dict[str, list[Step]] = defaultdict(list)
        self._deaths: dict[str, int] = defaultdict(int)
        longest: dict[str, float] = defaultdict(float)
        for step in self._steps.values():
            if step.needs in self._steps:
                self._waiting[step.needs or ""].append(step)
                longest[step.needs or ""] = max(longest[step.needs or ""], seconds.get(step.key, 0.0))
        self._weight = {key: seconds.get(key, 0.0) + longest[key] for key in self._steps}
        self._heap: list[tuple[float, int, Step]] = []
        self._count = itertools.count()
        for step in self._steps.values():
            if step.needs not in self._steps:
                self._push(step)

    def __len__(self) -> int:
        """Return the number of steps that have not ended."""
        return len(self._steps)

    def next(self) -> Step | None:
        """Return the next step to start; None if all others wait for a dependency."""
        return heapq.heappop(self._heap)[2] if self._heap else None

    def again(self, step: Step) -> None:
        """Requeue a step that was started but did not end."""
        self._push(step)

    def may_retry(self, key: str) -> bool:
        """Record that a worker died while running a step, and return whether to retry it."""
        self._deaths[key] += 1
        return self._deaths[key] <= RETRIES

    def step(self, key: str) -> Step:
        """Return a step that has not ended."""
        return self._steps[key]

    def over(self, key: str, *, failed: bool) -> Iterator[Step]:
        """Remove a step, and if it failed all steps that depend on it; yields those."""
        del self._steps[key]
        for step in self._waiting.pop(key, []):
            if failed:
                yield step
                yield from self.over(step.key, failed=True)
            else:
                self._push(step)

    def _push(self, step: Step) -> None:
        # The number keeps the order of the grid among equal weights.
        heapq.heappush(self._heap, (-self._weight[step.key], next(self._count), step))
