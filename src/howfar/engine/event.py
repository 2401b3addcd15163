"""Events of a run."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["cached", "running", "done", "failed", "elsewhere"]
LONGEST = 300  # characters of a note from a worker, so that a message fits into one atomic write to a pipe


@dataclass(frozen=True)
class Event:
    """An event of a step.

    Attributes:
        status: ``cached`` (it was in the store), ``running``, ``done``, ``failed``, or ``elsewhere`` (another run with
            the same store holds it).
        step: its label.
        key: its key in the store.
        share: progress, 0 to 1.
        note: text for progress displays; the error of a failed step.
        seconds: wall time of a finished step.
    """

    status: Status
    step: str
    key: str
    share: float = 0.0
    note: str = ""
    seconds: float = 0.0

    def brief(self) -> dict[str, Any]:
        """Return the event as short JSON."""
        return {**asdict(self), "step": self.step[:LONGEST], "note": self.note[:LONGEST]}
