"""Which steps are to do, what each waits for, and which one should come next."""

import heapq
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from howfar.engine.cell import finished
from howfar.grid.experiment import Experiment, Step
from howfar.store import Store

RETRIES = 1  # a step whose worker died is tried so often again: the others may have taken the memory


def plan(experiments: Iterable[Experiment], store: Store) -> tuple[list[Step], list[Step]]:
    """Return the steps that are to do, each once, and those that the store has already.

    What cannot be read any more is to do again.
    """
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
    """Steps in an order in which each has what it needs, long ones first."""

    def __init__(self, steps: Iterable[Step], seconds: Mapping[str, float]) -> None:
        """Take the steps to do.

        Args:
            steps: in any order.
            seconds: that each is expected to take, by key; those of a protected set include the longest victim that
                waits for it.
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
        """Return the number of steps that are not over."""
        return len(self._steps)

    def next(self) -> Step | None:
        """Return the step that should be started next; None if all the others wait for something."""
        return heapq.heappop(self._heap)[2] if self._heap else None

    def again(self, step: Step) -> None:
        """Put back a step that was started and did not end."""
        self._push(step)

    def may_retry(self, key: str) -> bool:
        """Note that a worker died over a step, and return whether it may be tried again."""
        self._deaths[key] += 1
        return self._deaths[key] <= RETRIES

    def step(self, key: str) -> Step:
        """Return a step that is not over."""
        return self._steps[key]

    def over(self, key: str, *, failed: bool) -> Iterator[Step]:
        """Cross off a step, and with a failed one all that waited for it; yields those."""
        del self._steps[key]
        for step in self._waiting.pop(key, []):
            if failed:
                yield step
                yield from self.over(step.key, failed=True)
            else:
                self._push(step)

    def _push(self, step: Step) -> None:
        # The number keeps the order of the grid among equals.
        heapq.heappush(self._heap, (-self._weight[step.key], next(self._count), step))
