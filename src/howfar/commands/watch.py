"""``howfar bench --watch``: the progress of other runs of a store."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from howfar.commands import terminal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from howfar.grid.experiment import Experiment, Step
    from howfar.store import Claim, Record, Store

REFRESH_SECONDS = 2.0


@dataclass(frozen=True)
class GridStatus:
    """A store at one moment.

    Attributes:
        running: steps that are running, with host, process and progress.
        left: steps that are not finished, those included.
        total: steps of the grid.
        failed: records of failures among them.
        seconds: expected until all is finished, by as many workers as are busy now.
    """

    running: "list[Claim]"
    left: "list[Step]"
    total: int
    failed: "list[Record]"
    seconds: float

    @property
    def summary(self) -> str:
        """One line for a person."""
        ahead = f", about {terminal.duration(self.seconds)} to go" if self.running and self.left else ""
        return f"{self.total - len(self.left)} of {self.total} steps done, {len(self.failed)} failed{ahead}"

    def rows(self) -> list[list[str]]:
        """Return what runs where."""
        now = time.time()
        return [
            [c.label, f"{c.host}:{c.pid}", f"{c.share:.0%}", c.note, terminal.duration(max(now - c.started, 0))]
            for c in self.running
        ]

    def as_json(self) -> dict[str, object]:
        """Return the same for programs."""
        return {
            "running": [{"step": c.label, "host": c.host, "pid": c.pid, "share": c.share, "note": c.note}
                        for c in self.running],
            "left": [step.label for step in self.left],
            "total": self.total,
            "failed": {record.key: record.result["error"] for record in self.failed},
            "seconds": round(self.seconds, 1),
        }  # fmt: skip


def watch(experiments: "list[Experiment]", store: "Store", *, as_json: bool) -> int:
    """Show what runs where until all steps are over (once, as JSON or into a file); returns the exit code."""
    from howfar.engine import plan
    from howfar.grid.estimate import estimate

    seconds = estimate(plan(experiments, store)[0], store)  # once: it reads all records
    status = status_of(experiments, store, seconds)
    if as_json:
        terminal.show_json(status.as_json())
        return 0
    with terminal.screen() as show:
        while True:
            show(["step", "where", "done", "", "for"], status.rows(), status.summary)
            if not show.live or not status.left or len(status.failed) == len(status.left):
                break
            time.sleep(REFRESH_SECONDS)
            status = status_of(experiments, store, seconds)
    for record in status.failed:
        terminal.say(f"failed: {record.step} {record.key}: {record.result['error']}", style="red")
    return 0


def status_of(experiments: "list[Experiment]", store: "Store", seconds: "Mapping[str, float]") -> GridStatus:
    """Return what a store shows of a grid now; ``seconds`` are those that steps are expected to take, by key."""
    from howfar.engine import plan

    left, ready = plan(experiments, store)
    claims = {claim.key: claim for claim in store.claims() if not claim.orphaned}
    running = [claims[step.key] for step in left if step.key in claims]
    records = (_found(store, step) for step in left)
    failed = [record for record in records if record is not None and record.status == "failed"]
    gone = {record.key for record in failed}
    ahead = sum(seconds.get(step.key, 0.0) for step in left if step.key not in gone)
    done = sum(seconds.get(claim.key, 0.0) * claim.share for claim in running)
    return GridStatus(running, left, len(left) + len(ready), failed, (ahead - done) / max(len(running), 1))


def _found(store: "Store", step: "Step") -> "Record | None":
    """Return a step's record; None where there is none, or a damaged one, which is made again."""
    from howfar.store import DamagedError

    try:
        return store.find(step.name, step.key)
    except DamagedError:
        return None
